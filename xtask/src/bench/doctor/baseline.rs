//! What anybody would try first, to compare with.

use std::collections::BTreeMap;

use staunch_diagnosis::{Frame, History, Place, TaskGroup, Tasks, Wait};

use super::score::Report;

/// goleak's rule: whatever is left but the main goroutine and the standard library's own is a leak.
pub(super) fn anything_left(history: &History) -> Vec<Report> {
    let groups = last(history).into_iter().flat_map(|tasks| &tasks.groups);
    distinct(groups.filter(|group| group.birth.is_some() && own(group).is_some()))
}

/// The largest group that waits, if it has at least ten members.
pub(super) fn largest_blocked_group(history: &History) -> Vec<Report> {
    let groups = last(history).into_iter().flat_map(|tasks| &tasks.groups);
    let waiting = groups.filter(|it| it.birth.is_some() && it.state.waiting.is_for_others());
    let largest = waiting.max_by_key(|group| group.count).filter(|group| group.count >= 10);
    distinct(largest.into_iter())
}

/// Groups that wait, and have more members at each instant than at the one before.
pub(super) fn strict_growth(history: &History) -> Vec<Report> {
    let counts: Vec<BTreeMap<_, u64>> = history
        .instants()
        .iter()
        .map(|it| {
            let mut counts = BTreeMap::new();
            for group in it.snapshot.tasks.iter().flat_map(|it| &it.groups) {
                *counts.entry(key(group)).or_default() += group.count;
            }
            counts
        })
        .collect();
    let grows = |group: &&TaskGroup| {
        let count = |at: &BTreeMap<_, u64>| at.get(&key(group)).copied().unwrap_or(0);
        counts.len() > 1 && counts.windows(2).all(|pair| count(&pair[0]) < count(&pair[1]))
    };
    let groups = last(history).into_iter().flat_map(|tasks| &tasks.groups);
    let waiting = groups.filter(|it| it.birth.is_some() && it.state.waiting.is_for_others());
    distinct(waiting.filter(grows))
}

type Key<'a> = (Option<&'a Frame>, Option<&'a Frame>);

fn key(group: &TaskGroup) -> Key<'_> {
    (group.birth.as_ref(), own(group))
}

fn last(history: &History) -> Option<&Tasks> {
    history.last()?.snapshot.tasks.as_ref()
}

/// The innermost call that is of the program, by the file: Go's own are named after its packages.
fn own(group: &TaskGroup) -> Option<&Frame> {
    let is_own = |frame: &&Frame| {
        frame.function.starts_with("main.")
            || frame
                .function
                .split('/')
                .next()
                .is_some_and(|it| it.contains('.') && frame.function.contains('/'))
    };
    group.frames.iter().find(is_own)
}

fn distinct<'a>(groups: impl Iterator<Item = &'a TaskGroup>) -> Vec<Report> {
    let mut seen = Vec::new();
    let mut reports = Vec::new();
    for group in groups.filter(|group| own(group).is_some()) {
        if !seen.contains(&key(group)) {
            seen.push(key(group));
            reports.push(report(group));
        }
    }
    reports
}

fn report(group: &TaskGroup) -> Report {
    let wait = own(group).map(|call| Wait {
        function: call.function.to_string(),
        file: call.file.to_string(),
        line: call.line,
        state: group.state.text.to_string(),
        code: None,
    });
    Report {
        birth: group.birth.as_ref().map(Place::from),
        wait,
        label: None,
        fix_lines: Vec::new(),
    }
}
