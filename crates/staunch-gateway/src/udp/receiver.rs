//! A listener of datagrams: what it allows, and what became of what came.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use staunch_ledger::{Ledger, Seldom};
use staunch_net::{UdpCounts, UdpServer};
use tokio::sync::Semaphore;

use super::UdpError;

/// What all clients of a listener share.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) service: String,
    /// The longest answer.
    pub(crate) longest: usize,
    /// One for each client's socket.
    pub(crate) places: Arc<Semaphore>,
    counts: UdpCounts,
    /// By [`LOSSES`].
    dropped: [AtomicU64; LOSSES.len()],
    said: [Seldom; LOSSES.len()],
}

/// Why a datagram was dropped.
const LOSSES: [&str; 7] =
    ["too_long", "full", "pressure", "descriptors", "no_server", "unreachable", "stopping"];

impl Receiver {
    pub(crate) fn new(name: &str, service: &str, server: &UdpServer) -> Receiver {
        let limits = server.limits();
        Receiver {
            name: name.to_owned(),
            service: service.to_owned(),
            longest: limits.datagram,
            places: Arc::new(Semaphore::new(limits.peers.clamp(1, Semaphore::MAX_PERMITS))),
            counts: server.counts(),
            dropped: Default::default(),
            said: Default::default(),
        }
    }

    /// A datagram was not handed on.
    pub(super) fn lost(&self, error: &UdpError) {
        let place = error.place();
        let (Some(counter), Some(said)) = (self.dropped.get(place), self.said.get(place)) else {
            return;
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(times) = said.happened(Ledger::current().now()) {
            let (listener, reason) = (&self.name, LOSSES.get(place).copied());
            tracing::warn!(listener, reason, times, "datagrams are dropped: {error}");
        }
    }

    /// Datagrams received, and clients that had to make room.
    pub(crate) fn read(&self) -> [u64; 2] {
        [self.counts.received(), self.counts.evicted()]
    }

    /// Datagrams that were dropped, and why: here, or before they came here.
    pub(crate) fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let before = [self.counts.oversize(), 0, self.counts.refused(), 0, 0, 0, 0];
        let here = self.dropped.each_ref().map(|count| count.load(Ordering::Relaxed));
        LOSSES.into_iter().zip(here.into_iter().zip(before).map(|(here, before)| here + before))
    }
}
