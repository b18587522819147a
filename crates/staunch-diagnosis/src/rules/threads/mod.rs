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

use crate::{Finding, History, Member, Runtime, TaskGroup, Tasks};

use site::Site;

pub(super) use stack::is_own;

pub(super) fn find(history: &History) -> Vec<Finding> {
    let Some(last) = tasks(history) else { return Vec::new() };
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
    findings.extend(growth::find(history, &explained));
    findings
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
