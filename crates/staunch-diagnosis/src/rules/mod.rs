//! The rules, a file each.

mod allocation;
mod blocked;
mod classes;
mod close_wait;
mod connection;
mod crowd;
mod database;
mod defect;
mod entries;
mod fuse;
mod growth;
mod heap_growth;
mod held;
mod http_client;
mod observed;
mod pile;
mod recorded;
mod retained;
mod reuse;
#[cfg(test)]
mod testing;
mod threads;

use std::time::Duration;

use crate::{Finding, History, Options, Runtime, Tasks};

use defect::Defect;
use recorded::Recorded;
use retained::Retained;

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
    let retained = retained::retained(history);
    fuse::add(&mut findings, &goroutines(history, &retained));
    fuse::add(&mut findings, &heap_growth::find(history, &retained));
    fuse::add(&mut findings, &allocation::find(history));
    let recorded = Recorded::of(history);
    let threads = threads::find(history, recorded);
    findings.extend(threads.findings);
    let sockets = close_wait::find(history, threads.held, recorded);
    let counts = sockets.into_iter().chain(growth::find(history, recorded));
    fuse::add_counts(&mut findings, counts.collect());
    findings.extend(classes::find(history, recorded));
    findings.extend(entries::find(history));
    findings.extend(held::find(history));
    findings.extend(observed::find(history));
    findings.retain(|finding| finding.confidence.value() >= options.confidence_min);
    findings.sort_by(|a, b| {
        let surest = b.confidence.value().total_cmp(&a.confidence.value());
        surest.then_with(|| b.count.last().cmp(&a.count.last())).then_with(|| a.id.cmp(&b.id))
    });
    findings
}

/// What is wrong only if the source of the program says so as well: what was seen may be right. To be confirmed by
/// whoever has the source, and not to be reported otherwise.
///
/// ```
/// use staunch_diagnosis::{History, Snapshot, suspicions};
///
/// assert!(suspicions(&History::single(Snapshot::default())).is_empty());
/// ```
#[must_use]
pub fn suspicions(history: &History) -> Vec<Finding> {
    reuse::find(history).iter().map(Defect::finding).collect()
}

/// What goroutines of Go show that wait within its libraries; the first that knows a line is heard.
fn goroutines<'a>(history: &'a History, retained: &Retained<'a>) -> Vec<Defect<'a>> {
    let is_go = |tasks: &Tasks| tasks.runtime == Runtime::Go;
    if !history.last().and_then(|it| it.snapshot.tasks.as_ref()).is_some_and(is_go) {
        return Vec::new();
    }
    let mut defects = database::find(history, retained);
    defects.extend(http_client::find(history, retained));
    defects.extend(connection::find(history, retained));
    defects.extend(crowd::find(history));
    defects
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
