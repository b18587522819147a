//! How busy a server is, as one core knows it.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Requests in flight, and how long answers take of late.
///
/// The latency is a peak EWMA (Finagle): a slower answer counts at once, a faster one by and by,
/// and without answers it is forgotten: or a server that was slow once would never be asked again.
/// Only the thread of its core writes; a lost update of two would cost a little precision.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// In microseconds, when it was written.
    latency: AtomicU64,
    /// When that was, in microseconds since [`BEGINNING`].
    written: AtomicU64,
}

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// After so long without an answer a latency counts for a third (1/e).
const FORGETTING: Duration = Duration::from_secs(3);

/// One answer weighs so much: after ten the older ones are forgotten.
const DECAY: u64 = 8;

impl Load {
    /// How many requests there would be there with one more.
    pub(crate) fn next(&self) -> f64 {
        f64::from(self.in_flight.load(Ordering::Relaxed)) + 1.0
    }

    /// Whether nobody waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// How long answers take, in microseconds; `None` before the first.
    pub(crate) fn latency(&self, now: Instant) -> Option<f64> {
        let latency = self.latency.load(Ordering::Relaxed);
        let since = micros(now).saturating_sub(self.written.load(Ordering::Relaxed));
        let left = (-(since as f64) / FORGETTING.as_micros() as f64).exp();
        (latency > 0).then(|| (latency as f64 * left).max(1.0))
    }

    /// A request begins; it ends with the guard.
    pub(crate) fn begin(self: &Arc<Self>, now: Instant) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { load: Arc::clone(self), begun: now }
    }

    pub(super) fn answered(&self, took: Duration, now: Instant) {
        let took = (took.as_micros() as u64).max(1);
        let before = self.latency(now).unwrap_or_default();
        let before = Duration::from_secs_f64(before / 1e6).as_micros() as u64;
        self.written.store(micros(now), Ordering::Relaxed);
        let after = if took >= before { took } else { before - (before - took).div_ceil(DECAY) };
        self.latency.store(after, Ordering::Relaxed);
    }
}

fn micros(now: Instant) -> u64 {
    now.saturating_duration_since(*BEGINNING).as_micros() as u64
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    load: Arc<Load>,
    begun: Instant,
}

impl InFlight {
    /// The head of its answer is here; or there is none, which is no better than a slow one.
    pub(crate) fn answered(&self, now: Instant) {
        self.load.answered(now.saturating_duration_since(self.begun), now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
