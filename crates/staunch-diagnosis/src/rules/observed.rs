//! `body-not-read` of a Staunch service: lines that keep dropping bodies of answers unread.
//!
//! **Proves**: what the service has seen itself, while it was watched: bodies of answers to requests of this line were
//! dropped before their end, so many since it began. Each may cost its connection.
//!
//! **Cannot**: see a line between two of its notes. A service notes a line at ten bodies, at a hundred, at a thousand.

use std::collections::BTreeMap;

use crate::{Cause, Confidence, Finding, Fix, Frame, History, Kind, Observed, Place, Severity};

const RULE: &str = "body-not-read";
/// What the client of `staunch-http` calls it.
const DROPPED: &str = "dropped-bodies";

pub(super) fn find(history: &History) -> Vec<Finding> {
    let mut looks =
        history.instants().iter().filter_map(|it| Some((it.at, it.snapshot.observed.as_ref()?)));
    let (Some(first), Some((last, observed))) = (looks.next(), looks.next_back()) else {
        return Vec::new();
    };
    let watched = last.saturating_sub(first.0);
    let new = observed.iter().filter(|it| it.rule == DROPPED && it.ago <= watched);
    let mut lines = BTreeMap::<&Frame, &Observed>::new();
    for it in new {
        let latest = lines.entry(&it.birth).or_insert(it);
        if it.ago <= latest.ago {
            *latest = it;
        }
    }
    lines.into_values().map(finding).collect()
}

fn finding(it: &Observed) -> Finding {
    let Frame { file, line, .. } = &it.birth;
    Finding {
        id: Finding::id(RULE, [&**file, &*line.to_string()]),
        rule: RULE,
        kind: Kind::Socket,
        severity: Severity::Warning,
        confidence: Confidence::new(0.95),
        summary: it.text.clone(),
        count: Vec::new(),
        oldest: None,
        birth: Some(Place::from(&it.birth)),
        wait: None,
        cause: Some(Cause {
            label: "Body not read".to_owned(),
            text: "what is left of a body stands in the way of the next answer: it is drained, or its connection is closed"
                .to_owned(),
            file: Some(file.to_string()),
            line: Some(*line),
        }),
        fix: Some(Fix {
            text: format!("read the body to its end within a bound (`bytes(limit)`); it is asked for at {file}:{line}"),
            patch: None,
            places: vec![Place::from(&it.birth)],
        }),
        forecast: None,
        evidence: vec!["the service has noted it while it was watched".to_owned()],
        guide: Finding::guide(RULE),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Snapshot;
    use crate::rules::testing::found;

    fn history(notes: &[(&str, u32, u64)]) -> History {
        let note = |(rule, line, ago): &(&str, u32, u64)| Observed {
            rule: (*rule).to_owned(),
            birth: Frame { function: "".into(), file: "src/prices.rs".into(), line: *line },
            text: format!("noted {ago} s ago"),
            ago: Duration::from_secs(*ago),
        };
        let mut history = History::new();
        for (at, notes) in [(0, &[][..]), (10, notes)] {
            let observed = Some(notes.iter().map(note).collect());
            history.add(Duration::from_secs(at), Snapshot { observed, ..Snapshot::default() });
        }
        history
    }

    #[test]
    fn a_line_that_was_noted_while_it_was_watched_is_found_once() {
        let notes = [(DROPPED, 41, 9), (DROPPED, 41, 2), (DROPPED, 7, 11), ("other", 8, 1)];
        let history = history(&notes);
        assert_eq!(found(&history), [(RULE, Some(41), None)]);
        assert_eq!(find(&history)[0].summary, "noted 2 s ago");
        assert!(find(&History::single(history.last().unwrap().snapshot.clone())).is_empty());
    }
}
