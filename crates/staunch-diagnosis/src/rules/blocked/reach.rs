//! Who could still wake a task that waits.
//!
//! A dump does not show channels. It shows functions, and who is alive: what runs, sleeps, or waits
//! for the kernel. A task that waits can be woken only by code that knows the same channel or lock,
//! and that code belongs to the same type, the same function, or at least the same package. So
//! *reach* starts at whoever is alive and spreads to whoever shares an owner with them; who is out of
//! reach has nobody left.
//!
//! What reads sockets may next call any handler, so one such task reaches everybody: in a running
//! server nothing is out of reach, and this module alone proves nothing there. What it cannot see
//! either are timers: a channel that a timer sends on has nobody on any stack.

use std::collections::BTreeSet;

use crate::{TaskGroup, Tasks, Waiting, stack};

use super::site::Site;

/// Who is alive at an instant, and whom they may wake.
pub(super) struct Reach {
    everybody: bool,
    packages: BTreeSet<String>,
    main_waits: bool,
}

impl Reach {
    pub(super) fn of(tasks: &Tasks) -> Reach {
        let mut reach = Reach { everybody: false, packages: BTreeSet::new(), main_waits: false };
        if tasks.deadlocked {
            return reach;
        }
        for group in &tasks.groups {
            reach.main_waits |= is_main(group) && !is_running(group);
            if is_alive(group) {
                reach.spread_from(group);
            }
        }
        reach
    }

    /// Whether somebody alive could know what `site` waits for.
    pub(super) fn covers(&self, site: &Site<'_>) -> bool {
        self.everybody
            || site
                .groups()
                .flat_map(|group| stack::own_calls(&group.frames).chain(group.birth.as_ref()))
                .any(|frame| self.packages.contains(stack::package(&frame.function)))
    }

    /// Whether the main task itself waits, as that of a service does, for connections, signals or the
    /// time: then there is somebody who wakes the program, if only a clock.
    pub(super) fn main_waits(&self) -> bool {
        self.main_waits
    }

    fn spread_from(&mut self, group: &TaskGroup) {
        let own: Vec<_> = stack::own_calls(&group.frames).collect();
        let has_own = !own.is_empty();
        self.packages.extend(own.iter().map(|it| stack::package(&it.function).to_owned()));
        let serves = matches!(group.state.waiting, Waiting::Io | Waiting::Syscall);
        self.everybody |= serves || !has_own || is_serving(group);
    }
}

fn is_running(group: &TaskGroup) -> bool {
    matches!(group.state.waiting, Waiting::Running | Waiting::Runnable)
}

/// Whether tasks go on by themselves.
fn is_alive(group: &TaskGroup) -> bool {
    match group.state.waiting {
        Waiting::System => false,
        _ if stack::calls(&group.frames, "os/signal.signal_recv") => false,
        _ if takes_the_dump(group) => is_serving(group),
        // The main task of a test binary waits in `testing` for the test that takes the dump.
        _ if in_package(group, "testing") && group.state.waiting == Waiting::ChanReceive => false,
        waiting => !waiting.is_for_others() || stack::waits_in_library(&group.frames),
    }
}

fn takes_the_dump(group: &TaskGroup) -> bool {
    group.state.waiting == Waiting::Running
        && group.frames.iter().any(|frame| {
            let package = stack::package(&frame.function);
            package == "runtime/pprof"
                || package == "runtime/debug"
                || &*frame.function == "runtime.Stack"
        })
}

/// Whether tasks are called by a server, so that the program has one.
fn is_serving(group: &TaskGroup) -> bool {
    group
        .frames
        .iter()
        .any(|frame| frame.function.contains("/http.") || frame.function.contains("grpc"))
}

fn in_package(group: &TaskGroup, package: &str) -> bool {
    stack::waits_in_library(&group.frames)
        && group.frames.iter().any(|frame| stack::package(&frame.function) == package)
}

pub(super) fn is_main(group: &TaskGroup) -> bool {
    group.birth.is_none() && stack::calls(&group.frames, "main.main")
}
