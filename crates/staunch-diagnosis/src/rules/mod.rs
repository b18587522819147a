//! The rules, a file each.

mod blocked;
mod classes;
mod close_wait;
mod entries;
mod growth;
mod threads;

use std::time::Duration;

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
    findings.extend(classes::find(history));
    findings.extend(entries::find(history));
    findings.extend(growth::find(history));
    let threads = threads::find(history);
    findings.extend(close_wait::find(history, threads.held));
    findings.extend(threads.findings);
    findings.retain(|finding| finding.confidence.value() >= options.confidence_min);
    findings.sort_by(|a, b| {
        let surest = b.confidence.value().total_cmp(&a.confidence.value());
        surest.then_with(|| b.count.last().cmp(&a.count.last())).then_with(|| a.id.cmp(&b.id))
    });
    findings
}

/// `43 s`, `12 min`, `3.5 h`, `4 d`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}
