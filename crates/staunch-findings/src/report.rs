//! What a look found, and what was told of it.

use std::{collections::BTreeMap, time::Duration};

use staunch_diagnosis::{Finding, Severity};
use staunch_ledger::Detector;

use crate::look::LOOKS_OF_GROWTH;

/// What the last look found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong, the surest first.
    pub findings: Vec<Finding>,
    /// Whether a look that finds nothing can be believed.
    pub detector: Detector,
    /// Looks so far.
    pub looks: u64,
    /// The time between the begin of the watch and the last look.
    pub watched: Duration,
    /// Births that found no room on the ledger, and cannot be seen.
    pub unrecorded: u64,
}

/// How often something new was found since the watch began, by rule and severity.
pub type Told = BTreeMap<(&'static str, Severity), u64>;

impl Report {
    /// What speaks against believing that nothing else is wrong: a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.detector == Detector::Broken {
            notes.push(
                "THE DETECTOR IS BLIND: it does not find the leaks put there for it; report this"
                    .to_owned(),
            );
        }
        if self.looks < LOOKS_OF_GROWTH as u64 {
            notes.push(format!(
                "{} looks: what grows shows after {LOOKS_OF_GROWTH} looks of a watch \
                 (`staunch::findings::watch`)",
                self.looks
            ));
        }
        if self.unrecorded > 0 {
            notes.push(format!("{} births found no room on the ledger", self.unrecorded));
        }
        notes
    }
}
