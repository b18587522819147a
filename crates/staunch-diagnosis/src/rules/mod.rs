//! The rules, a file each.

use crate::{Finding, History, Options};

/// Everything that the rules find in `history`, surest first.
#[must_use]
pub fn diagnose(history: &History, options: &Options) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    if history.last().is_none() {
        return findings;
    }
    findings.retain(|finding| finding.confidence.value() >= options.confidence_min);
    findings
}
