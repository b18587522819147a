//! Histories for tests of rules: one crowd of goroutines, or one allocation site, that grows or does not.

use std::time::Duration;

use crate::{
    Frame, Heap, HeapSite, History, Member, Options, Snapshot, State, TaskGroup, Tasks, Waiting,
    diagnose,
};

/// A stack, innermost call first; the line of each call is its place in it, from 1.
pub(super) fn frames(functions: &[&str]) -> Vec<Frame> {
    let frame = |(line, function): (u32, &&str)| Frame {
        function: (*function).into(),
        file: "app/main.go".into(),
        line,
    };
    (1..).zip(functions).map(frame).collect()
}

/// Six looks at goroutines of one stack, of which there are at first ten, and `more` at each look.
pub(super) fn crowd(functions: &[&str], birth: &str, waiting: Waiting, more: u64) -> History {
    let mut history = History::new();
    for look in 0..6 {
        let count = 10 + more * look;
        let group = TaskGroup {
            state: State { waiting, text: "waits".into() },
            frames: frames(functions).into(),
            birth: Some(Frame { function: birth.into(), file: "app/main.go".into(), line: 99 }),
            labels: Vec::new(),
            count,
            members: (1..=count).map(|id| Member { id, ..Member::default() }).collect(),
        };
        let tasks = Tasks { groups: vec![group], ..Tasks::default() };
        let snapshot = Snapshot { tasks: Some(tasks), ..Snapshot::default() };
        history.add(Duration::from_secs(look), snapshot);
    }
    history
}

/// Two looks, ten seconds apart, at a heap of one stack: of `made` objects of `size` bytes `kept` stay.
pub(super) fn heap(functions: &[&str], made: u64, kept: u64, size: u64) -> History {
    let mut history = History::new();
    for (at, made, kept) in [(0, 0, 0), (10, made, kept)] {
        let site = HeapSite {
            frames: frames(functions).into(),
            live_bytes: kept * size,
            live_objects: kept,
            allocated_bytes: made * size,
            allocated_objects: made,
        };
        let heap = Heap { sites: vec![site], ..Heap::default() };
        let snapshot = Snapshot { heap: Some(heap), ..Snapshot::default() };
        history.add(Duration::from_secs(at), snapshot);
    }
    history
}

/// What is found, by rule, with the lines of birth and wait.
pub(super) fn found(history: &History) -> Vec<(&'static str, Option<u32>, Option<u32>)> {
    let findings = diagnose(history, &Options::default());
    let line = findings.iter().map(|it| {
        (it.rule, it.birth.as_ref().map(|it| it.line), it.wait.as_ref().map(|it| it.line))
    });
    line.collect()
}
