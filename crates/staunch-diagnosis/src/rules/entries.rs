//! `obligation-broken` and `orphan`: what a Staunch service's ledger says of itself.
//!
//! **Proves**: exactly what it says. Every entry was born with an obligation (a deadline, a rate of progress,
//! its owner's life), and the ledger knows who broke it, on which line it was born, and how many.
//!
//! **Cannot**: say more than the ledger knows. What is not on it (a buffer, a library's own task) is a matter of
//! `reconcile`.

use crate::{Cause, Confidence, EntryGroup, Finding, Fix, History, Kind, Place, Severity};

pub(super) fn find(history: &History) -> Vec<Finding> {
    let Some(last) = history.last() else { return Vec::new() };
    let groups = last.snapshot.entries.iter().flatten();
    groups.flat_map(|group| [overdue(history, group), orphans(history, group)]).flatten().collect()
}

fn overdue(history: &History, group: &EntryGroup) -> Option<Finding> {
    let EntryGroup { kind, overdue, count, obligation, .. } = group;
    let obligation = if obligation.is_empty() { "its obligation" } else { obligation };
    (*overdue > 0).then(|| Finding {
        summary: format!(
            "{overdue} of {count} live {kind}s have broken their obligation ({obligation})"
        ),
        cause: Some(Cause {
            label: "Obligation broken".to_owned(),
            text: format!(
                "the {kind} should have ended or made progress by now ({obligation}), and lives"
            ),
            file: Some(group.birth.file.to_string()),
            line: Some(group.birth.line),
        }),
        ..finding("obligation-broken", history, group, |group| group.overdue)
    })
}

fn orphans(history: &History, group: &EntryGroup) -> Option<Finding> {
    let EntryGroup { kind, orphans, count, .. } = group;
    (*orphans > 0).then(|| Finding {
        summary: format!("{orphans} of {count} live {kind}s have outlived their owner"),
        cause: Some(Cause {
            label: "Orphan".to_owned(),
            text: format!("whoever the {kind} belonged to has ended, and the {kind} has not"),
            file: Some(group.birth.file.to_string()),
            line: Some(group.birth.line),
        }),
        ..finding("orphan", history, group, |group| group.orphans)
    })
}

fn finding(
    rule: &'static str,
    history: &History,
    group: &EntryGroup,
    of: fn(&EntryGroup) -> u64,
) -> Finding {
    let is_same = |other: &&EntryGroup| {
        (&other.kind, &other.birth, &other.state) == (&group.kind, &group.birth, &group.state)
    };
    let groups =
        history.instants().iter().map(|at| at.snapshot.entries.iter().flatten().find(is_same));
    let EntryGroup { birth, kind, .. } = group;
    let line = birth.line.to_string();
    let place = Place::from(birth);
    Finding {
        id: Finding::id(
            rule,
            [kind, &*birth.file, &*line, group.state.as_deref().unwrap_or_default()],
        ),
        rule,
        kind: kind_of(kind),
        severity: Severity::Leak,
        confidence: Confidence::new(1.0),
        summary: String::new(),
        count: groups.map(|group| group.map_or(0, of)).collect(),
        oldest: Some(group.oldest),
        fix: Some(Fix {
            text: format!(
                "end or drop what is made at {}:{line} when its work is over",
                birth.file
            ),
            patch: None,
            places: vec![place.clone()],
        }),
        birth: Some(place),
        wait: None,
        cause: None,
        forecast: None,
        evidence: vec![format!(
            "the ledger has it: {} live, {} bytes, the oldest for {}{}",
            group.count,
            group.bytes,
            super::span(group.oldest),
            group.state.as_ref().map(|state| format!(", {state}")).unwrap_or_default()
        )],
        guide: Finding::guide(rule),
    }
}

fn kind_of(kind: &str) -> Kind {
    match kind {
        "task" => Kind::Task,
        "lease" | "pool" => Kind::Pool,
        "timer" => Kind::Timer,
        "buffer" => Kind::Memory,
        _ => Kind::Socket,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Frame, Snapshot};

    fn group(overdue: u64, orphans: u64) -> EntryGroup {
        EntryGroup {
            kind: "lease".into(),
            birth: Frame { function: "".into(), file: "src/bank.rs".into(), line: 42 },
            state: Some("active".into()),
            obligation: "progress every 60s".into(),
            count: 9,
            overdue,
            orphans,
            bytes: 0,
            oldest: Duration::from_secs(75),
        }
    }

    fn findings(groups: &[EntryGroup]) -> Vec<Finding> {
        let mut history = History::new();
        for (at, group) in (0..).zip(groups) {
            let entries = Some(vec![group.clone()]);
            history.add(Duration::from_secs(at), Snapshot { entries, ..Snapshot::default() });
        }
        find(&history)
    }

    #[test]
    fn what_broke_its_obligation_is_named_by_its_line() {
        let found = findings(&[group(0, 0), group(2, 0)]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.rule, "obligation-broken");
        assert_eq!(finding.birth.as_ref().map(|birth| birth.line), Some(42));
        assert_eq!(finding.count, [0, 2]);
        assert!(finding.summary.contains("2 of 9 live leases"), "{finding:?}");
    }

    #[test]
    fn orphans_are_another_finding_and_the_rest_is_none() {
        let rules = |groups: &[EntryGroup]| -> Vec<_> {
            findings(groups).iter().map(|finding| finding.rule).collect()
        };
        assert_eq!(rules(&[group(1, 1)]), ["obligation-broken", "orphan"]);
        assert!(rules(&[group(0, 0)]).is_empty());
    }
}
