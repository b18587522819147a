//! What a handler gets for each datagram.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
};

use staunch_ledger::{Account, State};
use staunch_scope::{Cancelled, Wait};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::udp::known::Known;

/// A datagram, with the state of its peer and a way to answer.
///
/// `S` is what is remembered of each peer between datagrams; several may be handled at the same
/// time, so it needs a lock or atomics for what changes.
#[derive(Debug)]
pub struct Datagram<S = ()> {
    bytes: Box<[u8]>,
    peer: Arc<Peer<S>>,
    known: Arc<Known<S>>,
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
    /// Cancelled once it is no longer remembered.
    pub(super) forgotten: CancellationToken,
    pub(super) account: Account,
}

impl<S> Datagram<S> {
    pub(super) fn new(
        bytes: &[u8],
        peer: Arc<Peer<S>>,
        known: Arc<Known<S>>,
        bound: Arc<Bound>,
    ) -> Datagram<S> {
        bound.account.add_bytes(bytes.len() as u64);
        Datagram { bytes: bytes.into(), peer, known, bound }
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

    /// Waits until its peer is no longer remembered: because nothing has gone either way for
    /// [`UdpLimits::peer_idle`](crate::UdpLimits::peer_idle), or another one needed its place. Who
    /// keeps something open for the peer gives it back then. A server that drains forgets nobody: it
    /// asks the handlers to stop, and until the drain's end an answer can still be sent.
    ///
    /// # Errors
    /// [`Cancelled`]
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn forgotten(&self) -> Result<(), Cancelled> {
        let mut wait = Wait::new();
        let mut forgotten = pin!(self.peer.forgotten.cancelled());
        poll_fn(|cx| wait.poll(cx, State::Waiting, |cx| forgotten.as_mut().poll(cx))).await
    }

    /// Sends a datagram back; the peer is remembered anew from then on. Answer with no more than was
    /// asked: the address may be that of a victim (RFC 8085, section 4).
    ///
    /// # Errors
    /// Those of `sendto(2)`, for instance `EMSGSIZE`.
    ///
    /// # Cancel safety
    /// Cancel safe: then nothing was sent.
    pub fn reply(&self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        let address = self.peer.address;
        let send = self.bound.socket.send_to(bytes, address);
        async move {
            send.await?; // a datagram is sent whole or not at all
            let _or_forgotten_meanwhile = self.known.hear(address);
            Ok(())
        }
    }
}

impl<S> Drop for Datagram<S> {
    fn drop(&mut self) {
        self.bound.account.sub_bytes(self.bytes.len() as u64);
    }
}
