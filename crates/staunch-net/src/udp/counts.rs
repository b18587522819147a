//! What a UDP server has done, to be read while it serves.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts of a [`UdpServer`](crate::UdpServer); clones are of the same one.
#[derive(Clone, Debug, Default)]
pub struct UdpCounts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    oversize: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
}

impl UdpCounts {
    /// Datagrams handed to the handler.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Datagrams dropped because they were too long.
    pub fn oversize(&self) -> u64 {
        self.0.oversize.load(Ordering::Relaxed)
    }

    /// Datagrams of new peers, dropped because none were taken
    /// ([`UdpServer::refuse_while`](crate::UdpServer::refuse_while)).
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Peers forgotten before their time to make room for new ones.
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    pub(super) fn count_received(&self) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_oversize(&self) {
        self.0.oversize.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_evicted(&self) {
        self.0.evicted.fetch_add(1, Ordering::Relaxed);
    }
}
