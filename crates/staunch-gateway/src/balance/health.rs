//! Whether a server is well: what asking it says, and what requests to it say.
//!
//! One state for all cores. Requests that succeed only read it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// A server's health.
#[derive(Debug)]
pub(crate) struct Health {
    /// All times below are since then.
    base: Instant,
    /// What asking it said last.
    is_down: AtomicBool,
    /// Requests that have failed in a row.
    failures: AtomicU32,
    /// Milliseconds until which it is left out.
    ejected_until: AtomicU64,
    /// Milliseconds since which it has its share grow.
    back_since: AtomicU64,
    /// How often it was left out, without a pause as long as the longest ejection.
    times: Mutex<u32>,
    /// It was left out, and has answered nothing since.
    was_left_out: AtomicBool,
}

/// How failures are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EjectionLimits {
    pub(crate) failures: u32,
    pub(crate) ejection: Duration,
    pub(crate) slow_start: Duration,
}

/// The longest ejection, compared with the first.
const LONGEST: u32 = 10;
/// The share of a server that is just back.
const FIRST_SHARE: f64 = 0.1;

impl Health {
    /// Of a server that is well and has been for long.
    pub(crate) fn new(now: Instant, limits: &EjectionLimits) -> Health {
        Health {
            base: now.checked_sub(limits.slow_start).unwrap_or(now),
            is_down: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            back_since: AtomicU64::new(0),
            times: Mutex::new(0),
            was_left_out: AtomicBool::new(false),
        }
    }

    /// It is new beside others: its share grows from now on.
    pub(crate) fn begins(&self, now: Instant) {
        self.back_since.store(self.millis(now), Ordering::Relaxed);
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.base).as_millis() as u64
    }

    /// Whether requests may go there.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        !self.is_down.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.millis(now) < until
    }

    /// What part of its weight it has: less than 1 for a while after it was not well.
    pub(crate) fn share(&self, now: Instant, slow_start: Duration) -> f64 {
        let since = self.back_since.load(Ordering::Relaxed);
        let back_for = self.millis(now).saturating_sub(since) as f64;
        let whole = slow_start.as_millis() as f64;
        if back_for >= whole { 1.0 } else { (back_for / whole).max(FIRST_SHARE) }
    }

    /// What asking it said; whether that is new.
    pub(crate) fn set_down(&self, is_down: bool, now: Instant) -> bool {
        let was_down = self.is_down.swap(is_down, Ordering::Relaxed);
        if was_down && !is_down {
            self.back_since.store(self.millis(now), Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
        }
        was_down != is_down
    }

    /// A request to it succeeded; whether that is the first since it was left out.
    pub(crate) fn succeeded(&self, now: Instant) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let was_left_out = &self.was_left_out;
        // What had begun before it was left out may succeed meanwhile.
        was_left_out.load(Ordering::Relaxed)
            && !self.is_ejected(now)
            && was_left_out.swap(false, Ordering::Relaxed)
    }

    /// A request to it failed. If that was one too many, and `may_eject` says so, it is left out for
    /// the time that is returned.
    pub(crate) fn failed(
        &self,
        now: Instant,
        limits: &EjectionLimits,
        may_eject: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if limits.failures == 0 || failures < limits.failures || self.is_ejected(now) {
            return None;
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_ejected(now) || !may_eject() {
            return None; // another thread was quicker, or too many are left out
        }
        let longest = limits.ejection.saturating_mul(LONGEST);
        let quiet = self.millis(now).saturating_sub(self.ejected_until.load(Ordering::Relaxed));
        *times = if quiet > longest.as_millis() as u64 { 1 } else { (*times + 1).min(LONGEST) };
        let ejection = limits.ejection.saturating_mul(*times);
        let until = self.millis(now) + ejection.as_millis() as u64;
        self.back_since.store(until, Ordering::Relaxed);
        self.ejected_until.store(until, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.was_left_out.store(true, Ordering::Relaxed);
        Some(ejection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EjectionLimits = EjectionLimits {
        failures: 3,
        ejection: Duration::from_secs(10),
        slow_start: Duration::from_secs(10),
    };

    fn fail(health: &Health, now: Instant, times: usize) -> Option<Duration> {
        (0..times).fold(None, |_, _| health.failed(now, &LIMITS, || true))
    }

    #[test]
    fn failures_in_a_row_leave_it_out_for_longer_each_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let health = Health::new(start, &LIMITS);
        assert!(health.is_well(start));
        assert!(health.share(start, LIMITS.slow_start) >= 1.0, "it is not new to anybody");
        assert_eq!(fail(&health, start, 2), None);
        assert!(!health.succeeded(start));
        assert_eq!(fail(&health, start, 2), None, "a success between");
        assert_eq!(fail(&health, start, 1), Some(Duration::from_secs(10)));
        assert!(!health.is_well(at(9)) && health.is_well(at(10)));
        assert!(!health.succeeded(at(9)), "it had begun before");
        assert!(health.succeeded(at(11)) && !health.succeeded(at(11)), "it is back once");
        assert!(health.share(at(11), LIMITS.slow_start) < 0.2);
        assert!(health.share(at(20), LIMITS.slow_start) >= 1.0);
        assert_eq!(fail(&health, at(11), 3), Some(Duration::from_secs(20)));
        assert_eq!(fail(&health, at(1000), 3), Some(Duration::from_secs(10)), "long ago");
    }

    #[test]
    fn it_stays_if_too_many_are_left_out() {
        let start = Instant::now();
        let health = Health::new(start, &LIMITS);
        for _ in 0..5 {
            assert_eq!(health.failed(start, &LIMITS, || false), None);
        }
        assert!(health.is_well(start));
    }

    #[test]
    fn what_asking_says_counts_at_once() {
        let start = Instant::now();
        let health = Health::new(start, &LIMITS);
        assert!(health.set_down(true, start));
        assert!(!health.set_down(true, start) && !health.is_well(start));
        assert!(health.set_down(false, start) && health.is_well(start));
    }
}
