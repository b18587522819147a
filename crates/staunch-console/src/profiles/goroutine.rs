//! `/debug/pprof/goroutine`: the tasks on the ledger, as goroutines.
//!
//! A task's stack is the line that it was born on and, as its callers, the lines that its
//! owners were born on: what a suspended future has instead of a stack.

mod text;

use std::{cmp::Reverse, time::Duration};

use staunch_ledger::{Entry, Kind, Snapshot, State};

use super::{
    builder::{Builder, Measure},
    place::Place,
};
use crate::{
    owners::Owners,
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

pub(crate) fn goroutine(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let detail = visit.query.number("debug", 0..=2)?;
    let snapshot = visit.shared.ledger.snapshot();
    let tasks = tasks(&snapshot);
    match detail {
        None | Some(0) => profile(&tasks).reply("goroutine"),
        Some(1) => Ok(reply::text(text::grouped(&tasks))),
        Some(_) => Ok(reply::text(text::each(&tasks))),
    }
}

/// A task and those who own it, the nearest first.
struct Task<'s> {
    entry: &'s Entry,
    owners: Vec<&'s Entry>,
}

/// The tasks, the oldest first.
fn tasks(snapshot: &Snapshot) -> Vec<Task<'_>> {
    let owners = Owners::new(snapshot);
    let mut tasks: Vec<Task<'_>> = snapshot
        .entries()
        .iter()
        .filter(|entry| entry.kind() == Kind::TASK)
        .map(|entry| Task { entry, owners: owners.of(entry).collect() })
        .collect();
    tasks.sort_unstable_by_key(|task| (Reverse(task.entry.age()), task.number()));
    tasks
}

impl Task<'_> {
    /// Its goroutine's number.
    fn number(&self) -> u64 {
        self.entry.id().number()
    }

    fn place(&self) -> Place {
        Place::of(self.entry)
    }

    /// The lines that it and its owners were born on.
    fn stack(&self) -> impl Iterator<Item = Place> {
        std::iter::once(self.place()).chain(self.owners.iter().map(|owner| Place::of(owner)))
    }

    /// What it waits for, in Go's words where Go has one (`runtime/runtime2.go`).
    fn wait_reason(&self) -> &'static str {
        match self.entry.state() {
            State::Open => "runnable",
            State::Accept | State::Handshake | State::Read | State::ReadRest | State::Write => {
                "IO wait"
            }
            State::Channel => "chan receive",
            State::Lease => "semacquire",
            State::Join => "sync.WaitGroup.Wait",
            State::Blocking => "running",
            other => other.name(), // "running", "sleep" and "waiting" are Go's too
        }
    }

    fn without_progress(&self) -> Duration {
        self.entry.without_progress()
    }
}

const COUNT: Measure = ("goroutine", "count");

fn profile(tasks: &[Task<'_>]) -> Builder {
    let mut builder = Builder::new(&[COUNT], 0, (COUNT, 1));
    for task in tasks {
        let labels = [
            ("kind", task.entry.kind().name()),
            ("state", task.entry.state().name()),
            ("task", &task.number().to_string()),
        ];
        builder.sample(task.stack().map(Place::frame), vec![1], &labels);
    }
    builder
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use staunch_ledger::{Ledger, Obligation};
    use staunch_pprof::{Location, Profile};

    use super::*;
    use crate::profiles::source::short;

    #[test]
    fn a_task_is_a_sample_with_its_owners_as_callers() {
        let ledger = Ledger::new();
        let scope = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
        let task = scope.child(Kind::TASK, Obligation::EndsWithParent);
        task.set_state(State::Sleep);
        let snapshot = ledger.snapshot();
        let written = profile(&tasks(&snapshot)).finish().encode_to_vec();
        let profile = Profile::decode(written.as_slice()).unwrap();

        let text = |number: i64| profile.string_table[usize::try_from(number).unwrap()].as_str();
        assert_eq!((text(profile.sample_type[0].r#type), text(profile.sample_type[0].unit)), COUNT);
        let [sample] = profile.sample.as_slice() else { panic!("{profile:?}") };
        assert_eq!(sample.value, [1]);
        let labels: Vec<_> = sample.label.iter().map(|l| (text(l.key), text(l.str))).collect();
        let number = task.id().number().to_string();
        assert_eq!(labels, [("kind", "task"), ("state", "sleep"), ("task", number.as_str())]);

        let find = |id: u64| profile.location.iter().find(|l: &&Location| l.id == id).unwrap();
        let called = |id: &u64| {
            let line = find(*id).line[0];
            let function = &profile.function[usize::try_from(line.function_id).unwrap() - 1];
            (text(function.name), text(function.filename), u32::try_from(line.line).unwrap())
        };
        let stack: Vec<_> = sample.location_id.iter().map(called).collect();
        let born = |account: &staunch_ledger::Account| {
            ledger.entry(account.id()).unwrap().born_at().line()
        };
        let (inner, outer) = (born(&task), born(&scope));
        let file = short(file!());
        let names = [format!("task@{file}:{inner}"), format!("scope@{file}:{outer}")];
        assert_eq!(stack, [(&*names[0], file!(), inner), (&*names[1], file!(), outer)]);
    }
}
