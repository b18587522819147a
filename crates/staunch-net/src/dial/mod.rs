//! Dialling: from an address to a connection that is on the ledger and watched.
//!
//! A name is resolved, its addresses are tried in turn with a short stagger (`race`, RFC 8305),
//! and the first that answers becomes a [`Connection`]. Each attempt is on the ledger from its
//! first system call on, in the state `handshake`, with the caller's line.
//!
//! Where a proxy is to connect in our place it is asked for a `tunnel`, within the same time.
//!
//! A [`Dialer`] is to dialled connections what a listener is to accepted ones: it holds what
//! they share, the buffers and the watchdog. The watchdog is a task of the scope that the dialer
//! was made in.

mod dialer;
mod error;
mod once;
mod proxy;
mod race;
mod tunnel;
mod udp;

use std::time::Duration;

pub use self::{
    dialer::Dialer,
    error::DialError,
    once::{dial_tcp, dial_tls, dial_unix},
    proxy::HttpProxy,
    udp::{DatagramError, UdpPeer, dial_udp},
};
use crate::options::SocketOptions;

/// How to dial.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// Time for all of it: to resolve the name, to connect, and for the TLS handshake. Default
    /// 10 s: several lost packets, but no user waits longer.
    pub timeout: Duration,
    /// Time that one address has before the next is tried as well. Default 250 ms, as RFC 8305,
    /// section 5 recommends: most round trips are shorter.
    pub stagger: Duration,
    /// Options of the socket.
    pub socket: SocketOptions,
}

impl Default for DialOptions {
    fn default() -> Self {
        DialOptions {
            timeout: Duration::from_secs(10),
            stagger: Duration::from_millis(250),
            socket: SocketOptions::default(),
        }
    }
}
