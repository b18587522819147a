//! Goroutines that wait within a library, gathered by where they are from and followed through the looks.
//!
//! What waits for a primitive of the program itself is the matter of `blocked`; here are those whose wait is for a
//! connection, a database or a response. Nobody can say of a single one that it waits for ever. But those who were
//! seen at the first look, and are still there at every later one while more and more join them, are kept by
//! something that does not end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::trend::{Reading, Trend};
use crate::{Frame, History, Kind, TaskGroup, stack};

use super::defect::{Defect, Line};

/// Two looks always differ somehow.
const LOOKS_MIN: usize = 5;
/// A pool that fills up or a few slow calls are fewer.
const GROWTH_MIN: u64 = 8;
/// More than this is no pool that fills up.
const FLOOD_MIN: u64 = 20;
/// Of all pairs of looks, so many more rise than fall; in the second half as well.
const TAU_MIN: f64 = 0.7;
/// Of those seen at any look, so many are there at the last.
const STAY_MIN: f64 = 0.9;

/// Goroutines of one birth, one first function and one line of the program.
pub(super) struct Pile<'a> {
    /// The line that started them.
    pub(super) birth: Option<&'a Frame>,
    /// The innermost line of the program on their stacks.
    pub(super) call: Option<&'a Frame>,
    /// The stack of most of them at the last look.
    pub(super) frames: &'a [Frame],
    /// What most of them wait for, as the runtime says it.
    pub(super) state: &'a str,
    /// How many there are, look by look.
    pub(super) readings: Vec<Reading>,
    oldest: Option<Duration>,
    /// The least part of those seen at an earlier look that is seen at the last.
    stay: f64,
}

/// What tasks of one pile have in common beside their birth and their first function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The innermost line of the program on their stacks.
    Call,
    /// Nothing: they may be anywhere.
    Birth,
}

type Key<'a> = (Option<&'a Frame>, Option<&'a str>, Option<&'a Frame>);
type Look<'a> = (Duration, BTreeMap<Key<'a>, Vec<&'a TaskGroup>>);

/// All piles of tasks that `is_of` chooses and that are there at the last look.
pub(super) fn piles(history: &History, by: By, is_of: fn(&TaskGroup) -> bool) -> Vec<Pile<'_>> {
    let instants = history.instants().iter();
    let looks: Vec<Look<'_>> = instants
        .filter_map(|instant| {
            let tasks = instant.snapshot.tasks.as_ref()?;
            Some((instant.at, by_key(by, tasks.groups.iter().filter(|group| is_of(group)))))
        })
        .collect();
    let Some((_, last)) = looks.last() else { return Vec::new() };
    last.iter().filter_map(|(key, groups)| Pile::of(key, groups, &looks)).collect()
}

fn by_key<'a>(
    by: By,
    groups: impl Iterator<Item = &'a TaskGroup>,
) -> BTreeMap<Key<'a>, Vec<&'a TaskGroup>> {
    let mut keyed = BTreeMap::<Key<'a>, Vec<&'a TaskGroup>>::new();
    for group in groups {
        let entry = stack::entry(&group.frames).map(|it| &*it.function);
        let key = (group.birth.as_ref(), entry, call(by, group));
        keyed.entry(key).or_default().push(group);
    }
    keyed
}

fn call(by: By, group: &TaskGroup) -> Option<&Frame> {
    (by == By::Call).then(|| stack::waiting_call(&group.frames)).flatten()
}

impl<'a> Pile<'a> {
    fn of(key: &Key<'a>, groups: &[&'a TaskGroup], looks: &[Look<'a>]) -> Option<Pile<'a>> {
        let largest = groups.iter().max_by_key(|group| group.count)?;
        let at = |look: &Look<'a>| look.1.get(key).cloned().unwrap_or_default();
        let count = |groups: &[&TaskGroup]| groups.iter().map(|group| group.count).sum();
        let members = groups.iter().flat_map(|group| &group.members);
        Some(Pile {
            birth: key.0,
            call: stack::waiting_call(&largest.frames),
            frames: &largest.frames,
            state: &largest.state.text,
            readings: looks.iter().map(|look| (look.0, count(&at(look)))).collect(),
            oldest: members.filter_map(|member| member.waited).max(),
            stay: stay(groups, &looks.iter().map(at).collect::<Vec<_>>()),
        })
    }

    /// Whether there are more and more of them, and those who were there stayed.
    pub(super) fn grows(&self) -> bool {
        self.grown() >= GROWTH_MIN && self.stay >= STAY_MIN && self.rises()
    }

    /// Whether far more come than go.
    pub(super) fn floods(&self) -> bool {
        self.grown() >= FLOOD_MIN
            && self.grown() * 3 >= self.count()
            && self.stay >= 0.5
            && self.rises()
    }

    fn rises(&self) -> bool {
        let tau = |readings: &[Reading]| Trend::of(readings).map_or(0.0, |trend| trend.tau);
        let later = &self.readings[self.readings.len() / 2..];
        self.readings.len() >= LOOKS_MIN && tau(&self.readings) >= TAU_MIN && tau(later) >= TAU_MIN
    }

    /// How many more there are than at first.
    pub(super) fn grown(&self) -> u64 {
        let first = self.readings.first().map_or(0, |reading| reading.1);
        self.count().saturating_sub(first)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.readings.last().map_or(0, |reading| reading.1)
    }

    /// Whether `function` is on the stack of most of them.
    pub(super) fn calls(&self, function: &str) -> bool {
        stack::calls(self.frames, function)
    }

    /// What is found, with its numbers filled in.
    pub(super) fn defect(&self, rule: &'static str, kind: Kind) -> Defect<'a> {
        let tau = Trend::of(&self.readings).map_or(0.0, |trend| trend.tau);
        Defect {
            confidence: 0.7 + 0.25 * tau,
            readings: self.readings.clone(),
            oldest: self.oldest,
            birth: self.birth.filter(|birth| !stack::is_standard(&birth.function)),
            wait: self.call.map(|call| Line { frame: call, state: self.state }),
            evidence: vec![
                "more of them at every look, and those who were there stayed".to_owned(),
            ],
            owners: self.owners(),
            ..Defect::new(rule, kind)
        }
    }

    fn owners(&self) -> BTreeSet<String> {
        let birth = self.birth.filter(|birth| !stack::is_standard(&birth.function));
        let frames = stack::own_calls(self.frames).chain(birth);
        frames.map(|frame| stack::owner(&frame.function)).collect()
    }
}

fn stay(last: &[&TaskGroup], looks: &[Vec<&TaskGroup>]) -> f64 {
    let ids = |groups: &[&TaskGroup]| -> BTreeSet<(u64, Vec<u64>)> {
        groups.iter().flat_map(|group| identities(group)).collect()
    };
    let last = ids(last);
    let shares = looks.iter().map(|look| ids(look)).filter(|ids| !ids.is_empty());
    let shares = shares.map(|early| early.intersection(&last).count() as f64 / early.len() as f64);
    shares.min_by(f64::total_cmp).unwrap_or(0.0)
}

/// What tells members apart: their ids; and of those that serve one request after another, the request.
fn identities(group: &TaskGroup) -> impl Iterator<Item = (u64, Vec<u64>)> + '_ {
    let serves = group.frames.iter().position(|it| &*it.function == HANDLER);
    group.members.iter().map(move |member| {
        let words = member.pointers.iter().filter(|it| Some(usize::from(it.frame)) == serves);
        (member.id, words.map(|it| it.value).collect())
    })
}

/// The call of `net/http` whose arguments are a request and what answers it.
const HANDLER: &str = "net/http.serverHandler.ServeHTTP";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, Pointer, Snapshot, State, Tasks, Waiting};

    fn handlers(requests: impl Iterator<Item = u64>) -> Tasks {
        let frame =
            |function: &str| Frame { function: function.into(), file: "a.go".into(), line: 7 };
        let word = |value| Pointer { frame: 1, argument: 3, certain: true, value };
        let member =
            |(id, request)| Member { id, pointers: vec![word(request)], ..Member::default() };
        let members: Vec<_> = (1..).zip(requests).map(member).collect();
        let group = TaskGroup {
            state: State { waiting: Waiting::Lock, text: "sync.Mutex.Lock".into() },
            frames: [frame("main.f"), frame(HANDLER), frame("net/http.(*conn).serve")].into(),
            birth: Some(frame("net/http.(*Server).Serve")),
            labels: Vec::new(),
            count: members.len() as u64,
            members,
        };
        Tasks { groups: vec![group], ..Tasks::default() }
    }

    fn grows(look: impl Fn(u64) -> Tasks) -> bool {
        let mut history = History::new();
        for at in 0..6 {
            let snapshot = Snapshot { tasks: Some(look(at)), ..Snapshot::default() };
            history.add(Duration::from_secs(at), snapshot);
        }
        piles(&history, By::Call, |_| true).iter().any(Pile::grows)
    }

    #[test]
    fn more_and_more_of_the_same_requests_are_a_pile() {
        assert!(grows(|at| handlers(0x10_000..0x10_008 + 4 * at)));
    }

    #[test]
    fn a_crowd_that_stays_as_large_or_is_another_one_at_each_look_is_none() {
        assert!(!grows(|_| handlers(0x10_000..0x10_020)), "it does not grow");
        let others = |at: u64| (0x10_000 + at * 1_000)..(0x10_008 + at * 1_004);
        assert!(!grows(|at| handlers(others(at))), "the same goroutines serve other requests");
        let warm = |at: u64| 0x10_000..0x10_008 + 10 * at.min(2);
        assert!(!grows(|at| handlers(warm(at))), "it has stopped growing");
    }
}
