//! What a handler gets for each datagram.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use staunch_ledger::Account;
use tokio::net::UdpSocket;

/// A datagram, with the state of its peer and a way to answer.
///
/// `S` is what is remembered of each peer between datagrams; several may be handled at the same
/// time, so it needs a lock or atomics for what changes.
#[derive(Debug)]
pub struct Datagram<S = ()> {
    bytes: Box<[u8]>,
    peer: Arc<Peer<S>>,
    bound: Arc<Bound>,
}

/// The socket and its entry, which closes after it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: UdpSocket,
    pub(super) account: Account,
}

/// A peer that is remembered, or whose datagrams are still being handled.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) state: S,
    pub(super) address: SocketAddr,
    pub(super) account: Account,
}

impl<S> Datagram<S> {
    pub(super) fn new(bytes: &[u8], peer: Arc<Peer<S>>, bound: Arc<Bound>) -> Datagram<S> {
        bound.account.add_bytes(bytes.len() as u64);
        Datagram { bytes: bytes.into(), peer, bound }
    }

    /// What was sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who sent it, unless the address is made up.
    pub fn peer(&self) -> SocketAddr {
        self.peer.address
    }

    /// What is remembered of the peer.
    pub fn state(&self) -> &S {
        &self.peer.state
    }

    /// The peer's account, for labels.
    pub fn account(&self) -> &Account {
        &self.peer.account
    }

    /// Sends a datagram back. Answer with no more than was asked: the address may be that of a
    /// victim (RFC 8085, section 4).
    ///
    /// # Errors
    /// Those of `sendto(2)`, for instance `EMSGSIZE`.
    ///
    /// # Cancel safety
    /// Cancel safe: then nothing was sent.
    pub fn reply(&self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        let send = self.bound.socket.send_to(bytes, self.peer.address);
        async { send.await.map(|_| ()) } // a datagram is sent whole or not at all
    }
}

impl<S> Drop for Datagram<S> {
    fn drop(&mut self) {
        self.bound.account.sub_bytes(self.bytes.len() as u64);
    }
}
