//! What a client counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use staunch_pool::{HttpError, KeyedStatus};

use super::{
    answer::Answer,
    error::ClientError,
    status::{Bodies, ClientStatus, Outcome},
};

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) retries_denied: AtomicU64,
    pub(super) redirects: AtomicU64,
    in_flight: AtomicUsize,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

impl Counts {
    pub(super) fn status(&self, pool: KeyedStatus, bodies: Bodies) -> ClientStatus {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ClientStatus {
            pool,
            bodies,
            requests: load(&self.requests),
            retries: load(&self.retries),
            retries_denied: load(&self.retries_denied),
            redirects: load(&self.redirects),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            outcomes: Outcome::ALL.map(|outcome| (outcome, load(&self.outcomes[outcome as usize]))),
        }
    }
}

pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// A request that is on its way; its body has a part of it until it is at its end.
#[derive(Debug)]
pub(super) struct Flight(Arc<Counts>);

impl Flight {
    pub(super) fn begin(counts: &Arc<Counts>) -> Arc<Flight> {
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Arc::new(Flight(Arc::clone(counts)))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What becomes of a request: dropped before it is known, it is cancelled.
pub(super) struct Fate<'c> {
    counts: &'c Counts,
    outcome: Outcome,
}

impl Fate<'_> {
    pub(super) fn open(counts: &Counts) -> Fate<'_> {
        Fate { counts, outcome: Outcome::Cancelled }
    }

    pub(super) fn is(mut self, result: &Result<Answer, ClientError>) {
        self.outcome = of(result);
    }
}

impl Drop for Fate<'_> {
    fn drop(&mut self) {
        add(&self.counts.outcomes[self.outcome as usize]);
    }
}

fn of(result: &Result<Answer, ClientError>) -> Outcome {
    match result {
        Ok(answer) => match answer.status().as_u16() {
            ..300 => Outcome::Success,
            300..400 => Outcome::Redirect,
            400..500 => Outcome::ClientError,
            500.. => Outcome::ServerError,
        },
        Err(ClientError::TimedOut { .. }) => Outcome::TimedOut,
        Err(ClientError::Cancelled { .. }) => Outcome::Cancelled,
        Err(ClientError::Http { source, .. }) => match &**source {
            HttpError::Acquire(_) | HttpError::AcquireKeyed(_) => Outcome::Unreached,
            HttpError::Unsupported { .. } => Outcome::Unsent,
            _ => Outcome::Unanswered,
        },
        Err(_) => Outcome::Unsent,
    }
}
