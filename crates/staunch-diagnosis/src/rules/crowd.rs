//! `handler-blocked` and `unbounded-workers`: goroutines of the program that become more and more.
//!
//! **Proves**: more and more requests are on one line of their handlers, each of those that were there still is, and
//! their clients have left: nobody waits for the answer any more (`handler-blocked`). Or one line starts goroutines
//! faster than they end (`unbounded-workers`).
//!
//! **Cannot**: know what they wait for; the rules about goroutines that wait for ever know more, and are heard first.
//! Nor the traffic: workers become more as well where the load rises for as long as it is watched. So connections that
//! become as many more explain either.

use crate::{History, Kind, Severity, TaskGroup, Waiting, stack};

use super::defect::Defect;
use super::pile::{By, Pile, piles};

const SERVE: &str = "net/http.(*conn).serve";

pub(super) fn find(history: &History) -> Vec<Defect<'_>> {
    let connections = connections_more(history);
    let is_explained = |pile: &Pile<'_>| 2 * connections >= pile.grown();
    let handlers = piles(history, By::Call, is_handler);
    let handlers = handlers.iter().filter(|pile| pile.grows() && !is_explained(pile)).map(handler);
    let workers = piles(history, By::Birth, is_worker);
    let workers = workers.iter().filter(|pile| pile.floods() && !is_explained(pile)).map(worker);
    handlers.chain(workers).collect()
}

fn is_handler(group: &TaskGroup) -> bool {
    stack::calls(&group.frames, SERVE) && is_in_program(group)
}

fn is_worker(group: &TaskGroup) -> bool {
    let is_own = |birth: &crate::Frame| !stack::is_standard(&birth.function);
    group.birth.as_ref().is_some_and(is_own) && is_in_program(group)
}

fn is_in_program(group: &TaskGroup) -> bool {
    group.state.waiting != Waiting::Io
        && !stack::waits_in_library(&group.frames)
        && stack::waiting_call(&group.frames).is_some()
}

/// How many more goroutines read from sockets than at first: as many more connections are alive.
fn connections_more(history: &History) -> u64 {
    let count = |instant: &crate::Instant| -> u64 {
        let groups = instant.snapshot.tasks.iter().flat_map(|tasks| &tasks.groups);
        groups.filter(|it| it.state.waiting == Waiting::Io).map(|it| it.count).sum()
    };
    let ends = history.instants().first().zip(history.last());
    ends.map_or(0, |(first, last)| count(last).saturating_sub(count(first)))
}

fn handler<'a>(pile: &Pile<'a>) -> Defect<'a> {
    Defect {
        severity: Severity::Critical,
        what: "requests are stuck on one line, and their clients have left",
        label: "Handler blocked",
        why: "the handler waits for what does not come, and not for its request's context to end",
        fix: "give back on every path what was taken, and wait in a `select` with `case <-r.Context().Done()`",
        ..pile.defect("handler-blocked", Kind::Goroutine)
    }
}

fn worker<'a>(pile: &Pile<'a>) -> Defect<'a> {
    Defect {
        what: "goroutines were started by one line, and more are started than end",
        label: "Workers without bound",
        why: "each call starts a goroutine, however many of them wait already",
        fix: "start a fixed number of workers and hand them the work through a channel with a bound, instead of one goroutine each",
        ..pile.defect("unbounded-workers", Kind::Goroutine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{crowd, found, frames};
    use crate::{State, Tasks};

    /// A handler that goes on with its own timer.
    const STREAM: [&str; 2] = ["main.stream", SERVE];

    fn streams(more: u64) -> History {
        crowd(&STREAM, "net/http.(*Server).Serve", Waiting::ChanReceive, more)
    }

    #[test]
    fn requests_that_their_clients_have_left_are_found() {
        let waits: Vec<_> = found(&streams(5)).into_iter().map(|(_, _, wait)| wait).collect();
        assert_eq!(waits, [Some(1)], "one finding, whichever rule is surest");
        assert_eq!(found(&streams(0)), []);
    }

    #[test]
    fn as_many_more_connections_explain_them() {
        let mut alive = History::new();
        for instant in streams(5).instants() {
            let mut snapshot = instant.snapshot.clone();
            let tasks: &mut Tasks = snapshot.tasks.as_mut().unwrap();
            let mut reading = tasks.groups[0].clone();
            reading.state = State { waiting: Waiting::Io, text: "IO wait".into() };
            reading.frames = frames(&["net/http.(*connReader).backgroundRead"]).into();
            tasks.groups.push(reading);
            alive.add(instant.at, snapshot);
        }
        assert_eq!(found(&alive), []);
    }

    #[test]
    fn workers_that_become_more_and_more_are_found() {
        let workers =
            |more| crowd(&["time.Sleep", "main.send"], "main.serve", Waiting::Sleep, more);
        let found_of = |more| crowd_of(&workers(more));
        assert_eq!(found_of(10), ["unbounded-workers"]);
        assert!(found_of(1).is_empty(), "a pool that fills up");
        assert!(found_of(0).is_empty());
    }

    fn crowd_of(history: &History) -> Vec<&'static str> {
        find(history).iter().map(|defect| defect.rule).collect()
    }
}
