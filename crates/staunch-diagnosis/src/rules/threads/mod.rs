//! Threads of a JVM, by their stacks: deadlocks, threads that wait for ever, leases that are not given
//! back, and more and more threads.
//!
//! # Design
//!
//! `stack.rs` knows which calls are the program's own. `deadlock.rs` follows who waits for whom at the
//! last look. `site.rs` gathers threads by the line of the program on which they wait, through all
//! looks; `blocked.rs` and `lease.rs` judge those that pile up. `growth.rs` counts threads by name.
//!
//! A thread belongs to one finding: who is part of a deadlock or waits behind it is not counted as
//! blocked, and a name whose threads are mostly blocked or deadlocked is not said to grow.

mod blocked;
mod deadlock;
mod growth;
mod lease;
mod site;
mod stack;

use std::collections::HashSet;

use crate::{Finding, History, Member, Runtime, SocketState, TaskGroup, Tasks};

use super::recorded::Recorded;

use site::Site;

pub(super) use stack::{is_own, own_call};

/// What is found of threads.
#[derive(Debug, Default)]
pub(super) struct Threads {
    pub(super) findings: Vec<Finding>,
    /// How many threads stand still by these findings.
    pub(super) held: u64,
}

pub(super) fn find(history: &History, recorded: Recorded<'_>) -> Threads {
    let Some(last) = tasks(history) else { return Threads::default() };
    let (mut findings, mut explained) = deadlock::find(history, last);
    let sites = site::sites(history, &explained);
    for site in sites.iter().filter(|site| site.piles_up()) {
        findings.push(if lease::is_lease(site) {
            lease::finding(site)
        } else {
            blocked::finding(site, last)
        });
        explained.extend(site.members());
    }
    for finding in &mut findings {
        finding.evidence.extend(given_up(history));
    }
    findings.extend(growth::find(history, &explained, recorded));
    Threads { findings, held: explained.len() as u64 }
}

/// What clients show of threads that stand still.
fn given_up(history: &History) -> Option<String> {
    let sockets = history.last()?.snapshot.sockets.iter().flatten();
    let count = sockets.filter(|socket| socket.state == SocketState::CloseWait).count();
    (count > 0)
        .then(|| format!("{count} sockets are in CLOSE_WAIT: their peers have given up waiting"))
}

/// Threads of the last look, if they are a JVM's.
pub(super) fn tasks(history: &History) -> Option<&Tasks> {
    let tasks = history.last()?.snapshot.tasks.as_ref()?;
    (tasks.runtime == Runtime::Jvm).then_some(tasks)
}

/// All threads, with their groups.
fn members(tasks: &Tasks) -> impl Iterator<Item = (&TaskGroup, &Member)> {
    tasks.groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)))
}

/// The name of a group's threads, without its digits.
fn name(group: &TaskGroup) -> &str {
    group.labels.iter().find(|(key, _)| key == "thread").map_or("", |(_, name)| name)
}

/// Threads that are part of a finding, by id.
type Explained = HashSet<u64>;

#[cfg(test)]
mod tests;
