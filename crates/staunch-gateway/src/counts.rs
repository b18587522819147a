//! What routes and servers have done, for `/metrics`.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use hyper::StatusCode;
use staunch_policy::Reason;

use crate::forward::{Failure, REASONS, REASONS_OF_SERVERS};

/// Upper bounds of the buckets of durations, in milliseconds.
pub(crate) const BUCKETS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// The requests of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteCounts {
    /// Answers by the first digit of their status, from 1 to 5.
    statuses: [AtomicU64; 5],
    /// The client left before there was an answer.
    cancelled: AtomicU64,
    retries: AtomicU64,
    /// What was not handed on, by [`Reason`].
    refused: [AtomicU64; Reason::ALL.len()],
    /// What no server has answered, by [`REASONS`].
    failed: [AtomicU64; REASONS.len()],
    /// By how long the head of the answer took; the last one: longer.
    durations: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// The requests to one server.
#[derive(Debug, Default)]
pub(crate) struct EndpointCounts {
    answers: AtomicU64,
    /// By [`REASONS`].
    failures: [AtomicU64; REASONS_OF_SERVERS],
    ejections: AtomicU64,
}

impl RouteCounts {
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        add(&self.statuses[class]);
        let millis = took.as_millis() as u64;
        let bucket = BUCKETS.iter().position(|bound| millis < *bound).unwrap_or(BUCKETS.len());
        add(&self.durations[bucket]);
        self.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn cancelled(&self) {
        add(&self.cancelled);
    }

    pub(crate) fn retried(&self) {
        add(&self.retries);
    }

    pub(crate) fn refused(&self, reason: Reason) {
        let place = Reason::ALL.iter().position(|known| *known == reason);
        if let Some(counter) = place.and_then(|place| self.refused.get(place)) {
            add(counter);
        }
    }

    /// What was not handed on, and why.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.iter().map(|reason| reason.name()).zip(self.refused.iter().map(get))
    }

    /// No server has answered, and the client was told so.
    pub(crate) fn failed(&self, failure: Failure) {
        if let Some(counter) = self.failed.get(failure.place()) {
            add(counter);
        }
    }

    /// What no server has answered, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.failed.iter().map(get))
    }

    /// Now.
    pub(crate) fn read(&self) -> RouteNumbers {
        RouteNumbers {
            statuses: self.statuses.each_ref().map(get),
            cancelled: get(&self.cancelled),
            retries: get(&self.retries),
            durations: self.durations.each_ref().map(get),
            seconds: get(&self.micros) as f64 / 1e6,
        }
    }
}

impl EndpointCounts {
    pub(crate) fn answered(&self) {
        add(&self.answers);
    }

    pub(crate) fn failed(&self, failure: Failure) {
        if let Some(counter) = self.failures.get(failure.place()) {
            add(counter);
        }
    }

    /// What it has not answered, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.failures.iter().map(get))
    }

    pub(crate) fn ejected(&self) {
        add(&self.ejections);
    }

    /// Answers, ejections.
    pub(crate) fn read(&self) -> [u64; 2] {
        [&self.answers, &self.ejections].map(get)
    }
}

/// Changed configurations.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    taken_up: AtomicU64,
    failed: AtomicU64,
    is_bad: AtomicBool,
}

/// What has become of changed configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReloadNumbers {
    pub(crate) taken_up: u64,
    pub(crate) failed: u64,
    /// The last one was taken up, or there was none.
    pub(crate) is_well: bool,
}

impl Reloads {
    pub(crate) fn note(&self, is_taken_up: bool) {
        add(if is_taken_up { &self.taken_up } else { &self.failed });
        self.is_bad.store(!is_taken_up, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> ReloadNumbers {
        ReloadNumbers {
            taken_up: get(&self.taken_up),
            failed: get(&self.failed),
            is_well: !self.is_bad.load(Ordering::Relaxed),
        }
    }
}

/// What a route has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RouteNumbers {
    pub(crate) statuses: [u64; 5],
    pub(crate) cancelled: u64,
    pub(crate) retries: u64,
    pub(crate) durations: [u64; BUCKETS.len() + 1],
    pub(crate) seconds: f64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
