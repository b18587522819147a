//! What a keyed pool holds.

use crate::status::{Destroyed, PoolStatus, count_line};

/// What a keyed pool holds now, and what it has done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// The pool's name.
    pub name: &'static str,
    /// `max_keys`
    pub max_keys: usize,
    /// The keys there are, with what they hold.
    pub keys: Vec<KeyStatus>,
    /// All of them together, with what the keys have done that have vanished. `max_total` is that
    /// of all keys; it is down when one of them is.
    pub sum: PoolStatus,
}

/// What one key holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key, as it shows itself.
    pub key: String,
    /// What its pool holds, and has done.
    pub status: PoolStatus,
}

impl PoolStatus {
    /// Nothing yet.
    pub(crate) fn nothing(name: &'static str, max_total: usize) -> PoolStatus {
        PoolStatus {
            name,
            max_total,
            size: 0,
            idle: 0,
            leased: 0,
            waiters: 0,
            acquired_at_once: 0,
            acquired_within: Default::default(),
            failed: 0,
            created: 0,
            destroyed: Destroyed::ALL.map(|why| (why, 0)),
            abandoned: Vec::new(),
            is_down: false,
        }
    }

    /// Adds what a pool holds and has done.
    pub(crate) fn add(&mut self, part: &PoolStatus) {
        self.size += part.size;
        self.idle += part.idle;
        self.leased += part.leased;
        self.waiters += part.waiters;
        self.is_down |= part.is_down;
        self.add_done(part);
    }

    /// Adds what a pool has done.
    pub(crate) fn add_done(&mut self, part: &PoolStatus) {
        self.acquired_at_once += part.acquired_at_once;
        for ((limit, sum), (bound, count)) in
            self.acquired_within.iter_mut().zip(part.acquired_within)
        {
            *limit = bound;
            *sum += count;
        }
        self.failed += part.failed;
        self.created += part.created;
        for ((_, sum), (_, count)) in self.destroyed.iter_mut().zip(part.destroyed) {
            *sum += count;
        }
        for (line, count) in &part.abandoned {
            count_line(&mut self.abandoned, line, *count);
        }
    }
}
