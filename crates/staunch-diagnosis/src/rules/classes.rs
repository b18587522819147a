//! `cache-without-expiry`: more and more objects of a class of the program's.
//!
//! **Proves**: between histograms, each taken after a full collection, objects of a class of the
//! program became more, by [`GROWTH_MIN`] and by half of what there was. So they are reachable:
//! somebody keeps them. If entries of a map or another container became more by about as many, that
//! is who.
//!
//! **Cannot**: know the traffic, nor the line: a histogram knows neither, and the line is there only with a
//! recording (`recorded.rs`). A cache that fills up to its bound looks the same until it has reached it. So
//! it is a warning.
//!
//! One finding for all classes that grow alike: a session and its name are one leak. Its line is that
//! of the class that grew most.

use crate::{
    Cause, ClassCount, Confidence, Finding, Fix, History, Kind, Severity,
    trend::{Reading, Trend},
};

use super::recorded::Recorded;
use super::threads::is_own;

const RULE: &str = "cache-without-expiry";

/// What a service builds up when it begins is less, or more than doubles nothing.
const GROWTH_MIN: u64 = 50;
/// Two classes grow alike whose growth differs by no more than a fifth.
const ALIKE: f64 = 0.2;
/// How many companions are named.
const SHOWN: usize = 4;

/// What keeps objects: the entries of maps, and elements of lists.
const CONTAINERS: [&str; 9] = [
    "java.util.concurrent.ConcurrentHashMap$Node",
    "java.util.HashMap$Node",
    "java.util.LinkedHashMap$Entry",
    "java.util.TreeMap$Entry",
    "java.util.WeakHashMap$Entry",
    "java.util.concurrent.ConcurrentSkipListMap$Node",
    "java.util.LinkedList$Node",
    "java.util.concurrent.ConcurrentLinkedQueue$Node",
    "java.util.concurrent.LinkedBlockingQueue$Node",
];

/// A class, and how many of it there were.
struct Growing<'a> {
    class: &'a ClassCount,
    readings: Vec<Reading>,
    more: u64,
}

pub(super) fn find(history: &History, recorded: Recorded<'_>) -> Vec<Finding> {
    let mut growing = growing(history);
    growing.sort_by(|a, b| b.more.cmp(&a.more).then_with(|| a.class.name.cmp(&b.class.name)));
    let (own, others): (Vec<_>, Vec<_>) = growing.iter().partition(|it| is_suspect(&it.class.name));
    let mut findings = Vec::new();
    let mut told: Vec<u64> = Vec::new();
    for it in own {
        if !told.iter().any(|more| is_alike(it.more, *more)) {
            told.push(it.more);
            let mut found = finding(it, &others, &growing);
            if let Some(origin) = recorded.line_of_class(&it.class.name) {
                origin.name(&mut found);
            }
            findings.push(found);
        }
    }
    findings
}

/// Every class that grew, of those looks that counted classes.
fn growing(history: &History) -> Vec<Growing<'_>> {
    let looks = history.instants().iter();
    let looks: Vec<_> = looks
        .filter_map(|look| Some((look.at, &look.snapshot.heap.as_ref()?.classes)))
        .filter(|(_, classes)| !classes.is_empty())
        .collect();
    let [first, .., (_, last)] = &looks[..] else { return Vec::new() };
    let early: std::collections::HashMap<&str, u64> =
        first.1.iter().map(|class| (&*class.name, class.instances)).collect();
    let grew = last.iter().filter_map(|class| {
        let before = early.get(&*class.name).copied().unwrap_or(0);
        let more = class.instances.checked_sub(before)?;
        (more >= GROWTH_MIN && 2 * more >= before).then_some((class, more))
    });
    let of = |name: &str, classes: &[ClassCount]| {
        classes.iter().find(|class| class.name == name).map_or(0, |class| class.instances)
    };
    let grew = grew.map(|(class, more)| {
        let readings = looks.iter().map(|(at, classes)| (*at, of(&class.name, classes))).collect();
        Growing { class, readings, more }
    });
    grew.filter(|it| it.readings.is_sorted_by_key(|reading| reading.1)).collect()
}

/// Classes that a programmer has written. Arrays belong to what has them, and the classes of lambdas
/// come and go with their calls.
fn is_suspect(class: &str) -> bool {
    is_own(class) && !class.ends_with("[]") && !class.contains("$$Lambda")
}

/// What a JVM makes because it is asked, or records: that grows between two looks as well.
fn is_of_watching(class: &str) -> bool {
    const MADE: [&str; 4] =
        ["java.lang.Class$", "java.lang.invoke.", "java.lang.reflect.", "jdk.jfr."];
    MADE.iter().any(|beginning| class.starts_with(beginning))
}

fn is_alike(one: u64, other: u64) -> bool {
    one.abs_diff(other) as f64 <= ALIKE * one.max(other) as f64
}

fn finding(it: &Growing<'_>, others: &[&Growing<'_>], all: &[Growing<'_>]) -> Finding {
    let Growing { class: ClassCount { name, instances, bytes }, readings, more } = it;
    let containers = others.iter().filter(|it| CONTAINERS.contains(&&*it.class.name));
    let container = containers.into_iter().find(|other| is_alike(other.more, *more));
    let kept = container.map_or(String::new(), |it| format!(", kept by {}", it.class.name));
    let first = readings.first().map_or(0, |reading| reading.1);
    let mut evidence = vec![format!(
        "each count is of what was left after a full collection; the {instances} of now are {bytes} bytes, without what they refer to"
    )];
    let is_other = |it: &&Growing<'_>| it.class.name != *name && !is_of_watching(&it.class.name);
    let alike = all.iter().filter(is_other).filter(|other| is_alike(other.more, *more));
    evidence.extend(
        alike.take(SHOWN).map(|it| format!("{} more of {} as well", it.more, it.class.name)),
    );
    Finding {
        id: Finding::id(RULE, [&**name]),
        rule: RULE,
        kind: Kind::Memory,
        severity: Severity::Warning,
        confidence: Confidence::new(if container.is_some() { 0.85 } else { 0.75 }),
        summary: format!(
            "objects of class {name} become more: {first} at first, {instances} now{kept}"
        ),
        count: readings.iter().map(|reading| reading.1).collect(),
        oldest: None,
        birth: None,
        wait: None,
        cause: Some(Cause {
            label: "Kept for ever".to_owned(),
            text: match container {
                Some(it) => format!(
                    "as many more {} became: something puts into a map or list, and nothing takes out",
                    it.class.name
                ),
                None => "something refers to each of them, and nothing lets go".to_owned(),
            },
            file: None,
            line: None,
        }),
        fix: Some(Fix {
            text: format!(
                "give whatever keeps objects of {name} a bound and an expiry, or remove each when its work is over"
            ),
            patch: None,
            places: Vec::new(),
        }),
        forecast: Trend::of(readings)
            .and_then(|trend| trend.reaches(*instances, instances.saturating_mul(10)))
            .map(|left| format!("ten times as many in {}", super::span(left))),
        evidence,
        guide: Finding::guide(RULE),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Heap, Snapshot};

    fn history(looks: &[&[(&str, u64)]]) -> History {
        let mut history = History::new();
        for (at, counts) in (0..).zip(looks) {
            let class = |(name, instances): &(&str, u64)| ClassCount {
                name: (*name).to_owned(),
                instances: *instances,
                bytes: 24 * instances,
            };
            let classes = counts.iter().map(class).collect();
            let heap = Some(Heap { classes, ..Heap::default() });
            history.add(Duration::from_secs(at * 60), Snapshot { heap, ..Snapshot::default() });
            // A look that did not count.
            history.add(Duration::from_secs(at * 60 + 5), Snapshot::default());
        }
        history
    }

    fn found(history: &History) -> Vec<Finding> {
        find(history, Recorded::of(history))
    }

    const NODE: &str = "java.util.concurrent.ConcurrentHashMap$Node";

    #[test]
    fn a_class_is_named_with_what_keeps_it() {
        let findings = found(&history(&[
            &[("Sessions$Session", 40), (NODE, 1800), ("byte[]", 9000)],
            &[
                ("jdk.jfr.internal.Type", 1001),
                ("Sessions$Session", 1040),
                ("Sessions$Key", 1000),
                (NODE, 2810),
                ("byte[]", 9900),
            ],
        ]));
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert!(
            finding.summary.contains("Sessions$Key")
                || finding.summary.contains("Sessions$Session")
        );
        assert!(finding.summary.ends_with(&format!("kept by {NODE}")), "{finding:?}");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(!finding.evidence.iter().any(|it| it.contains("jdk.jfr")), "{finding:?}");
    }

    #[test]
    fn what_falls_stays_or_is_no_class_of_the_program_is_none() {
        for looks in [
            &[&[("A", 40)][..], &[("A", 60)]][..],
            &[&[("A", 1000)], &[("A", 1200)]],
            &[&[("A", 10)], &[("A", 500)], &[("A", 400)]],
            &[
                &[("java.lang.String", 10), ("A$$Lambda$1", 0)],
                &[("java.lang.String", 900), ("A$$Lambda$1", 90)],
            ],
            &[&[("A", 1000)]],
            &[&[("int[]", 300), ("A[]", 10)], &[("int[]", 1000), ("A[]", 800)]],
        ] {
            assert!(found(&history(looks)).is_empty(), "{looks:?}");
        }
    }
}
