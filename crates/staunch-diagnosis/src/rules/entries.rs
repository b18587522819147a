//! `obligation-broken`, `orphan` and `entries-growth`: what a Staunch service's ledger says of itself.
//!
//! Entries of one kind, born on one line, are one leak, whatever they are doing; and one finding: of what is overdue,
//! else of what only grows.
//!
//! **Proves**: of the first two, exactly what they say. Every entry was born with an obligation (a deadline, a rate of
//! progress, its owner's life), and the ledger knows who broke it, on which line it was born, and how many. Between an
//! owner's end and that of what it owned there is a moment, so two looks in a row must show it, where there are two, and
//! of one that is old enough to have been there at both: on a busy service each look meets somebody else's moment. Within
//! its own process the leak finder knows which they are; the doctor has nothing but their age to go by.
//! The third is a warning: entries that are bound by nothing but their owner's life, and whose owner is the service,
//! became more over the whole watch, while connections and requests did not.
//!
//! **Cannot**: say more than the ledger knows. What is not on it (a buffer, a library's own task) is a matter of
//! `reconcile`. Growth beside growing traffic is silent: it may be that traffic's.

use std::{collections::BTreeMap, time::Duration};

use super::growth::steady;
use crate::{
    Cause, Confidence, EntryGroup, Finding, Fix, Frame, History, Instant, Kind, Place, Severity,
    trend::{Reading, Trend},
};

/// What is as numerous as the traffic is.
const TRAFFIC: [&str; 2] = ["connection", "request"];

/// Routes that a finding names.
const ROUTES_MAX: usize = 5;

/// What a birth line has live at an instant: its groups together.
#[derive(Clone, Default)]
struct Live<'h> {
    obligation: &'h str,
    count: u64,
    overdue: u64,
    oldest_overdue: Duration,
    orphans: u64,
    bytes: u64,
    oldest: Duration,
}

/// A kind, and where it was born.
type Line<'h> = (&'h str, &'h str, u32);

pub(super) fn find(history: &History) -> Vec<Finding> {
    let seen: Vec<(Duration, BTreeMap<Line<'_>, Live<'_>>)> =
        history.instants().iter().filter_map(lines).collect();
    let Some((_, last)) = seen.last() else { return Vec::new() };
    let traffic: Vec<u64> = seen.iter().map(|(_, lines)| traffic(lines)).collect();
    let found = last.keys().filter_map(|&line| {
        let lives: Vec<(Duration, Live<'_>)> = seen
            .iter()
            .map(|(at, lines)| (*at, lines.get(&line).cloned().unwrap_or_default()))
            .collect();
        let found = broken(line, &lives).or_else(|| growing(line, &lives, &traffic))?;
        Some(with_routes(found, line, history))
    });
    found.collect()
}

/// For which routes they are, if they are for routes.
fn with_routes(mut finding: Finding, (kind, file, number): Line<'_>, history: &History) -> Finding {
    let held = history.last().and_then(|instant| instant.snapshot.held.as_ref());
    let its = held.into_iter().flatten().filter(|held| {
        &*held.kind == kind && &*held.birth.file == file && held.birth.line == number
    });
    finding.evidence.extend(its.take(ROUTES_MAX).map(|held| held.text.clone()));
    finding
}

/// What is live at an instant, by birth line.
fn lines(instant: &Instant) -> Option<(Duration, BTreeMap<Line<'_>, Live<'_>>)> {
    let mut lines = BTreeMap::<Line<'_>, Live<'_>>::new();
    for group in instant.snapshot.entries.as_ref()? {
        let line = (&*group.kind, &*group.birth.file, group.birth.line);
        lines.entry(line).or_default().add(group);
    }
    Some((instant.at, lines))
}

fn traffic(lines: &BTreeMap<Line<'_>, Live<'_>>) -> u64 {
    lines.iter().filter(|((kind, ..), _)| TRAFFIC.contains(kind)).map(|(_, live)| live.count).sum()
}

impl<'h> Live<'h> {
    fn add(&mut self, group: &'h EntryGroup) {
        if self.obligation.is_empty() || (self.overdue == 0 && group.overdue > 0) {
            self.obligation = &group.obligation;
        }
        self.count += group.count;
        self.overdue += group.overdue;
        self.oldest_overdue = self.oldest_overdue.max(group.oldest_overdue);
        self.orphans += group.orphans;
        self.bytes += group.bytes;
        self.oldest = self.oldest.max(group.oldest);
    }

    /// Nothing but its owner's end bounds it: what promised more is found when it breaks that.
    fn is_unbounded(&self) -> bool {
        self.obligation.starts_with("ends with its") || self.obligation.starts_with("perpetual")
    }

    /// All that broke their obligation are without their owner.
    fn is_orphaned(&self) -> bool {
        self.orphans >= self.overdue
    }
}

/// What should have ended or made progress.
fn broken(line: Line<'_>, lives: &[(Duration, Live<'_>)]) -> Option<Finding> {
    let (kind, ..) = line;
    let (at, now) = lives.last()?;
    if now.overdue == 0 {
        return None;
    }
    if let Some((before_at, before)) = lives.iter().rev().nth(1)
        && (before.overdue == 0 || now.oldest_overdue < at.saturating_sub(*before_at))
    {
        return None;
    }
    let Live { count, overdue, .. } = now;
    let kinds = plural(kind);
    let obligation = if now.obligation.is_empty() { "its obligation" } else { now.obligation };
    let (rule, label, summary, why) = if now.is_orphaned() {
        (
            "orphan",
            "Orphan",
            format!("{overdue} of {count} live {kinds} have outlived their owner"),
            format!(
                "whoever the {kind} belonged to has ended, and the {kind} has not: somebody keeps it"
            ),
        )
    } else {
        (
            "obligation-broken",
            "Obligation broken",
            format!(
                "{overdue} of {count} live {kinds} have broken their obligation ({obligation})"
            ),
            format!(
                "the {kind} should have ended or made progress by now ({obligation}), and lives"
            ),
        )
    };
    let overdue = lives.iter().map(|(_, live)| live.overdue).collect();
    let cause = cause(line, label, why);
    Some(Finding { summary, cause, count: overdue, ..finding(rule, line, now) })
}

/// What only ever becomes more, and not because the traffic does.
fn growing(line: Line<'_>, lives: &[(Duration, Live<'_>)], traffic: &[u64]) -> Option<Finding> {
    let (kind, ..) = line;
    let (_, now) = lives.last()?;
    if TRAFFIC.contains(&kind) || !now.is_unbounded() {
        return None;
    }
    let readings: Vec<Reading> = lives.iter().map(|(at, live)| (*at, live.count)).collect();
    let trend = steady(&readings)?;
    let (first, last) = (readings.first()?.1, readings.last()?.1);
    let more_traffic = traffic.last()?.saturating_sub(*traffic.first()?);
    if 2 * more_traffic >= last - first {
        return None;
    }
    let kinds = plural(kind);
    let why = format!(
        "each of them lives as long as its owner, which does not end: {first} at first, {last} now, and never fewer"
    );
    Some(Finding {
        severity: Severity::Warning,
        confidence: Confidence::new(0.8),
        summary: format!("live {kinds} grow all the time: {first} at first, {last} now"),
        count: readings.iter().map(|(_, count)| *count).collect(),
        cause: cause(line, "Growth without end", why),
        fix: fix(line, "end it when its work is over, or keep only so many of what is made"),
        forecast: forecast(trend, last),
        ..finding("entries-growth", line, now)
    })
}

fn forecast(trend: Trend, now: u64) -> Option<String> {
    let tenfold = trend.reaches(now, now.saturating_mul(10))?;
    let pace = trend.slope * 60.0;
    Some(format!("{pace:.0} more a minute: ten times as many in {}", super::span(tenfold)))
}

#[expect(clippy::unnecessary_wraps, reason = "a field of a finding")]
fn cause((_, file, line): Line<'_>, label: &str, text: String) -> Option<Cause> {
    Some(Cause { label: label.to_owned(), text, file: Some(file.to_owned()), line: Some(line) })
}

#[expect(clippy::unnecessary_wraps, reason = "a field of a finding")]
fn fix((_, file, line): Line<'_>, what: &str) -> Option<Fix> {
    let text = format!("{what}; it is made at {file}:{line}");
    Some(Fix { text, patch: None, places: vec![place(file, line)] })
}

/// A ledger knows no functions.
fn place(file: &str, line: u32) -> Place {
    Place::from(&Frame { function: "".into(), file: file.into(), line })
}

/// What all three say.
fn finding(rule: &'static str, line: Line<'_>, now: &Live<'_>) -> Finding {
    let (kind, file, number) = line;
    Finding {
        id: Finding::id(rule, [kind, file, &*number.to_string()]),
        rule,
        kind: kind_of(kind),
        severity: Severity::Leak,
        confidence: Confidence::new(1.0),
        summary: String::new(),
        count: Vec::new(),
        oldest: Some(now.oldest),
        birth: Some(place(file, number)),
        wait: None,
        cause: None,
        fix: fix(line, "end or drop it when its work is over"),
        forecast: None,
        evidence: vec![format!(
            "the ledger has it: {} live, {} bytes, the oldest for {}",
            now.count,
            now.bytes,
            super::span(now.oldest),
        )],
        guide: Finding::guide(rule),
    }
}

/// `bodies`, `leases`.
fn plural(kind: &str) -> String {
    kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"))
}

fn kind_of(kind: &str) -> Kind {
    match kind {
        "task" | "scope" => Kind::Task,
        "lease" | "pool" => Kind::Pool,
        "timer" => Kind::Timer,
        "connection" | "listener" | "body" | "stream" | "request" => Kind::Socket,
        "file" => Kind::Fd,
        _ => Kind::Memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Held, Snapshot};

    fn group(overdue: u64, orphans: u64) -> EntryGroup {
        EntryGroup {
            kind: "lease".into(),
            birth: Frame { function: "".into(), file: "src/bank.rs".into(), line: 42 },
            state: Some("active".into()),
            obligation: "progress every 60s".into(),
            count: 9,
            overdue,
            oldest_overdue: Duration::from_secs(75),
            orphans,
            bytes: 0,
            oldest: Duration::from_secs(75),
        }
    }

    #[test]
    fn the_routes_for_which_it_is_held_are_named() {
        let held = |route: &str, line| Held {
            route: route.into(),
            kind: "lease".into(),
            birth: Frame { line, ..group(0, 0).birth },
            count: 9,
            still: 0,
            text: format!("route {route} holds 9 leases"),
        };
        let snapshot = Snapshot {
            entries: Some(vec![group(2, 0)]),
            held: Some(vec![held("export", 42), held("other", 43)]),
            ..Snapshot::default()
        };
        let found = find(&History::single(snapshot));
        assert_eq!(found[0].evidence[1..], ["route export holds 9 leases"]);
    }

    fn findings(looks: &[Vec<EntryGroup>]) -> Vec<Finding> {
        let mut history = History::new();
        for (at, groups) in (0..).zip(looks) {
            let entries = Some(groups.clone());
            history.add(Duration::from_secs(at), Snapshot { entries, ..Snapshot::default() });
        }
        find(&history)
    }

    fn rules(looks: &[Vec<EntryGroup>]) -> Vec<&'static str> {
        findings(looks).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn what_broke_its_obligation_is_named_by_its_line() {
        let found = findings(&[vec![group(0, 0)], vec![group(1, 0)], vec![group(2, 0)]]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.rule, "obligation-broken");
        assert_eq!(finding.birth.as_ref().map(|birth| birth.line), Some(42));
        assert_eq!(finding.count, [0, 1, 2]);
        assert!(finding.summary.contains("2 of 9 live leases"), "{finding:?}");
    }

    #[test]
    fn one_line_is_one_finding_whatever_they_are_doing() {
        let idle = EntryGroup { state: Some("idle".into()), ..group(1, 0) };
        let found = findings(&[vec![group(2, 1), idle]]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.rule, &finding.count[..]), ("obligation-broken", &[3][..]));
    }

    #[test]
    fn orphans_are_called_so_once_they_are_overdue() {
        assert_eq!(rules(&[vec![group(1, 1)]]), ["orphan"]);
        assert!(rules(&[vec![group(0, 0)]]).is_empty());
        // A lease that another task goes on using: its promise is kept.
        assert!(rules(&[vec![group(0, 1)]]).is_empty());
    }

    #[test]
    fn what_is_overdue_for_a_moment_is_none() {
        assert!(rules(&[vec![group(0, 0)], vec![group(1, 1)]]).is_empty());
        assert!(rules(&[vec![group(1, 1)], vec![group(0, 0)]]).is_empty());
        let aged = |millis| {
            vec![EntryGroup { oldest_overdue: Duration::from_millis(millis), ..group(1, 1) }]
        };
        assert!(rules(&[aged(20), aged(30)]).is_empty(), "a second later it is another one");
        assert_eq!(rules(&[aged(20), aged(1020)]), ["orphan"]);
    }

    /// So many of `kind` at each look, beside so many connections.
    fn growth(kind: &str, obligation: &str, counts: &[(u64, u64)]) -> Vec<Finding> {
        let counted = |kind: &str, count| EntryGroup {
            kind: kind.into(),
            obligation: obligation.into(),
            count,
            ..group(0, 0)
        };
        let look =
            |&(count, connections)| vec![counted(kind, count), counted("connection", connections)];
        findings(&counts.iter().map(look).collect::<Vec<_>>())
    }

    #[test]
    fn what_grows_all_the_time_is_a_warning() {
        let counts = [(0, 3), (10, 4), (20, 3), (30, 3), (40, 4), (50, 3)];
        let found = growth("task", "ends with its parent", &counts);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.rule, finding.severity), ("entries-growth", Severity::Warning));
        assert_eq!(finding.count, [0, 10, 20, 30, 40, 50]);
        assert!(finding.forecast.as_ref().unwrap().starts_with("600 more a minute"), "{finding:?}");
    }

    #[test]
    fn growth_that_something_else_bounds_or_explains_is_none() {
        let alone = [(0, 3), (10, 3), (20, 3), (30, 3), (40, 3), (50, 3)];
        assert!(growth("lease", "makes progress within 60s", &alone).is_empty());
        let traffic = [(0, 0), (10, 10), (20, 20), (30, 30), (40, 40), (50, 50)];
        assert!(growth("task", "ends with its parent", &traffic).is_empty());
        let breathes = [(0, 3), (50, 3), (5, 3), (55, 3), (6, 3), (60, 3)];
        assert!(growth("task", "ends with its parent", &breathes).is_empty());
    }
}
