//! Why there is no connection.

use std::{io, net::SocketAddr, time::Duration};

use rustix::io::Errno;
use staunch_scope::Cancelled;

use crate::{resources::out_of_resources, tls::HandshakeError};

/// A connection could not be dialled. The address is as it was given, with the one that was
/// tried if that is another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address, or it could not be found out.
    #[error(
        "{address}: name not resolved: {source}; check the name, and the nameservers in /etc/resolv.conf"
    )]
    Unresolved {
        /// Where to.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The machine is there, but nobody listens.
    #[error(
        "{address}: connection refused: nobody listens there; check that the server runs, and the port"
    )]
    Refused {
        /// Where to.
        address: String,
    },
    /// There is no such Unix socket.
    #[error("{address}: no such socket; check that the server runs, and the path")]
    Missing {
        /// Where to.
        address: String,
    },
    /// Nobody answered in time.
    #[error(
        "{address}: no connection within {limit:?}: the machine is down, or something on the way drops what we send"
    )]
    TimedOut {
        /// Where to.
        address: String,
        /// The limit: [`DialOptions::timeout`](crate::DialOptions::timeout).
        limit: Duration,
    },
    /// No way leads there.
    #[error("{address}: cannot be reached: {source}; `ip route get` shows the way")]
    Unreachable {
        /// Where to.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Every local port is in use towards this address.
    #[error(
        "{address}: no local port is free: keep connections and use them again, or widen net.ipv4.ip_local_port_range"
    )]
    NoLocalPort {
        /// Where to.
        address: String,
    },
    /// The process or the system has no more file descriptors.
    #[error(
        "{address}: out of file descriptors; raise the limit (ulimit -n), or look for what holds them"
    )]
    OutOfDescriptors {
        /// Where to.
        address: String,
    },
    /// A certificate cannot be for such a name.
    #[error(
        "{name}: neither a DNS name nor an IP address, so no certificate can be checked against it"
    )]
    ServerName {
        /// The name.
        name: String,
    },
    /// Connected, but the two did not come to speak TLS.
    #[error("{address}: {source}")]
    Handshake {
        /// Where to.
        address: String,
        /// Why.
        source: HandshakeError,
    },
    /// A proxy does not connect in our place.
    #[error("{address}: the proxy {proxy} refuses: {status}; {}", remedy(*.status))]
    ProxyRefused {
        /// Where the proxy is.
        proxy: String,
        /// Where to.
        address: String,
        /// Its answer (RFC 9110, section 15).
        status: u16,
    },
    /// What came from a proxy is no answer, or not all of one.
    #[error("the proxy {proxy} does not answer: {source}; check that an HTTP proxy listens there")]
    ProxyBroke {
        /// Where the proxy is.
        proxy: String,
        /// What is wrong.
        source: io::Error,
    },
    /// Nobody wants the connection any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Anything else.
    #[error("{address}: cannot connect: {source}")]
    Io {
        /// Where to.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What to do about a proxy's refusal.
fn remedy(status: u16) -> &'static str {
    match status {
        401 | 407 => "it wants to know who asks: give it a name and a password",
        403 | 405 => "its rules forbid it: have the host and the port allowed, or go without it",
        404 | 500..600 => "it cannot reach the host: check the name and the port, from there",
        _ => "its log says why",
    }
}

impl DialError {
    /// Whether it is this process or this machine that lacks what a connection takes: descriptors, memory,
    /// or ports for datagrams. That says nothing of the other side.
    ///
    /// [`NoLocalPort`](DialError::NoLocalPort) is not among them: ports are in use towards one address, and
    /// the system says the same of an address that it has no way to, such as one of IPv6 without IPv6.
    ///
    /// # Examples
    /// ```
    /// use staunch_net::DialError;
    /// let address = String::from("db.internal:5432");
    /// assert!(DialError::OutOfDescriptors { address: address.clone() }.is_local());
    /// assert!(!DialError::Refused { address }.is_local());
    /// ```
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            DialError::OutOfDescriptors { .. } => true,
            DialError::Io { source, .. } | DialError::Unresolved { source, .. } => {
                // A socket for datagrams is bound before it is connected.
                let no_port = Errno::from_io_error(source) == Some(Errno::ADDRINUSE);
                no_port || out_of_resources(source)
            }
            _ => false,
        }
    }

    /// What `connect(2)` and its like say.
    pub(super) fn connect(target: &str, tried: Option<SocketAddr>, source: io::Error) -> DialError {
        let tried = tried.map(|tried| tried.to_string()).filter(|tried| !target.ends_with(tried));
        let address = match tried {
            Some(tried) => format!("{target} ({tried})"),
            None => target.to_owned(),
        };
        match Errno::from_io_error(&source) {
            Some(Errno::CONNREFUSED) => DialError::Refused { address },
            Some(Errno::NOENT) => DialError::Missing { address },
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => {
                DialError::Unreachable { address, source }
            }
            Some(Errno::ADDRNOTAVAIL) => DialError::NoLocalPort { address },
            Some(Errno::MFILE | Errno::NFILE) => DialError::OutOfDescriptors { address },
            _ => DialError::Io { address, source },
        }
    }

    pub(super) fn handshake(target: &str, source: HandshakeError) -> DialError {
        match source {
            HandshakeError::Cancelled(cause) => DialError::Cancelled(cause),
            source => DialError::Handshake { address: target.to_owned(), source },
        }
    }
}
