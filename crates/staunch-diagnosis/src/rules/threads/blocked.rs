//! `thread-blocked`: threads that wait for ever on one line, more and more of them.
//!
//! **Proves**: on one line of the program there were more threads from look to look that wait for
//! another thread and no clock (a lock, a latch, a future, a condition), and the same ones, by the
//! number of the thread, still wait there.
//!
//! **Cannot**: see that a thread of a pool has gone on and come back to the same line between two
//! looks. A service whose load rises all the time and which always waits on one line looks the same:
//! hence three looks, and a confidence below one. From one dump it says nothing.

use crate::{Cause, Confidence, Finding, Fix, Kind, Monitor, Severity, Tasks, Wait, Waiting};

use super::{Site, members, stack};

const RULE: &str = "thread-blocked";

pub(super) fn finding(site: &Site<'_>, tasks: &Tasks) -> Finding {
    let call = site.call;
    let count = site.count();
    let (label, what, fix) = told(site.waiting);
    let mut evidence = site.evidence();
    evidence.extend(holders(site, tasks));
    let (place, places) = stack::lines(call, site.groups[0]);
    let named = call.line.to_string();
    Finding {
        id: Finding::id(RULE, [&*call.function, &*call.file, &named]),
        rule: RULE,
        kind: Kind::Thread,
        severity: Severity::Critical,
        confidence: Confidence::new(site.confidence()),
        summary: format!("{count} threads wait {what} at {place}, more and more of them"),
        count: site.readings.iter().map(|reading| reading.1).collect(),
        oldest: Some(site.oldest),
        birth: None,
        wait: Some(wait(site)),
        cause: Some(Cause {
            label: label.to_owned(),
            text: format!(
                "{} waits {what}, and whoever should end that does not",
                stack::short(&call.function)
            ),
            file: Some(call.file.to_string()),
            line: Some(call.line),
        }),
        fix: Some(Fix { text: format!("{fix} at {place}"), patch: None, places }),
        forecast: site.forecast(),
        evidence,
        guide: Finding::guide(RULE),
    }
}

pub(super) fn wait(site: &Site<'_>) -> Wait {
    Wait {
        function: site.call.function.to_string(),
        file: site.call.file.to_string(),
        line: site.call.line,
        state: site.groups[0].state.text.to_string(),
        code: None,
    }
}

/// The kind of cause, for what they wait, and what to change.
fn told(waiting: Waiting) -> (&'static str, &'static str, &'static str) {
    match waiting {
        Waiting::Lock | Waiting::ReadLock => (
            "Lock not released",
            "for a lock",
            "release the lock in `finally`, and hold none over calls that may not return; see who holds what is waited for",
        ),
        Waiting::WaitGroup => (
            "Never completed",
            "for others to be done",
            "count down or complete in `finally`, on every path of those who are waited for; and wait with a time limit",
        ),
        Waiting::ChanReceive => (
            "Nobody puts",
            "for an element of a queue",
            "end the waiting with `poll(time)` or an element that says that no more will come, also on errors,",
        ),
        Waiting::ChanSend => (
            "Nobody takes",
            "for room in a queue",
            "use `offer(time)`, and end the producers when the consumers end,",
        ),
        _ => (
            "Never notified",
            "to be notified",
            "notify on every path that makes the condition true, and wait with a time limit",
        ),
    }
}

/// Where those are who hold what is waited for.
fn holders(site: &Site<'_>, tasks: &Tasks) -> Vec<String> {
    const SHOWN: usize = 3;
    let objects = site.objects();
    let holds = members(tasks).filter(|(_, member)| {
        let held = member.pointers.iter().filter(|it| Monitor::of(it) == Some(Monitor::Held));
        held.into_iter().any(|pointer| objects.contains(&pointer.value))
            && site.members().all(|id| id != member.id)
    });
    let places = holds.filter_map(|(group, member)| {
        let call = stack::own_call(&group.frames).or(group.frames.first())?;
        Some(format!(
            "thread #{} holds what they wait for, and is in {} at {}:{} ({})",
            member.id, call.function, call.file, call.line, group.state.text
        ))
    });
    places.take(SHOWN).collect()
}
