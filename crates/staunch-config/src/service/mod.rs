//! `[[service]]`: where requests and connections go to.

mod discovery;
mod endpoint;
mod health;
mod pool;
mod tls;

use std::num::NonZeroU32;

pub use self::discovery::{
    ConsulDiscovery, Discovery, DiscoverySource, DnsDiscovery, DnsName, EtcdDiscovery, EtcdLogin,
    FileDiscovery, OnEmpty,
};
pub use self::endpoint::{Endpoint, EndpointAddress, ParseEndpointError};
pub use self::health::{ActiveHealth, Outliers};
pub use self::pool::{Retry, ServiceTimeouts, UpstreamPool};
pub use self::tls::{ServiceTls, TlsIdentity};
use crate::listener::name;
use crate::reader::Section;
use crate::reader::kinds::choice;

/// Servers that do the same, and how they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: 1 to 32 of a-z, 0-9 and -; no other service has it.
    pub name: String,
    /// Its servers; at least one, unless they are found by `discovery`: then these are what is used
    /// until it has found some.
    pub endpoints: Vec<Endpoint>,
    /// Who tells which servers there are; `None` without the table.
    pub discovery: Option<Discovery>,
    /// What they speak. \[`http1`: what every server speaks\] Nothing to `tcp` and `udp` listeners.
    pub protocol: UpstreamProtocol,
    /// Whether they are told for whom a connection is; of `tcp` listeners alone. \[none\]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS, if they speak it; `None` without the table.
    pub tls: Option<ServiceTls>,
    /// Which of them a request goes to. \[`least-requests`: whoever is slow gets fewer\]
    pub balance: Balance,
    /// The connections to each of them.
    pub pool: UpstreamPool,
    /// How long they may take.
    pub timeouts: ServiceTimeouts,
    /// What is tried again.
    pub retry: Retry,
    /// Who is asked whether it is well; `None` without the table.
    pub health: Option<ActiveHealth>,
    /// Who is left out because requests to it fail.
    pub outliers: Outliers,
}

/// What is spoken with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without asking: gRPC, for instance.
    Http2,
}

/// How a server is told for whom a connection is
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// By a line of text.
    V1,
    /// In binary.
    V2,
}

/// Which server is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// Of two taken at random the one with fewer requests in flight, weighed by how long it takes
    /// to answer (peak EWMA).
    LeastRequests,
    /// Always the same one for a client's address, as long as it is well.
    ClientHash,
}

const PROTOCOLS: [(&str, UpstreamProtocol); 2] =
    [("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)];

const PROXY_PROTOCOLS: [(&str, Option<ProxyProtocol>); 3] =
    [("none", None), ("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2))];

const BALANCES: [(&str, Balance); 3] = [
    ("least-requests", Balance::LeastRequests),
    ("round-robin", Balance::RoundRobin),
    ("client-hash", Balance::ClientHash),
];

/// What an endpoint's weight is if none is written.
const WEIGHT: NonZeroU32 = NonZeroU32::MIN;

impl Service {
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "\"files\"", name);
        let source = section.source();
        let example = "[\"10.0.0.7:8080\"]";
        let endpoints = if section.has("discovery") {
            Some(section.optional("endpoints", endpoint::endpoints(source), Vec::new()))
        } else {
            section.required("endpoints", example, endpoint::endpoints(source))
        };
        let discovery = section
            .table_if_written("discovery", |discovery| Discovery::read(discovery, name.as_deref()));
        let protocol = section.optional("protocol", choice(&PROTOCOLS), UpstreamProtocol::Http1);
        let balance = section.optional("balance", choice(&BALANCES), Balance::LeastRequests);
        let pool = section.table("pool", UpstreamPool::read);
        let timeouts = section.table("timeouts", ServiceTimeouts::read);
        let retry = section.table("retry", Retry::read);
        let health = section.table_if_written("health", |health| Some(ActiveHealth::read(health)));
        let outliers = section.table("outliers", Outliers::read);
        let proxy_protocol = section.optional("proxy_protocol", choice(&PROXY_PROTOCOLS), None);
        let tls = section.table_if_written("tls", ServiceTls::read);
        let has_unix =
            endpoints.iter().flatten().any(|it| matches!(it.address, EndpointAddress::Unix(_)));
        if tls.is_some() && has_unix {
            section.wrong(
                "tls",
                "must not be there with servers on Unix sockets: nobody listens in there",
            );
        }
        let asks_by_path = health.as_ref().is_some_and(|health| health.path.is_some());
        if asks_by_path && protocol == UpstreamProtocol::Http2 {
            let why = "must have no `path` with protocol = \"http2\": it is asked for over HTTP/1.1; \
                       without it, that a server can be connected with is what counts";
            section.wrong("health", why);
        }
        Some(Self {
            name: name?,
            endpoints: endpoints?,
            discovery,
            protocol,
            proxy_protocol,
            tls,
            balance,
            pool,
            timeouts,
            retry,
            health,
            outliers,
        })
    }
}
