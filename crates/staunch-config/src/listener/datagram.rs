//! A listener for datagrams.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::address::socket_address;
use super::limits::limit_count;
use super::service_name;
use crate::overlap::{Claims, Transport};
use crate::reader::Section;
use crate::reader::kinds::{boolean, duration, size};
use crate::size::ByteSize;

/// Something that is served over datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramListener {
    /// Its name: 1 to 32 of a-z, 0-9 and -; no other listener has it.
    pub name: String,
    /// What is spoken.
    pub protocol: DatagramProtocol,
    /// The UDP address it listens on; no other listener does.
    pub listen: SocketAddr,
    /// Whether other processes may listen on the same address, each with its share of the
    /// datagrams. \[false: a second server started by mistake then fails, and is noticed\]
    pub reuse_port: bool,
    /// What its peers may take.
    pub limits: DatagramLimits,
    /// The service that its datagrams go to; `Some` for [`DatagramProtocol::Udp`] alone.
    pub service: Option<String>,
}

/// What is spoken in datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramProtocol {
    /// Datagrams, both ways, with a server of `DatagramListener::service`.
    Udp,
    /// Each datagram comes back: `Echo: ` and its text, trimmed.
    Echo,
}

/// What the peers of a datagram listener may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramLimits {
    /// Bytes of the longest datagram that is taken. \[1472B: what a packet of Ethernet carries
    /// (1500 without the headers of IPv4 and UDP); a longer one came in fragments\]
    pub datagram: NonZeroUsize,
    /// The most peers that are remembered; the one that was silent for longest makes room for
    /// another. `None` is `"unlimited"`. \[10000: as many as connections\]
    pub peers: Option<NonZeroUsize>,
    /// How long a peer is remembered while nothing goes either way. \[2m: as long as a NAT keeps its
    /// mapping at least (RFC 4787, REQ-5)\]
    pub peer_idle: Duration,
}

/// What an IPv4 packet can carry over UDP.
const DATAGRAM_MAX: ByteSize = ByteSize(65_507);
const PEER_IDLE_MIN: Duration = Duration::from_millis(1);
const PEER_IDLE_MAX: Duration = Duration::from_hours(24);

impl Default for DatagramLimits {
    fn default() -> Self {
        Self {
            datagram: const { NonZeroUsize::new(1_472).unwrap() },
            peers: NonZeroUsize::new(10_000),
            peer_idle: Duration::from_mins(2),
        }
    }
}

impl DatagramListener {
    pub(super) fn read(
        section: &mut Section<'_>,
        name: Option<String>,
        protocol: DatagramProtocol,
        claims: &mut Claims,
    ) -> Option<Self> {
        let listen = section.required("listen", "\"127.0.0.1:9001\"", socket_address);
        if let Some(listen) = listen {
            claims.add(section, Transport::Udp(listen));
        }
        let reuse_port = section.optional("reuse_port", boolean, false);
        let limits = section.table("limits", DatagramLimits::read);
        let service = if protocol == DatagramProtocol::Udp {
            Some(section.required("service", "\"dns\"", service_name)?)
        } else {
            section.refuse("service", "what comes is echoed");
            None
        };
        section.refuse("tls", "TLS needs a connection, and UDP has none");
        section.refuse("socket", "these are options of TCP, and this is UDP");
        section.refuse("backlog", "only connections wait to be accepted, and UDP has none");
        Some(Self { name: name?, protocol, listen: listen?, reuse_port, limits, service })
    }
}

impl DatagramLimits {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let datagram = size(ByteSize(1)..=DATAGRAM_MAX);
        let peer_idle = duration(PEER_IDLE_MIN..=PEER_IDLE_MAX);
        Self {
            datagram: section.optional("datagram", datagram, default.datagram),
            peers: section.optional("peers", limit_count(), default.peers),
            peer_idle: section.optional("peer_idle", peer_idle, default.peer_idle),
        }
    }
}
