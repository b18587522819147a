//! What is known of a session's state.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether the next lease would find the session as new. One task uses it at a time.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Something was used that can change it.
    is_touched: AtomicBool,
    /// The client itself was used: what runs by its ways nobody counts.
    is_raw: AtomicBool,
    /// A prepared statement that ought to be there was not: others may be missing, too.
    is_lost: AtomicBool,
    /// Queries that were begun, and are not known to have ended.
    running: AtomicU32,
    /// Those of them whose end somebody waits for.
    awaited: AtomicU32,
    /// Transactions that were begun, and are not known to have ended.
    transactions: AtomicU32,
    /// The server has been asked to give up what runs.
    is_given_up: AtomicBool,
}

/// Somebody waits for the end of a query as long as this lives.
pub(super) struct Awaited<'s>(&'s State);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    pub(super) fn awaits(&self) -> Awaited<'_> {
        self.awaited.fetch_add(1, Ordering::Relaxed);
        Awaited(self)
    }

    /// Whether somebody waits for the end of a query.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) > 0
    }

    pub(super) fn touch(&self) {
        self.is_touched.store(true, Ordering::Relaxed);
    }

    /// The client itself is used.
    pub(super) fn touch_raw(&self) {
        self.touch();
        self.is_raw.store(true, Ordering::Relaxed);
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

    /// A transaction begins. If it is forgotten, it stays among those that are open.
    pub(super) fn begin_transaction(&self) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_transaction(&self) {
        self.transactions.fetch_sub(1, Ordering::Relaxed);
    }

    /// The server has been asked to give up what runs; the session will not be used again.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Nothing runs, and all is as in a new session.
    pub(super) fn clean(&self) {
        self.running.store(0, Ordering::Relaxed);
        self.transactions.store(0, Ordering::Relaxed);
        self.is_raw.store(false, Ordering::Relaxed);
        self.is_touched.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Whether something runs, or does as far as anybody knows.
    pub(super) fn may_be_running(&self) -> bool {
        self.is_running() || self.is_raw.load(Ordering::Relaxed)
    }

    /// Whether the server is at work for nobody, if the session ends now.
    pub(super) fn is_at_work(&self) -> bool {
        self.may_be_running() && !self.is_given_up.load(Ordering::Relaxed)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    pub(super) fn is_clean(&self) -> bool {
        let is_touched = self.is_touched.load(Ordering::Relaxed);
        let is_open = self.transactions.load(Ordering::Relaxed) > 0;
        !self.is_running() && !is_touched && !is_open && !self.is_lost()
    }
}
