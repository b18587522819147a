//! The rules, a file each.

mod blocked;

use crate::{Finding, History, Options};

/// Everything that the rules find in `history`, surest first.
///
/// ```
/// use staunch_diagnosis::{History, Options, Snapshot, diagnose};
///
/// assert!(diagnose(&History::single(Snapshot::default()), &Options::default()).is_empty());
/// ```
#[must_use]
pub fn diagnose(history: &History, options: &Options) -> Vec<Finding> {
    let mut findings = blocked::find(history, options.confidence_min);
    findings.sort_by(|a, b| {
        let surest = b.confidence.value().total_cmp(&a.confidence.value());
        surest.then_with(|| b.count.last().cmp(&a.count.last())).then_with(|| a.id.cmp(&b.id))
    });
    findings
}
