//! The streams of every route of the process, for reports. Holds none of them alive.

use std::{
    panic::Location,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use staunch_ledger::Ledger;

use super::admission::{Route, StreamCounts, Streams};

/// The streams of a route, as a report sees them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamsReport {
    /// What they are called; empty if they were given no name.
    pub name: &'static str,
    /// The line that made them.
    pub born_at: &'static Location<'static>,
    /// What became of them so far.
    pub counts: StreamCounts,
}

/// Those of every route that were made on `ledger`, in that order.
pub fn streams(ledger: Ledger) -> Vec<StreamsReport> {
    let known: Vec<_> = known().iter().filter_map(Weak::upgrade).collect();
    let of_ledger = known.into_iter().filter(|route| route.ledger == ledger);
    let report = |route| {
        let streams = Streams(route);
        let (name, born_at) = (streams.0.name, streams.0.born_at);
        StreamsReport { name, born_at, counts: streams.counts() }
    };
    of_ledger.map(report).collect()
}

/// From now on it is among them, until it is gone.
pub(super) fn register(route: Weak<Route>) {
    let mut known = known();
    known.retain(|known| known.strong_count() > 0); // as many as there are, never more
    known.push(route);
}

fn known() -> MutexGuard<'static, Vec<Weak<Route>>> {
    static KNOWN: Mutex<Vec<Weak<Route>>> = Mutex::new(Vec::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
