//! What `staunch run` serves: a bound listener, and the protocol spoken on it.

mod bank;
mod bind;
mod bodies;
mod echo;
mod guarding;
mod http;
mod udp_echo;

use std::{fmt, io};

use staunch_console::Console;
use staunch_gateway::Gateway;
use staunch_guard::{Guard, Registration};
use staunch_net::{Listener, SharedSocket, TlsConfig, UdpServer};
use staunch_scope::Context;

use self::{bank::Bank, http::Http};
use crate::outcome::Books;

pub(crate) use self::{
    bind::{bind_added, bind_all, file_problems},
    guarding::options as guard_options,
};

/// A listener that is bound, and what will be served on it.
pub(crate) struct Service {
    name: String,
    protocol: Protocol,
}

/// Everything that a configuration names.
pub(crate) struct Bound {
    pub(crate) listeners: Vec<Service>,
    /// Those that the gateway hands to, and which so must outlive it.
    pub(crate) behind: Vec<Service>,
    /// What is handed on to other servers.
    pub(crate) gateway: Option<Gateway>,
    /// Apart, since it ends last.
    pub(crate) admin: Option<Service>,
}

impl Bound {
    /// What listens, by name, and where; the admin endpoint as the last.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&str, String)> {
        let endpoint = |service: &'_ Service| service.endpoint().to_string();
        let own = self.listeners.iter().chain(&self.behind);
        let own = own.map(move |it| (it.name(), endpoint(it)));
        let gateway = self.gateway.iter().flat_map(Gateway::endpoints);
        let admin = self.admin.iter().map(move |it| (it.name(), endpoint(it)));
        own.chain(gateway).chain(admin)
    }

    /// Every socket that listens once more, to be handed to a successor; but those of the gateway
    /// that come and go.
    pub(crate) fn share(&self) -> io::Result<Vec<SharedSocket>> {
        let own = self.listeners.iter().chain(&self.behind).chain(&self.admin);
        let mut shared = own.map(Service::share).collect::<io::Result<Vec<_>>>()?;
        if let Some(gateway) = &self.gateway {
            shared.extend(gateway.share()?);
        }
        Ok(shared)
    }
}

enum Protocol {
    Echo(Listener),
    EchoTls { listener: Listener, tls: TlsConfig, line_limit: usize },
    Http(Listener, Http),
    HttpTls { listener: Listener, tls: TlsConfig, http: Http },
    Bank(Listener, Option<TlsConfig>, Bank),
    Admin(Listener, Console),
    UdpEcho(UdpServer),
}

/// What a protocol is spoken on.
enum Socket<'a> {
    Listener(&'a Listener),
    Datagrams(&'a UdpServer),
}

impl Protocol {
    fn socket(&self) -> Socket<'_> {
        match self {
            Protocol::Echo(listener)
            | Protocol::EchoTls { listener, .. }
            | Protocol::Http(listener, _)
            | Protocol::HttpTls { listener, .. }
            | Protocol::Bank(listener, ..)
            | Protocol::Admin(listener, _) => Socket::Listener(listener),
            Protocol::UdpEcho(server) => Socket::Datagrams(server),
        }
    }

    /// With its listener guarded.
    fn guarded(self, guard: Option<&Guard>) -> (Protocol, Option<Registration>) {
        let mut closes = None;
        let mut guarded = |listener| {
            let (listener, registration) = staunch_gateway::guarded(listener, guard);
            closes = registration;
            listener
        };
        let protocol = match self {
            Protocol::Echo(listener) => Protocol::Echo(guarded(listener)),
            Protocol::EchoTls { listener, tls, line_limit } => {
                Protocol::EchoTls { listener: guarded(listener), tls, line_limit }
            }
            Protocol::Http(listener, http) => Protocol::Http(guarded(listener), http),
            Protocol::HttpTls { listener, tls, http } => {
                Protocol::HttpTls { listener: guarded(listener), tls, http }
            }
            Protocol::Bank(listener, tls, bank) => Protocol::Bank(guarded(listener), tls, bank),
            Protocol::UdpEcho(server) => {
                Protocol::UdpEcho(staunch_gateway::guarded_datagrams(server, guard))
            }
            unguarded @ Protocol::Admin(..) => unguarded,
        };
        (protocol, closes)
    }
}

impl Service {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> Box<dyn fmt::Display + '_> {
        match self.protocol.socket() {
            Socket::Listener(listener) => Box::new(listener.endpoint()),
            Socket::Datagrams(server) => Box::new(server.address()),
        }
    }

    fn share(&self) -> io::Result<SharedSocket> {
        match self.protocol.socket() {
            Socket::Listener(listener) => listener.share(),
            Socket::Datagrams(server) => server.share(),
        }
    }

    /// Serves until `context` is cancelled, drains, and books what was served. The admin endpoint
    /// asks no guard: it is there to be asked under pressure.
    pub(crate) async fn serve(self, context: &Context, guard: Option<&Guard>, books: &Books) {
        let (protocol, _closes) = self.protocol.guarded(guard);
        let served = match protocol {
            Protocol::UdpEcho(server) => {
                return books.datagrams(&self.name, server.serve(context, udp_echo::echo).await);
            }
            Protocol::Echo(listener) => listener.serve(context, echo::echo).await,
            Protocol::EchoTls { listener, tls, line_limit } => {
                let handler = move |connection| echo::echo_tls(connection, line_limit);
                listener.serve_tls(context, &tls, handler).await
            }
            Protocol::Http(listener, http) => http.serve(listener, context, None, guard).await,
            Protocol::HttpTls { listener, tls, http } => {
                http.serve(listener, context, Some(&tls), guard).await
            }
            Protocol::Bank(listener, tls, bank) => {
                match bank.serve(listener, context, tls.as_ref(), guard).await {
                    Some(served) => served,
                    None => return books.failed(),
                }
            }
            Protocol::Admin(listener, console) => {
                let handler = move |connection| console.clone().serve(connection);
                listener.serve(context, handler).await
            }
        };
        books.connections(&self.name, served);
    }
}
