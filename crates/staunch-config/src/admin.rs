//! `[admin]`: the endpoint that shows what the process holds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::listener::socket_address;
use crate::overlap::{Claims, Transport};
use crate::reader::Section;
use crate::reader::kinds::{boolean, path};

/// Where the admin endpoint listens and who may ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Its TCP address. \[127.0.0.1:6060, the port of Go's pprof by custom; loopback, because
    /// it shows addresses and memory of everybody served.\]
    pub listen: SocketAddr,
    /// The file that holds the token which a client must send. Always there when the endpoint
    /// listens beyond loopback. \[none: whoever is on this machine may ask\]
    ///
    /// The configuration names a file, never the token: configurations are shown and shared.
    pub token_file: Option<PathBuf>,
}

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6060);

impl Admin {
    /// `None` if it is switched off.
    pub(crate) fn read(section: &mut Section<'_>, claims: &mut Claims) -> Option<Self> {
        let enabled = section.optional("enabled", boolean, true);
        let listen = section.optional("listen", socket_address, LISTEN);
        let token_file = section.written("token_file", path(section.source()));
        section.refuse(
            "token",
            "it does not belong in here; put it in a file, and name that in `token_file`",
        );
        if !enabled {
            return None;
        }
        claims.add(section, Transport::Tcp(listen));
        if !listen.ip().to_canonical().is_loopback() && !section.has("token_file") {
            section.missing("token_file", format!("{listen} is reachable beyond this machine"));
        }
        Some(Self { listen, token_file })
    }
}
