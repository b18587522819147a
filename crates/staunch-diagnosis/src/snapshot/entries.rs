//! Entries of a Staunch ledger.

use std::{sync::Arc, time::Duration};

use super::Frame;

/// Live entries of one kind, born on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryGroup {
    /// What they are: `connection`, `task`, `lease`, ...
    pub kind: Arc<str>,
    /// The line on which they were born.
    pub birth: Frame,
    /// What they are doing, where they all do the same.
    pub state: Option<Arc<str>>,
    /// What they were born with: `ends with its parent`, `deadline 5s`, ...
    pub obligation: Arc<str>,
    /// How many there are.
    pub count: u64,
    /// How many have broken their obligation.
    pub overdue: u64,
    /// The age of the oldest of these.
    pub oldest_overdue: Duration,
    /// How many have outlived their owner.
    pub orphans: u64,
    /// Bytes they hold.
    pub bytes: u64,
    /// The age of the oldest.
    pub oldest: Duration,
}

/// What is held for a route: entries of one kind, born on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The route.
    pub route: Arc<str>,
    /// What they are: `request`, `stream`.
    pub kind: Arc<str>,
    /// The line on which they were born.
    pub birth: Frame,
    /// How many there are.
    pub count: u64,
    /// How many of them have not moved a byte for long.
    pub still: u64,
    /// All that is known of them, in one line: how many, for whom, by which server, for how long.
    pub text: String,
}

/// Something that a Staunch service saw happen, and remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What saw it: `dropped-bodies`, ...
    pub rule: String,
    /// The line on which what it happened to was born.
    pub birth: Frame,
    /// What was seen, in one line.
    pub text: String,
    /// How long ago.
    pub ago: Duration,
}
