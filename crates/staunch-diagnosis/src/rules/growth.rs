//! `fd-growth` and `thread-growth`: there are more and more of a kind, from look to look.
//!
//! **Proves**: descriptors of one kind, or threads of one name, grew over the whole watch, in nearly every pair
//! of looks and in its second half as well, by [`GROWTH_MIN`] and by half of what there was.
//!
//! **Cannot**: know the traffic. A service whose load rises for as long as it is watched looks the same: so a
//! finding is a warning, until the forecast says that the limit is near. Sockets in CLOSE_WAIT are the matter of
//! `close-wait`, which knows more of them. The line is there with a recording of a JVM (`recorded.rs`).

use std::{collections::BTreeMap, time::Duration};

use super::recorded::{Made, Recorded};
use crate::{
    Cause, Confidence, Finding, Fix, History, Kind, Runtime, Severity, Snapshot, SocketState,
    trend::{Reading, Trend},
};

/// Two looks always differ somehow.
const LOOKS_MIN: usize = 5;
/// A pool that warms up grows by less, or is a pool without bound.
const GROWTH_MIN: u64 = 20;
/// Of all pairs of looks, so many more rise than fall.
const TAU_MIN: f64 = 0.9;
/// A limit this near is somebody's next night.
const NEAR: Duration = Duration::from_hours(24);

/// What is counted, and what is said of it.
struct Subject {
    rule: &'static str,
    kind: Kind,
    what: &'static str,
    label: &'static str,
    fix: &'static str,
    counts: fn(&Snapshot) -> BTreeMap<String, u64>,
    limit: fn(&Snapshot) -> Option<(u64, u64)>,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        rule: "fd-growth",
        kind: Kind::Fd,
        what: "descriptors of kind",
        label: "Descriptor not closed",
        fix: "close what is opened on every path, errors included; look at goroutines, threads or the ledger of the same process for the line",
        counts: descriptors,
        limit: |snapshot| {
            Some((snapshot.fds.as_ref()?.iter().map(|it| it.count).sum(), snapshot.limits.fds?))
        },
    },
    Subject {
        rule: "thread-growth",
        kind: Kind::Thread,
        what: "threads called",
        label: "Unbounded threads",
        fix: "share one executor with a bound instead of making threads or pools per request, and shut down what is made",
        counts: threads,
        limit: |snapshot| {
            Some((
                snapshot.threads.as_ref()?.iter().map(|it| it.count).sum(),
                snapshot.limits.threads?,
            ))
        },
    },
];

pub(super) fn find(history: &History, recorded: Recorded<'_>) -> Vec<Finding> {
    SUBJECTS.iter().flat_map(|subject| subject.find(history, recorded)).collect()
}

/// By kind, without sockets that `close-wait` speaks of.
fn descriptors(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let sockets = snapshot.sockets.iter().flatten();
    let forgotten = sockets.filter(|it| it.state == SocketState::CloseWait).count() as u64;
    let own = |kind: &str, count: u64| {
        if kind == "socket" { count.saturating_sub(forgotten) } else { count }
    };
    let fds = snapshot.fds.iter().flatten();
    fds.map(|fds| (fds.kind.clone(), own(&fds.kind, fds.count))).collect()
}

/// By name; those of a JVM whose stacks are known are the matter of `rules/threads/growth.rs`.
fn threads(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    if snapshot.tasks.as_ref().is_some_and(|tasks| tasks.runtime == Runtime::Jvm) {
        return BTreeMap::new();
    }
    snapshot.threads.iter().flatten().map(|it| (it.name.clone(), it.count)).collect()
}

impl Subject {
    fn find(&self, history: &History, recorded: Recorded<'_>) -> Vec<Finding> {
        let Some(last) = history.last() else { return Vec::new() };
        let names = (self.counts)(&last.snapshot).into_keys();
        let find = |name: String| {
            let mut found = self.finding(history, &name)?;
            if let Some(made) = self.made(&name) {
                recorded.name(&mut found, made);
            }
            Some(found)
        };
        names.filter_map(find).collect()
    }

    /// What a recording has to look for.
    fn made(&self, name: &str) -> Option<Made> {
        Some(match (self.kind, name) {
            (Kind::Thread, _) => Made::Thread,
            (_, "socket") => Made::Connection,
            (_, "file" | "deleted file") => Made::File,
            (_, "pipe") => Made::Pipe,
            (_, "epoll" | "eventfd") => Made::Selector,
            _ => return None,
        })
    }

    fn finding(&self, history: &History, name: &str) -> Option<Finding> {
        let readings: Vec<Reading> = history
            .instants()
            .iter()
            .map(|at| (at.at, (self.counts)(&at.snapshot).get(name).copied().unwrap_or(0)))
            .collect();
        let (&(_, first), &(_, now)) = (readings.first()?, readings.last()?);
        let trend = steady(&readings)?;
        let ahead = (self.limit)(&history.last()?.snapshot)
            .and_then(|(used, limit)| Some((used, limit, trend.reaches(used, limit)?)));
        let is_near = ahead.is_some_and(|(_, _, left)| left < NEAR);
        let what = self.what;
        Some(Finding {
            id: Finding::id(self.rule, [name]),
            rule: self.rule,
            kind: self.kind,
            severity: if is_near { Severity::Leak } else { Severity::Warning },
            confidence: Confidence::new(0.75),
            summary: format!("{what} `{name}` grow all the time: {first} at first, {now} now"),
            count: readings.iter().map(|(_, count)| *count).collect(),
            oldest: None,
            birth: None,
            wait: None,
            cause: Some(Cause {
                label: self.label.to_owned(),
                text: "more are made than end, and none of the looks saw them fall".to_owned(),
                file: None,
                line: None,
            }),
            fix: Some(Fix { text: self.fix.to_owned(), patch: None, places: Vec::new() }),
            forecast: ahead.map(|(used, limit, left)| {
                format!(
                    "{used} of {limit} are in use; at this rate they run out in {}",
                    super::span(left)
                )
            }),
            evidence: vec![format!(
                "{:.2} more each second (the median slope of all pairs of looks); of all pairs {:.0} % rise",
                trend.slope,
                (trend.tau + 1.0) * 50.0
            )],
            guide: Finding::guide(self.rule),
        })
    }
}

/// The trend of what grows by enough over the whole watch, and in its second half as well.
pub(super) fn steady(readings: &[Reading]) -> Option<Trend> {
    let (&(_, first), &(_, now)) = (readings.first()?, readings.last()?);
    let grown = now.saturating_sub(first);
    if readings.len() < LOOKS_MIN || grown < GROWTH_MIN || 2 * grown < first {
        return None;
    }
    let trend = Trend::of(readings)?;
    let later = Trend::of(&readings[readings.len() / 2..])?;
    (trend.tau >= TAU_MIN && later.tau >= TAU_MIN).then_some(trend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FdCount, Limits, ThreadCount};

    fn history(counts: &[u64]) -> History {
        let mut history = History::new();
        for (at, count) in (0..).zip(counts) {
            let fds = vec![FdCount { kind: "socket".into(), count: *count, oldest: None }];
            let threads = vec![ThreadCount { name: "pool--thread-".into(), count: *count }];
            let snapshot = Snapshot {
                fds: Some(fds),
                threads: Some(threads),
                limits: Limits { fds: Some(20_000), ..Limits::default() },
                ..Snapshot::default()
            };
            history.add(Duration::from_secs(5 * at), snapshot);
        }
        history
    }

    fn found(history: &History) -> Vec<Finding> {
        find(history, Recorded::of(history))
    }

    #[test]
    fn what_grows_all_the_time_is_found_with_the_time_left() {
        let findings = found(&history(&[10, 20, 30, 40, 50, 60]));
        let rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["fd-growth", "thread-growth"]);
        assert_eq!(findings[0].severity, Severity::Leak);
        let forecast = findings[0].forecast.as_ref().unwrap();
        assert!(forecast.contains("60 of 20000") && forecast.contains("2.8 h"), "{forecast}");
    }

    #[test]
    fn what_warms_up_breathes_or_hardly_moves_is_none() {
        for counts in [
            &[10, 40, 60, 61, 60, 61][..],
            &[10, 60, 12, 64, 11, 70],
            &[1000, 1010, 1020, 1030, 1040, 1050],
            &[10, 30, 50, 70],
            &[10, 11, 12, 13, 14, 15],
        ] {
            assert!(found(&history(counts)).is_empty(), "{counts:?}");
        }
    }
}
