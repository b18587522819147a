//! The peers that are remembered, each with its entry on the ledger.

use std::{
    net::SocketAddr,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use staunch_ledger::{EntryId, Kind, Ledger, Obligation};
use staunch_scope::sleep;
use tokio_util::sync::CancellationToken;

use crate::udp::{UdpLimits, datagram::Peer, peers::Peers};

/// The peers of one server.
#[derive(Debug)]
pub(super) struct Known<S> {
    peers: Mutex<Peers<Arc<Peer<S>>>>,
    idle: Duration,
    pub(super) ledger: Ledger,
    born_at: &'static Location<'static>,
    scope: EntryId,
}

impl<S> Known<S> {
    pub(super) fn new(
        limits: &UdpLimits,
        ledger: Ledger,
        born_at: &'static Location<'static>,
        scope: EntryId,
    ) -> Known<S> {
        let peers = Mutex::new(Peers::new(limits.peers));
        Known { peers, idle: limits.peer_idle, ledger, born_at, scope }
    }

    /// The peer, if it is remembered: something has gone one way or the other.
    pub(super) fn hear(&self, address: SocketAddr) -> Option<Arc<Peer<S>>> {
        let now = self.ledger.now();
        let peer = Arc::clone(self.peers().hear(address, now)?);
        peer.account.touch();
        Some(peer)
    }

    /// A peer that is not remembered, from now on, and whom that cost a place.
    pub(super) fn meet(&self, address: SocketAddr) -> (Arc<Peer<S>>, Option<Arc<Peer<S>>>)
    where
        S: Default,
    {
        let peer = Arc::new(self.peer(address));
        let now = self.ledger.now();
        let forgotten = self.peers().insert(address, Arc::clone(&peer), now);
        if let Some(forgotten) = &forgotten {
            forgotten.forgotten.cancel();
        }
        (peer, forgotten)
    }

    fn peer(&self, address: SocketAddr) -> Peer<S>
    where
        S: Default,
    {
        let kind = Kind::user("udp-peer").unwrap_or(Kind::OTHER);
        // Forgotten after `idle`; a promise broken means that it was not.
        let promise = Obligation::ProgressWithin(self.idle + Duration::from_secs(5));
        let account = self.ledger.open_at(self.born_at, kind, promise, Some(self.scope));
        account.add_bytes(size_of::<Peer<S>>() as u64);
        account.peer(address);
        let (state, forgotten) = (S::default(), CancellationToken::new());
        Peer { state, address, forgotten, account }
    }

    fn peers(&self) -> MutexGuard<'_, Peers<Arc<Peer<S>>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets who has been silent, now and then, until the task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn keep_forgetting(&self) {
        const OFTEN: Duration = Duration::from_millis(20);
        const SELDOM: Duration = Duration::from_secs(1);
        while sleep((self.idle / 8).clamp(OFTEN, SELDOM)).await.is_ok() {
            self.forget_silent();
        }
    }

    /// Forgets everybody: nothing is received any more. Nobody is told, since what is on its way to
    /// them may still come: their handlers are asked to stop.
    pub(super) fn forget_all(&self) {
        while self.silent(Duration::ZERO).is_some() {}
    }

    fn forget_silent(&self) {
        while let Some(silent) = self.silent(self.idle) {
            silent.forgotten.cancel();
        }
    }

    /// One that has been silent for `idle`; no more of it is remembered. One by one, since neither a
    /// state's destructor nor a waker may run under the lock.
    fn silent(&self, idle: Duration) -> Option<Arc<Peer<S>>> {
        self.peers().forget_silent(self.ledger.now(), idle)
    }
}
