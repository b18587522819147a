//! The limit of concurrency, shared by everybody who asks for admission.

pub(crate) mod gradient;

use std::{
    sync::{
        Mutex, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::gradient::{Gradient, GradientOptions};

/// A [`Gradient`] whose limit is one load away.
#[derive(Debug)]
pub(crate) struct Limiter {
    gradient: Mutex<Gradient>,
    limit: AtomicUsize,
}

impl Limiter {
    pub(crate) fn new(options: GradientOptions) -> Limiter {
        let gradient = Gradient::new(options);
        Limiter { limit: AtomicUsize::new(gradient.limit()), gradient: Mutex::new(gradient) }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// An answer took so long. If somebody else tells of one at the same moment, this one is left
    /// out: nobody waits here.
    pub(crate) fn observe(&self, now: Duration, took: Duration, in_flight: usize) {
        let mut gradient = match self.gradient.try_lock() {
            Ok(gradient) => gradient,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        gradient.observe(now, took, in_flight);
        self.limit.store(gradient.limit(), Ordering::Relaxed);
    }

    pub(crate) fn lower(&self) {
        self.change(Gradient::lower);
    }

    /// It is `now`, whether or not there are answers to tell of.
    pub(crate) fn looks(&self, now: Duration) {
        self.change(|gradient| gradient.end_probe_in_vain(now));
    }

    fn change(&self, change: impl FnOnce(&mut Gradient)) {
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut gradient);
        self.limit.store(gradient.limit(), Ordering::Relaxed);
    }
}
