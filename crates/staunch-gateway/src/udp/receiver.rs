//! A listener of datagrams: what it allows, and what became of what came.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use staunch_ledger::{Ledger, Seldom};
use staunch_net::{UdpCounts, UdpServer};
use tokio::sync::Semaphore;

use super::{UdpError, names::Names};

/// What all clients of a listener share.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) service: String,
    /// The longest answer.
    pub(crate) longest: usize,
    /// One for each client's socket.
    pub(crate) places: Arc<Semaphore>,
    /// One for each datagram that waits for a socket: half of those that may be under way beside the
    /// clients' first ones, which stay. The other half is for clients that have one.
    pub(crate) waiting: Semaphore,
    /// How long answers are waited for once it is to end.
    pub(crate) last_answers: Duration,
    pub(super) names: Names,
    counts: UdpCounts,
    /// By [`LOSSES`].
    dropped: [AtomicU64; LOSSES.len()],
    said: [Seldom; LOSSES.len()],
}

/// Why a datagram was dropped.
const LOSSES: [&str; 7] =
    ["too_long", "full", "pressure", "descriptors", "no_server", "unreachable", "stopping"];

/// The places of [`LOSSES`].
pub(super) const TOO_LONG: usize = 0;
pub(super) const FULL: usize = 1;
pub(super) const PRESSURE: usize = 2;
pub(super) const DESCRIPTORS: usize = 3;
pub(super) const NO_SERVER: usize = 4;
pub(super) const UNREACHABLE: usize = 5;
pub(super) const STOPPING: usize = 6;

/// Who asked and has no answer by then has asked again, as resolvers of DNS do (resolv.conf(5)).
const LAST_ANSWERS: Duration = Duration::from_secs(5);

impl Receiver {
    pub(crate) fn new(name: &str, service: &str, server: &UdpServer) -> Receiver {
        let limits = server.limits();
        let beside = limits.in_flight.saturating_sub(limits.peers);
        Receiver {
            name: name.to_owned(),
            service: service.to_owned(),
            longest: limits.datagram,
            places: Arc::new(Semaphore::new(limits.peers.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: Semaphore::new((beside / 2).clamp(1, Semaphore::MAX_PERMITS)),
            // Some of a short drain is for the end itself.
            last_answers: (limits.drain / 10 * 9).min(LAST_ANSWERS),
            names: Names::default(),
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
        let mut before = [0; LOSSES.len()];
        before[TOO_LONG] = self.counts.oversize();
        before[PRESSURE] = self.counts.refused();
        let here = self.dropped.each_ref().map(|count| count.load(Ordering::Relaxed));
        LOSSES.into_iter().zip(here.into_iter().zip(before).map(|(here, before)| here + before))
    }
}
