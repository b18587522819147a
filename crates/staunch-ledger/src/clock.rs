//! The ledger's coarse clock: milliseconds of `CLOCK_MONOTONIC_COARSE`.
//!
//! Reading it costs about 5 ns and no system call (vDSO), a quarter of `Instant::now()`. Its
//! resolution is one kernel tick, 1–10 ms (`clock_gettime(2)`), which is far below any age a
//! leak rule looks at. A ledger made for a test can be given a hand-driven clock instead.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment on the ledger's clock, in milliseconds; only differences have a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub(crate) u64);

/// The last moment of the clock: a slot keeps 42 bits of its birth, which is 139 years.
const LATEST: u64 = (1 << 42) - 1;

impl Stamp {
    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `delay` after `self`.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Stamp {
        Stamp(self.0.saturating_add(millis(delay)).min(LATEST))
    }

    /// Milliseconds on the clock; only differences have a meaning.
    pub fn as_millis(self) -> u64 {
        self.0
    }
}

/// Whole milliseconds of `duration`, at most `u64::MAX`.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The kernel's coarse monotonic clock.
pub(crate) fn coarse() -> Stamp {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Stamp(now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000)
}
