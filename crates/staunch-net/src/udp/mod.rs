//! A UDP server that cannot be made to grow.
//!
//! Datagrams come from anywhere, and their senders can be made up. So everything about them is
//! bounded: how long one may be, how many are being handled (who finds no room waits in the
//! kernel's buffer, which drops what it cannot hold), and how many peers are remembered
//! (`peers`: the one that has been silent for longest is forgotten for a new one).

mod counts;
mod datagram;
mod known;
mod peers;
mod receiving;
mod server;

use std::time::Duration;

pub use self::{
    counts::UdpCounts,
    datagram::Datagram,
    server::{UdpServed, UdpServer},
};

/// What a UDP server allows, and why the defaults are what they are.
#[derive(Clone, Debug)]
pub struct UdpLimits {
    /// Peers remembered at a time. Default 10 000, as many as a listener has connections. A
    /// further one is let in at the price of the peer that has been silent for longest, whose
    /// state is lost: were newcomers refused instead, anybody could keep everybody out with
    /// datagrams from 10 000 made-up addresses. What is open for it ends then
    /// ([`Datagram::forgotten`]).
    pub peers: usize,
    /// Time without a datagram, either way, after which a peer is forgotten. Default 120 s: NATs keep their
    /// mappings at least as long (RFC 4787, REQ-5), and a sender behind one that has lost its
    /// mapping comes back as another peer anyway.
    pub peer_idle: Duration,
    /// The longest datagram, in bytes; longer ones are dropped and counted. Default 1472: what
    /// fits an Ethernet frame unfragmented (1500 without the headers of IPv4 and UDP).
    pub datagram: usize,
    /// Datagrams being handled at a time. Default 1024: 1.5 MiB of datagrams.
    pub in_flight: usize,
    /// Time for handlers to end when the server drains; then they are cut. Default 5 s: who
    /// waits longer for an answer to a datagram has sent it again.
    pub drain: Duration,
}

impl Default for UdpLimits {
    fn default() -> Self {
        UdpLimits {
            peers: 10_000,
            peer_idle: Duration::from_mins(2),
            datagram: 1472,
            in_flight: 1024,
            drain: Duration::from_secs(5),
        }
    }
}

/// Options of a UDP socket.
#[derive(Clone, Debug, Default)]
pub struct UdpOptions {
    /// Bytes that the kernel keeps until they are received (`SO_RCVBUF`); it drops what comes
    /// beyond. Default `None`: the system's (`net.core.rmem_default`, often 208 KiB). Bursts
    /// need more; the kernel caps it at `net.core.rmem_max`, and a warning says so.
    pub receive_buffer: Option<usize>,
    /// Several servers on one address, between which the kernel balances by peer
    /// (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
}
