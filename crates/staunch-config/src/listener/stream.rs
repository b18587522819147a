//! A listener for connections.

use std::num::NonZeroU32;

use super::address::{StreamAddress, stream_address};
use super::limits::{Spoken, StreamLimits};
use super::service_name;
use super::socket::SocketOptions;
use super::tls::Tls;
use crate::overlap::Claims;
use crate::policy::IpRange;
use crate::process::Memory;
use crate::reader::Section;
use crate::reader::kinds::{boolean, count, list_of};

/// Something that is served over connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamListener {
    /// Its name: 1 to 32 of a-z, 0-9 and -; no other listener has it.
    pub name: String,
    /// What is spoken.
    pub protocol: StreamProtocol,
    /// Where it listens; no other listener does.
    pub listen: StreamAddress,
    /// The service that its connections go to; `Some` for [`StreamProtocol::Tcp`] alone.
    pub service: Option<String>,
    /// How many connections the kernel keeps until they are accepted. \[1024: what a burst of
    /// a busy second needs; the kernel lowers it to `net.core.somaxconn`\]
    pub backlog: NonZeroU32,
    /// Whether other processes may listen on the same address, each with its share of the
    /// connections. \[false: a second server started by mistake then fails, and is noticed\]
    pub reuse_port: bool,
    /// What its connections may take.
    pub limits: StreamLimits,
    /// How its connections' sockets are set up; nothing of it applies to Unix sockets.
    pub socket: SocketOptions,
    /// Peers of these addresses say for whom they speak, by the PROXY protocol; of `http` and `tcp`
    /// alone. \[none: whoever is believed can pretend to be anybody\]
    pub proxy_protocol_from: Vec<IpRange>,
    /// TLS, if its connections speak it. \[none\]
    pub tls: Option<Tls>,
}

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamProtocol {
    /// HTTP, whose requests go where a `Route` sends them.
    Http,
    /// Bytes, both ways, with a server of `StreamListener::service`.
    Tcp,
    /// Lines: `Echo: ` and the line, trimmed, come back.
    Echo,
    /// A small HTTP service, to try things with.
    Demo,
    /// A bank over HTTP, whose accounts are gone when it ends.
    Bank,
}

const BACKLOG: NonZeroU32 = NonZeroU32::new(1_024).unwrap();
const BACKLOG_MAX: usize = 65_535;

impl StreamProtocol {
    /// Whether requests are HTTP's.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Demo | Self::Bank)
    }
}

impl StreamListener {
    /// Whether its connections take the pooled buffers of `Memory`: those with plain lines do.
    pub(crate) fn takes_pooled_buffers(&self) -> bool {
        self.protocol == StreamProtocol::Echo && self.tls.is_none()
    }

    pub(super) fn read(
        section: &mut Section<'_>,
        name: Option<String>,
        protocol: StreamProtocol,
        memory: &Memory,
        claims: &mut Claims,
    ) -> Option<Self> {
        let kind = stream_address(section.source());
        let listen = section.required("listen", "\"127.0.0.1:9000\"", kind);
        if let Some(listen) = &listen {
            claims.add(section, listen.transport());
        }
        let backlog = section.optional("backlog", count(1..=BACKLOG_MAX), BACKLOG);
        let reuse_port = section.optional("reuse_port", boolean, false);
        let service = if protocol == StreamProtocol::Tcp {
            Some(section.required("service", "\"redis\"", service_name)?)
        } else {
            section.refuse("service", "where requests go is said by a [[route]]");
            None
        };
        let unix = matches!(listen, Some(StreamAddress::Unix(_)));
        let ranges = list_of("addresses, such as [\"10.0.0.0/8\"]", str::parse::<IpRange>);
        let proxy_protocol_from = section.optional("proxy_protocol_from", ranges, Vec::new());
        let has_handshake = section.has("tls") || !proxy_protocol_from.is_empty();
        let spoken = Spoken { protocol, has_handshake, unix };
        let limits = section.table("limits", |limits| StreamLimits::read(limits, memory, spoken));
        let socket = section.table("socket", SocketOptions::read);
        let tls = section.table_if_written("tls", |tls| Tls::read(tls, protocol));
        if !matches!(protocol, StreamProtocol::Http | StreamProtocol::Tcp) {
            section
                .refuse("proxy_protocol_from", "only `http` and `tcp` listeners are behind others");
        }
        if unix {
            section.refuse("reuse_port", "a Unix socket has no port");
            section.refuse("proxy_protocol_from", "who uses a Unix socket has no IP address");
            section.refuse("socket", "these are options of TCP, and this is a Unix socket");
        }
        Some(Self {
            name: name?,
            protocol,
            listen: listen?,
            service,
            backlog,
            reuse_port,
            limits,
            socket,
            proxy_protocol_from,
            tls,
        })
    }
}
