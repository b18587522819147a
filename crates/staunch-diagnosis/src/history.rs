//! Instants of one target, in the order of time.

use std::time::Duration;

use crate::{Snapshot, Tasks};

/// What was seen of one target, instant by instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    instants: Vec<Instant>,
}

/// One look at the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Instant {
    /// When it was taken, from whatever instant the watcher calls zero.
    pub at: Duration,
    /// What was seen.
    pub snapshot: Snapshot,
}

impl History {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> History {
        History::default()
    }

    /// A single look.
    #[must_use]
    pub fn single(snapshot: Snapshot) -> History {
        History { instants: vec![Instant { at: Duration::ZERO, snapshot }] }
    }

    /// Adds what was seen at `at`, at its place in time: snapshots need not come in order.
    pub fn add(&mut self, at: Duration, snapshot: Snapshot) {
        let index = self.instants.partition_point(|instant| instant.at <= at);
        self.instants.insert(index, Instant { at, snapshot });
    }

    /// All instants, in the order of time.
    #[must_use]
    pub fn instants(&self) -> &[Instant] {
        &self.instants
    }

    /// The latest instant.
    #[must_use]
    pub fn last(&self) -> Option<&Instant> {
        self.instants.last()
    }

    /// The tasks at each instant at which a source saw them, in the order of time.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = (Duration, &Tasks)> {
        self.instants.iter().filter_map(|it| Some((it.at, it.snapshot.tasks.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_in_the_order_of_time() {
        let mut history = History::new();
        for (at, resident) in [(2, 20), (0, 1), (1, 10), (1, 11)] {
            let snapshot = Snapshot { resident: Some(resident), ..Snapshot::default() };
            history.add(Duration::from_secs(at), snapshot);
        }
        let seen: Vec<_> = history.instants().iter().map(|it| it.snapshot.resident).collect();
        assert_eq!(seen, [1, 10, 11, 20].map(Some));
    }
}
