//! What is known of a session's state.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether the next lease would find the session as new. One task uses it at a time.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Something was used that can change it.
    is_touched: AtomicBool,
    /// A prepared statement that ought to be there was not: others may be missing, too.
    is_lost: AtomicBool,
    /// Queries that were begun, and are not known to have ended.
    running: AtomicU32,
}

impl State {
    pub(super) fn touch(&self) {
        self.is_touched.store(true, Ordering::Relaxed);
    }

    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// A query begins. If nobody waits for its end, it stays among those that run.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nothing runs, and all is as in a new session.
    pub(super) fn clean(&self) {
        self.running.store(0, Ordering::Relaxed);
        self.is_touched.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    pub(super) fn is_clean(&self) -> bool {
        !self.is_running() && !self.is_touched.load(Ordering::Relaxed) && !self.is_lost()
    }
}
