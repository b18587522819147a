//! What kind of mistake it is.
//!
//! Suspects that share an owner, directly or through others, belong to one defect. Who merely waits for
//! the tasks it started is its victim; what the others wait for gives the defect its name, in the terms
//! of the study of Go's blocking bugs: Tu, Liu, Song, Zhang, "Understanding real-world concurrency bugs
//! in Go" (2019), and Yuan and others, "GoBench" (2021).

use std::collections::{BTreeMap, BTreeSet};

use crate::{Cause, Frame, Waiting, stack};

use super::Rule;
use super::score::Score;
use super::site::{Site, WaitPlace};

/// A site that a rule takes for a leak.
pub(super) struct Suspect<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) rule: &'static Rule,
    pub(super) score: Score,
}

/// Why the tasks of each suspect wait for ever, in the order of `suspects`.
pub(super) fn labels(suspects: &[Suspect<'_>]) -> Vec<Label> {
    let mut labels: Vec<Option<Label>> = vec![None; suspects.len()];
    for defect in defects(suspects) {
        let sites: Vec<&Site<'_>> = defect.iter().map(|&index| suspects[index].site).collect();
        let label = match culprits(&sites) {
            culprits if culprits.is_empty() => Label::of(&sites),
            culprits => Label::of(&culprits),
        };
        for index in defect {
            labels[index] = Some(label);
        }
    }
    // Every suspect is in one defect.
    labels.into_iter().flatten().collect()
}

/// The suspects by what belongs together: those with a common owner, directly or through others.
fn defects(suspects: &[Suspect<'_>]) -> Vec<Vec<usize>> {
    let mut by_owner: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, suspect) in suspects.iter().enumerate() {
        for owner in &suspect.site.owners {
            by_owner.entry(owner).or_default().push(index);
        }
    }
    let mut is_placed = vec![false; suspects.len()];
    let mut defects = Vec::new();
    for first in 0..suspects.len() {
        let (mut defect, mut open) = (Vec::new(), vec![first]);
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut is_placed[index], true) {
                continue;
            }
            defect.push(index);
            // Whoever comes by an owner first takes all of its suspects along.
            let owners = suspects[index].site.owners.iter();
            open.extend(owners.filter_map(|owner| by_owner.remove(owner.as_str())).flatten());
        }
        if !defect.is_empty() {
            defects.push(defect);
        }
    }
    defects
}

/// Those that do not merely wait for what they started themselves.
fn culprits<'a>(sites: &[&'a Site<'a>]) -> Vec<&'a Site<'a>> {
    let is_victim = |site: &Site<'_>| {
        matches!(site.wait().waiting, Waiting::ChanReceive | Waiting::WaitGroup)
            && sites.iter().any(|other| started_by(other, site))
    };
    sites.iter().copied().filter(|site| !is_victim(site)).collect()
}

fn started_by(child: &Site<'_>, parent: &Site<'_>) -> bool {
    !std::ptr::eq(child, parent)
        && child.birth.is_some_and(|birth| {
            parent.groups().any(|group| stack::calls(&group.frames, &birth.function))
        })
}

/// The kinds of mistake, named as in the literature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Label {
    DoubleLocking,
    LockOrder,
    ReadWriteRead,
    Channel,
    ChannelContext,
    ChannelLock,
    ChannelWaitGroup,
    ChannelCondition,
    Condition,
    WaitGroup,
}

impl Label {
    fn of(sites: &[&Site<'_>]) -> Label {
        let places: Vec<&WaitPlace<'_>> = sites.iter().flat_map(|site| &site.waits).collect();
        let waits = |wanted: &[Waiting]| places.iter().any(|it| wanted.contains(&it.waiting));
        let locks = waits(&[Waiting::Lock, Waiting::ReadLock, Waiting::Semaphore]);
        let channels = waits(&[
            Waiting::ChanSend,
            Waiting::ChanReceive,
            Waiting::NilChan,
            Waiting::Select,
            Waiting::SelectNoCases,
        ]);
        match (locks, channels, waits(&[Waiting::Cond]), waits(&[Waiting::WaitGroup])) {
            (true, true, ..) => Label::ChannelLock,
            (true, false, ..) => of_locks(&places),
            (false, true, true, _) => Label::ChannelCondition,
            (false, false, true, _) => Label::Condition,
            (false, true, false, true) => Label::ChannelWaitGroup,
            (false, false, false, true) => Label::WaitGroup,
            _ if sites.iter().any(|site| is_about_contexts(site)) => Label::ChannelContext,
            _ => Label::Channel,
        }
    }

    pub(super) fn cause(self, call: &Frame) -> Cause {
        Cause {
            label: self.name().to_owned(),
            text: self.text().to_owned(),
            file: Some(call.file.to_string()),
            line: Some(call.line),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Label::DoubleLocking => "Double locking",
            Label::LockOrder => "AB-BA deadlock",
            Label::ReadWriteRead => "RWR deadlock",
            Label::Channel => "Channel",
            Label::ChannelContext => "Channel & Context",
            Label::ChannelLock => "Channel & Lock",
            Label::ChannelWaitGroup => "Channel & WaitGroup",
            Label::ChannelCondition => "Channel & Condition Variable",
            Label::Condition => "Condition Variable",
            Label::WaitGroup => "Misuse WaitGroup",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Label::DoubleLocking => {
                "the lock is taken by somebody who has it already, or was not given back on some path"
            }
            Label::LockOrder => {
                "locks are taken in different orders: each holds what another waits for"
            }
            Label::ReadWriteRead => {
                "a read lock is taken twice, and a writer that came in between keeps the second out"
            }
            Label::Channel => "the other end of the channel is gone, or was never started",
            Label::ChannelContext => {
                "the context that should end the wait is never cancelled, or is not among what is \
                 waited for"
            }
            Label::ChannelLock => {
                "somebody waits for a channel while holding the lock that the other end needs"
            }
            Label::ChannelWaitGroup => {
                "the wait group waits for tasks that wait for a channel, which only the waiter or \
                 nobody would serve"
            }
            Label::ChannelCondition => {
                "whoever should signal the condition waits for a channel that the waiter would serve"
            }
            Label::Condition => "the signal came before the wait, or never comes",
            Label::WaitGroup => {
                "`Add` and `Done` do not match, or `Wait` stands where it stops them"
            }
        }
    }
}

fn of_locks(places: &[&WaitPlace<'_>]) -> Label {
    let locks: Vec<_> = places.iter().filter(|it| is_lock(it.waiting)).collect();
    let reads = locks.iter().any(|it| it.waiting == Waiting::ReadLock);
    let lines: BTreeSet<_> = locks.iter().map(|it| it.call).collect();
    match lines.len() {
        0 | 1 => Label::DoubleLocking,
        _ if reads && locks.iter().all(|it| is_read_write(it)) => Label::ReadWriteRead,
        _ => Label::LockOrder,
    }
}

fn is_lock(waiting: Waiting) -> bool {
    matches!(waiting, Waiting::Lock | Waiting::ReadLock)
}

fn is_read_write(place: &WaitPlace<'_>) -> bool {
    place.groups.iter().any(|group| {
        group.state.text.contains("RWMutex")
            || group.frames.iter().any(|frame| frame.function.starts_with("sync.(*RWMutex)"))
    })
}

/// Whether a function on the way to the wait, or the one that started it, is named after contexts,
/// as Go programmers do: a dump does not show what a channel is.
fn is_about_contexts(site: &Site<'_>) -> bool {
    let frames = site.groups().flat_map(|group| stack::own_calls(&group.frames));
    frames.chain(site.birth).any(|frame| {
        let name = &frame.function[stack::package(&frame.function).len()..];
        ["Context", "Ctx", "awaitDone", "Cancel"].iter().any(|it| name.contains(it))
    })
}
