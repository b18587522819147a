//! Whether the service wants traffic: what `/readyz` answers.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// Says whether the service wants traffic. Clones are the same handle; the phase only ever
/// goes forward.
///
/// # Examples
/// ```
/// use staunch_console::{Phase, Readiness};
/// let readiness = Readiness::default();
/// readiness.advance(Phase::Draining);
/// readiness.advance(Phase::Ready); // too late
/// assert_eq!(readiness.phase(), Phase::Draining);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// How far a service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not everything listens yet.
    Starting = 0,
    /// Traffic is welcome.
    Ready = 1,
    /// It is ending: no new traffic, please.
    Draining = 2,
}

impl Phase {
    /// Its name, as `/readyz` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        }
    }
}

impl Readiness {
    /// The service has come to `phase`; nothing happens if it was further already.
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// How far the service has come.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}
