//! Things that happened once and should not be forgotten at once: a task that had to be
//! forced, a worker that was blocked, a peer that was cut.

use std::{collections::VecDeque, fmt, panic::Location};

use crate::{clock::Stamp, kind::Kind};

/// Observations kept; older ones are only counted.
pub const MAX_OBSERVATIONS: usize = 256;

/// Something a part of Staunch saw happen to an entry.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The rule that saw it, for instance `blocked-worker`.
    pub rule: &'static str,
    /// What the entry is.
    pub kind: Kind,
    /// The line the entry was born on.
    pub born_at: &'static Location<'static>,
    /// What was seen, for a person; one line.
    pub text: String,
    /// When.
    pub at: Stamp,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} born at {}: {}", self.rule, self.kind, self.born_at, self.text)
    }
}

#[derive(Default)]
pub(crate) struct Observations {
    recent: VecDeque<Observation>,
    counts: Vec<(&'static str, u64)>,
}

impl Observations {
    pub(crate) fn push(&mut self, observation: Observation) {
        match self.counts.iter_mut().find(|(rule, _)| *rule == observation.rule) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((observation.rule, 1)),
        }
        if self.recent.len() == MAX_OBSERVATIONS {
            self.recent.pop_front();
        }
        self.recent.push_back(observation);
    }

    pub(crate) fn recent(&self) -> Vec<Observation> {
        self.recent.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts.clone()
    }
}
