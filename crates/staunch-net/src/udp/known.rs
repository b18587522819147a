//! The peers that are remembered, each with its entry on the ledger.

use std::{
    net::SocketAddr,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use staunch_ledger::{EntryId, Kind, Ledger, Obligation};
use staunch_scope::sleep;

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

impl<S: Default> Known<S> {
    pub(super) fn new(
        limits: &UdpLimits,
        ledger: Ledger,
        born_at: &'static Location<'static>,
        scope: EntryId,
    ) -> Known<S> {
        let peers = Mutex::new(Peers::new(limits.peers));
        Known { peers, idle: limits.peer_idle, ledger, born_at, scope }
    }

    /// The peer, remembered from now on, and whom that cost a place.
    pub(super) fn hear(&self, address: SocketAddr) -> (Arc<Peer<S>>, Option<Arc<Peer<S>>>) {
        let now = self.ledger.now();
        if let Some(peer) = self.peers().hear(address, now) {
            peer.account.touch();
            return (Arc::clone(peer), None);
        }
        let peer = Arc::new(self.meet(address));
        let forgotten = self.peers().insert(address, Arc::clone(&peer), now);
        (peer, forgotten)
    }

    fn meet(&self, address: SocketAddr) -> Peer<S> {
        let kind = Kind::user("udp-peer").unwrap_or(Kind::OTHER);
        // Forgotten after `idle`; a promise broken means that it was not.
        let promise = Obligation::ProgressWithin(self.idle + Duration::from_secs(5));
        let account = self.ledger.open_at(self.born_at, kind, promise, Some(self.scope));
        account.add_bytes(size_of::<Peer<S>>() as u64);
        account.peer(address);
        Peer { state: S::default(), address, account }
    }
}

impl<S> Known<S> {
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
            // One by one: a state's destructor must not run under the lock.
            while let Some(silent) = self.forget_silent() {
                drop(silent);
            }
        }
    }

    fn forget_silent(&self) -> Option<Arc<Peer<S>>> {
        self.peers().forget_silent(self.ledger.now(), self.idle)
    }
}
