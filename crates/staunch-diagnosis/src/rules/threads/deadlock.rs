//! `deadlock`: threads that wait for each other's locks, in a circle.
//!
//! **Proves**: at the last look each thread of the circle waits for a monitor or lock that the next
//! one holds. That is exact: a JVM stops all threads for a dump, and none of these waits has a time
//! limit. Owners of `java.util.concurrent` locks are known where the dump says so: in its own search
//! for deadlocks (`Found one Java-level deadlock`), or with `jcmd PID Thread.print -l`.
//!
//! **Cannot**: see circles through what has no owner: semaphores, latches, futures, queues.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Cause, Confidence, Finding, Fix, Frame, History, Kind, Monitor, Place, Severity, TaskGroup,
    Tasks, Wait,
};

use super::{Explained, members, stack};

const RULE: &str = "deadlock";

/// A thread that waits for one lock.
#[derive(Clone, Copy)]
struct Waiter<'a> {
    id: u64,
    group: &'a TaskGroup,
    object: u64,
    holder: u64,
}

/// Who waits for whom at one look.
struct Waits<'a>(HashMap<u64, Waiter<'a>>);

/// The findings, and who is part of a circle or waits behind it.
pub(super) fn find(history: &History, last: &Tasks) -> (Vec<Finding>, Explained) {
    let waits = Waits::of(last);
    let circles = waits.circles();
    let stuck = waits.behind(&circles);
    let findings = circles.iter().map(|circle| finding(history, &waits, circle)).collect();
    (findings, stuck)
}

impl<'a> Waits<'a> {
    fn of(tasks: &'a Tasks) -> Waits<'a> {
        let mut holders = HashMap::new();
        for (_, member) in members(tasks) {
            let of = |kind| {
                let pointers = member.pointers.iter();
                pointers.filter(move |it| Monitor::of(it) == Some(kind)).map(|it| it.value)
            };
            // Who waits to be notified has left the monitor, though its stack says `locked`.
            let left: Vec<u64> = of(Monitor::Waiting).collect();
            holders.extend(
                of(Monitor::Held).filter(|it| !left.contains(it)).map(|it| (it, member.id)),
            );
        }
        let waits = members(tasks).filter_map(|(group, member)| {
            let wants = |monitor| matches!(monitor, Some(Monitor::Entering | Monitor::Parked));
            let object = member.pointers.iter().find(|it| wants(Monitor::of(it)))?.value;
            let holder = *holders.get(&object).filter(|holder| **holder != member.id)?;
            Some((member.id, Waiter { id: member.id, group, object, holder }))
        });
        Waits(waits.collect())
    }

    /// Each circle once, from its lowest id on.
    fn circles(&self) -> Vec<Vec<Waiter<'a>>> {
        let mut circles = Vec::new();
        let mut seen = Explained::new();
        let ids: BTreeSet<u64> = self.0.keys().copied().collect();
        for start in ids {
            let mut path: Vec<Waiter<'a>> = Vec::new();
            let mut next = self.0.get(&start);
            while let Some(waiter) = next {
                if !seen.insert(waiter.id) {
                    let begin = path.iter().position(|it| it.id == waiter.id);
                    circles.extend(begin.map(|begin| path[begin..].to_vec()));
                    break;
                }
                path.push(*waiter);
                next = self.0.get(&waiter.holder);
            }
        }
        circles
    }

    /// All who can only go on when one of a circle does.
    fn behind(&self, circles: &[Vec<Waiter<'_>>]) -> Explained {
        let mut stuck: Explained = circles.iter().flatten().map(|waiter| waiter.id).collect();
        loop {
            let waits = self.0.values().filter(|it| stuck.contains(&it.holder));
            let more: Vec<u64> = waits.map(|it| it.id).filter(|id| !stuck.contains(id)).collect();
            if more.is_empty() {
                return stuck;
            }
            stuck.extend(more);
        }
    }
}

fn finding(history: &History, waits: &Waits<'_>, circle: &[Waiter<'_>]) -> Finding {
    let calls: Vec<(&Frame, &TaskGroup)> =
        circle.iter().filter_map(|it| Some((call(it.group)?, it.group))).collect();
    let functions: BTreeSet<&str> = calls.iter().map(|(call, _)| &*call.function).collect();
    let lines = calls.iter().map(|(call, group)| stack::lines(call, group));
    let lines: BTreeMap<String, Vec<Place>> = lines.collect();
    let places: Vec<Place> = lines.values().flatten().cloned().collect();
    let lines = lines.into_keys().collect::<Vec<_>>().join(" and ");
    let behind = waits.behind(&[circle.to_vec()]).len() - circle.len();
    let mut evidence: Vec<String> = circle.iter().map(told).collect();
    if behind > 0 {
        evidence.push(format!("{behind} more threads wait behind them"));
    }
    let first = calls.first().map(|(call, _)| *call);
    Finding {
        id: Finding::id(RULE, functions),
        rule: RULE,
        kind: Kind::Thread,
        severity: Severity::Critical,
        confidence: Confidence::new(1.0),
        summary: format!("{} threads wait for each other's locks for ever, at {lines}", circle.len()),
        count: counts(history),
        oldest: None,
        birth: None,
        wait: first.map(|call| Wait {
            function: call.function.to_string(),
            file: call.file.to_string(),
            line: call.line,
            state: circle[0].group.state.text.to_string(),
            code: None,
        }),
        cause: Some(Cause {
            label: "AB-BA deadlock".to_owned(),
            text: "locks are taken in different orders, so that each waits for what the next one holds".to_owned(),
            file: first.map(|call| call.file.to_string()),
            line: first.map(|call| call.line),
        }),
        fix: Some(Fix {
            text: format!("take these locks in one order everywhere, or hold one at a time, at {lines}"),
            patch: None,
            places,
        }),
        forecast: None,
        evidence,
        guide: Finding::guide(RULE),
    }
}

/// The program's own line, or else the innermost.
fn call(group: &TaskGroup) -> Option<&Frame> {
    stack::own_call(&group.frames).or(group.frames.first())
}

/// How many threads stood still, look by look.
fn counts(history: &History) -> Vec<u64> {
    let looks = history.instants().iter().map(|look| {
        let tasks = look.snapshot.tasks.as_ref()?;
        let waits = Waits::of(tasks);
        Some(waits.behind(&waits.circles()).len() as u64)
    });
    looks.map(Option::unwrap_or_default).collect()
}

fn told(waiter: &Waiter<'_>) -> String {
    let Waiter { id, group, object, holder } = waiter;
    let place = call(group).map(|it| format!(" at {}", stack::lines(it, group).0));
    format!(
        "thread #{id} ({}) waits for <{object:#x}>, which thread #{holder} holds,{}",
        super::name(group),
        place.unwrap_or_default()
    )
}
