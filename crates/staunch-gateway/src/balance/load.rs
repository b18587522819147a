//! How busy a server is, as one core knows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Requests in flight, and how long answers take of late.
///
/// The latency is a peak EWMA (Finagle): a slower answer counts at once, a faster one by and by. Only
/// the thread of its core writes; a lost update of two would cost a little precision.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// In microseconds.
    latency: AtomicU64,
}

/// One answer weighs so much: after ten the older ones are forgotten.
const DECAY: u64 = 8;

impl Load {
    /// How many requests there would be there with one more.
    pub(crate) fn next(&self) -> f64 {
        f64::from(self.in_flight.load(Ordering::Relaxed)) + 1.0
    }

    /// How long answers take, in microseconds; `None` before the first.
    pub(crate) fn latency(&self) -> Option<f64> {
        Some(self.latency.load(Ordering::Relaxed) as f64).filter(|latency| *latency > 0.0)
    }

    /// A request begins; it ends with the guard.
    pub(crate) fn begin(self: &Arc<Self>, now: Instant) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { load: Arc::clone(self), begun: now }
    }

    pub(super) fn answered(&self, took: Duration) {
        let took = (took.as_micros() as u64).max(1);
        let before = self.latency.load(Ordering::Relaxed);
        let after = if took >= before { took } else { before - (before - took).div_ceil(DECAY) };
        self.latency.store(after, Ordering::Relaxed);
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    load: Arc<Load>,
    begun: Instant,
}

impl InFlight {
    /// When it began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// The head of its answer is here; or there is none, which is no better than a slow one.
    pub(crate) fn answered(&self, now: Instant) {
        self.load.answered(now.saturating_duration_since(self.begun));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
