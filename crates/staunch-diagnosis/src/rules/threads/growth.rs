//! `thread-growth`, where stacks of a JVM are known: more and more threads of a name, and of how many
//! pools.
//!
//! **Proves**: what `rules/growth.rs` proves of names; and that they are of so many pools, for each
//! pool's idle threads wait for a queue of their own.
//!
//! **Cannot**: say who made a pool unless a look has seen it at work, or a recording: an idle thread's stack
//! begins in `ThreadPoolExecutor`. Then the line is missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Cause, Confidence, Finding, Fix, Frame, History, Kind, Monitor, Place, Severity, Tasks,
    rules::{
        growth::steady,
        recorded::{Made, Recorded},
    },
    trend::Reading,
};

use super::{Explained, members, name, stack, tasks};

const RULE: &str = "thread-growth";

/// Pools of so few threads, and so many of them, are made by request.
const POOLS_MIN: usize = 5;

pub(super) fn find(
    history: &History,
    explained: &Explained,
    recorded: Recorded<'_>,
) -> Vec<Finding> {
    let Some(last) = tasks(history) else { return Vec::new() };
    let names: BTreeSet<&str> = last.groups.iter().map(name).collect();
    let open = names.into_iter().filter(|it| !is_explained(last, it, explained));
    let mut findings: Vec<_> = open.filter_map(|name| finding(history, last, name)).collect();
    for finding in &mut findings {
        recorded.name(finding, Made::Thread);
    }
    findings
}

/// Whether half of a name's threads are part of a finding already.
fn is_explained(tasks: &Tasks, of: &str, explained: &Explained) -> bool {
    let ids = || members(tasks).filter(|(group, _)| name(group) == of).map(|(_, it)| it.id);
    ids().filter(|id| explained.contains(id)).count() * 2 >= ids().count()
}

fn finding(history: &History, last: &Tasks, name: &str) -> Option<Finding> {
    let readings: Vec<Reading> = history
        .instants()
        .iter()
        .filter_map(|look| Some((look.at, count(look.snapshot.tasks.as_ref()?, name))))
        .collect();
    let trend = steady(&readings)?;
    let now = readings.last()?.1;
    let birth = birth(history);
    let pools = pools(last, name);
    let of_pools = if pools >= POOLS_MIN { format!(", of {pools} pools") } else { String::new() };
    let place = birth.map(|it| format!("{}:{}", it.file, it.line)).unwrap_or_default();
    let made = birth.map(|_| format!(", made at {place}")).unwrap_or_default();
    Some(Finding {
        id: Finding::id(RULE, [name, &place]),
        rule: RULE,
        kind: Kind::Thread,
        severity: if pools >= POOLS_MIN { Severity::Leak } else { Severity::Warning },
        confidence: Confidence::new(if pools >= POOLS_MIN { 0.9 } else { 0.75 }),
        summary: format!("{now} threads called `{name}`{of_pools}{made}, and more all the time"),
        count: readings.iter().map(|reading| reading.1).collect(),
        oldest: None,
        birth: birth.map(Place::from),
        wait: None,
        cause: Some(Cause {
            label: "Unbounded threads".to_owned(),
            text: if pools >= POOLS_MIN {
                "executors are made again and again, and nobody shuts them down".to_owned()
            } else {
                "more threads are made than end".to_owned()
            },
            file: birth.map(|it| it.file.to_string()),
            line: birth.map(|it| it.line),
        }),
        fix: Some(Fix {
            text: "share one executor with a bound instead of making threads or pools per request, and shut down what is made".to_owned(),
            patch: None,
            places: birth.map(Place::from).into_iter().collect(),
        }),
        forecast: trend
            .reaches(now, now.saturating_mul(10))
            .map(|left| format!("ten times as many in {}", crate::rules::span(left))),
        evidence: vec![format!("{:.2} more each second (the median slope of all pairs of looks)", trend.slope)],
        guide: Finding::guide(RULE),
    })
}

fn count(tasks: &Tasks, of: &str) -> u64 {
    tasks.groups.iter().filter(|group| name(group) == of).map(|group| group.count).sum()
}

/// For how many different objects the idle threads of a name are parked.
fn pools(tasks: &Tasks, of: &str) -> usize {
    let idle = members(tasks)
        .filter(|(group, _)| name(group) == of && stack::own_call(&group.frames).is_none());
    let parked = idle.flat_map(|(_, member)| &member.pointers);
    let parked = parked.filter(|it| Monitor::of(it) == Some(Monitor::Parked));
    parked.map(|pointer| pointer.value).collect::<BTreeSet<_>>().len()
}

/// The line of the program that was seen to start threads most often.
fn birth(history: &History) -> Option<&Frame> {
    let mut seen = HashMap::<&Frame, u64>::new();
    let looks = history.instants().iter().filter_map(|look| look.snapshot.tasks.as_ref());
    for group in looks.flat_map(|tasks| &tasks.groups) {
        if group.frames.iter().any(|it| STARTS.iter().any(|start| it.function.starts_with(start)))
            && let Some(call) = stack::own_call(&group.frames)
        {
            *seen.entry(call).or_default() += group.count;
        }
    }
    let seen: BTreeMap<&Frame, u64> = seen.into_iter().collect();
    seen.into_iter().max_by_key(|(_, count)| *count).map(|(call, _)| call)
}

/// Calls that make threads.
const STARTS: [&str; 3] = [
    "java.lang.Thread.start",
    "java.util.concurrent.ThreadPoolExecutor.addWorker",
    "java.util.concurrent.Executors.new",
];
