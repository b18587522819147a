//! `held-still`: what is held for a route, moves nothing, and becomes more.
//!
//! **Proves**: over the whole watch ever more exchanges of this route stood still: in each of them no byte had gone
//! either way for ten minutes.
//!
//! **Cannot**: know whether they will move again. Clients that are connected all day and seldom speak look the same
//! while they become more; so it is a warning, and silent about as many as ever.

use std::time::Duration;

use super::growth::steady;
use crate::{
    Cause, Confidence, Finding, Fix, Held, History, Kind, Place, Severity, trend::Reading,
};

const RULE: &str = "held-still";

pub(super) fn find(history: &History) -> Vec<Finding> {
    let looks: Vec<(Duration, &[Held])> = history
        .instants()
        .iter()
        .filter_map(|it| Some((it.at, it.snapshot.held.as_deref()?)))
        .collect();
    let Some((_, last)) = looks.last() else { return Vec::new() };
    last.iter().filter_map(|held| growing(held, &looks)).collect()
}

fn growing(held: &Held, looks: &[(Duration, &[Held])]) -> Option<Finding> {
    let is_same =
        |it: &&Held| (&it.route, &it.kind, &it.birth) == (&held.route, &held.kind, &held.birth);
    let still = |all: &[Held]| all.iter().find(is_same).map_or(0, |it| it.still);
    let readings: Vec<Reading> = looks.iter().map(|(at, all)| (*at, still(all))).collect();
    steady(&readings)?;
    let Held { route, kind, birth, count, still, text } = held;
    let (file, line) = (&*birth.file, birth.line);
    Some(Finding {
        id: Finding::id(RULE, [&**route, kind, file, &*line.to_string()]),
        rule: RULE,
        kind: Kind::Socket,
        severity: Severity::Warning,
        confidence: Confidence::new(0.8),
        summary: format!("route {route}: {still} of {count} exchanges stand still, and ever more do"),
        count: readings.iter().map(|(_, still)| *still).collect(),
        oldest: None,
        birth: Some(Place::from(birth)),
        wait: None,
        cause: Some(Cause {
            label: "Held and still".to_owned(),
            text: "no byte has gone either way for ten minutes: a client that has gone without a word, \
                   or a server that never ends its answer"
                .to_owned(),
            file: Some(file.to_owned()),
            line: Some(line),
        }),
        fix: Some(Fix {
            text: format!(
                "have what serves route {route} end what it has begun, or send a heartbeat; and give the route a `timeout`"
            ),
            patch: None,
            places: vec![Place::from(birth)],
        }),
        forecast: None,
        evidence: vec![text.clone()],
        guide: Finding::guide(RULE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Snapshot};

    /// Of one route, one reading after the other.
    fn history(still: &[u64]) -> History {
        let mut history = History::new();
        for (at, &still) in (0..).zip(still) {
            let held = Held {
                route: "export".into(),
                kind: "stream".into(),
                birth: Frame { function: "".into(), file: "src/tcp.rs".into(), line: 9 },
                count: 900,
                still,
                text: format!("route export holds 900 streams, {still} of them still"),
            };
            let held = (still > 0).then_some(held).into_iter().collect();
            let snapshot = Snapshot { held: Some(held), ..Snapshot::default() };
            history.add(Duration::from_mins(at), snapshot);
        }
        history
    }

    #[test]
    fn what_stands_still_and_becomes_more_is_found() {
        let found = find(&history(&[0, 10, 25, 38, 52, 70]));
        let [it] = &found[..] else { panic!("{found:?}") };
        assert_eq!((it.rule, it.count.last()), (RULE, Some(&70)));
        assert!(it.summary.contains("route export: 70 of 900"), "{}", it.summary);
        assert!(it.evidence[0].contains("70 of them still"), "{:?}", it.evidence);
    }

    #[test]
    fn as_many_as_ever_are_no_leak() {
        for still in [&[70; 6][..], &[0; 6], &[70, 60, 50, 40, 30, 0], &[70]] {
            assert!(find(&history(still)).is_empty(), "{still:?}");
        }
    }
}
