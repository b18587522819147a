//! Sites: tasks that one line started with one function, followed through all instants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::trend::{Reading, Trend};
use crate::{Frame, History, Member, TaskGroup, Waiting, stack};

/// Tasks of one birth line and one entry function that wait for other tasks, or go on and on.
pub(super) struct Site<'a> {
    pub(super) birth: Option<&'a Frame>,
    pub(super) entry: &'a Frame,
    /// Where they are at the last instant, most of them first.
    pub(super) waits: Vec<WaitPlace<'a>>,
    /// How many there are, instant by instant.
    pub(super) readings: Vec<Reading>,
    /// Who of an earlier instant is at the last.
    pub(super) stay: Stay,
    pub(super) owners: BTreeSet<String>,
}

/// The least part of those seen at an earlier instant that is seen at the last; `None` if nobody was
/// seen earlier, or tasks have no ids.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stay {
    /// Of those that waited: they wait in the same place.
    pub(super) in_place: Option<f64>,
    /// They have not ended.
    pub(super) alive: Option<f64>,
    /// Those that had waited longest went on, and the others wait: somebody serves them.
    pub(super) is_served: bool,
}

/// Tasks of a site that are on the same line for the same reason.
pub(super) struct WaitPlace<'a> {
    pub(super) call: &'a Frame,
    pub(super) waiting: Waiting,
    pub(super) groups: Vec<&'a TaskGroup>,
    pub(super) count: u64,
}

type Key<'a> = (Option<&'a Frame>, &'a str);

/// All sites that have tasks at the last instant.
pub(super) fn sites(history: &History) -> Vec<Site<'_>> {
    let instants: Vec<_> =
        history.tasks().map(|(at, tasks)| (at, by_site(&tasks.groups))).collect();
    let Some((_, last)) = instants.last() else { return Vec::new() };
    last.iter().map(|(key, groups)| site(key, groups, &instants)).collect()
}

type Sites<'a> = BTreeMap<Key<'a>, Vec<&'a TaskGroup>>;

fn by_site(groups: &[TaskGroup]) -> Sites<'_> {
    let mut sites = Sites::new();
    for group in groups.iter().filter(|group| is_of_the_program(group)) {
        if let Some(entry) = stack::entry(&group.frames) {
            sites.entry((group.birth.as_ref(), &entry.function)).or_default().push(group);
        }
    }
    sites
}

/// Whether tasks wait for others of the program, or run, on a line of the program.
fn is_of_the_program(group: &TaskGroup) -> bool {
    let waiting = group.state.waiting;
    (waiting.is_for_others() || is_busy(waiting))
        && !stack::waits_in_library(&group.frames)
        && stack::waiting_call(&group.frames).is_some()
}

/// Whether tasks go on by themselves, and for nobody outside.
pub(super) fn is_busy(waiting: Waiting) -> bool {
    matches!(waiting, Waiting::Running | Waiting::Runnable | Waiting::Sleep)
}

fn site<'a>(
    key: &Key<'a>,
    groups: &[&'a TaskGroup],
    instants: &[(Duration, Sites<'a>)],
) -> Site<'a> {
    let at_instants: Vec<_> = instants
        .iter()
        .map(|(at, sites)| (*at, sites.get(key).map_or(&[][..], Vec::as_slice)))
        .collect();
    // `by_site` has made sure that there is an outermost call.
    let entry = stack::entry(&groups[0].frames).unwrap_or(&groups[0].frames[0]);
    Site {
        birth: key.0,
        entry,
        waits: wait_places(groups),
        readings: at_instants.iter().map(|(at, groups)| (*at, count(groups))).collect(),
        stay: stay(at_instants.iter().map(|(_, groups)| places(groups)).collect()),
        owners: groups.iter().flat_map(|group| stack::owners(group)).collect(),
    }
}

fn wait_places<'a>(groups: &[&'a TaskGroup]) -> Vec<WaitPlace<'a>> {
    let mut places: Vec<WaitPlace<'a>> = Vec::new();
    for &group in groups {
        let Some(call) = stack::waiting_call(&group.frames) else { continue };
        let (waiting, count) = (group.state.waiting, group.count);
        match places.iter_mut().find(|it| it.call == call && it.waiting == waiting) {
            Some(place) => {
                place.count += count;
                place.groups.push(group);
            }
            None => places.push(WaitPlace { call, waiting, groups: vec![group], count }),
        }
    }
    places.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.call.cmp(b.call)));
    places
}

fn count(groups: &[&TaskGroup]) -> u64 {
    groups.iter().map(|group| group.count).sum()
}

/// By id, the line that a task is on, and why.
type Places<'a> = HashMap<u64, (Option<&'a Frame>, Waiting)>;

fn places<'a>(groups: &[&'a TaskGroup]) -> Places<'a> {
    let mut places = Places::new();
    for group in groups {
        let place = (stack::waiting_call(&group.frames), group.state.waiting);
        places.extend(group.members.iter().map(|member| (member.id, place)));
    }
    places
}

fn stay(mut instants: Vec<Places<'_>>) -> Stay {
    let Some(last) = instants.pop() else { return Stay::default() };
    let in_place = |early: &Places<'_>| {
        // Who was still at work has not begun to wait.
        let waited = early.iter().filter(|(_, place)| place.1.is_for_others());
        share(waited, |(id, place)| last.get(id) == Some(place))
    };
    let alive = |early: &Places<'_>| share(early.iter(), |(id, _)| last.contains_key(id));
    Stay {
        in_place: instants.iter().filter_map(in_place).min_by(f64::total_cmp),
        alive: instants.iter().filter_map(alive).min_by(f64::total_cmp),
        is_served: instants.iter().any(|early| is_served(early, &last)),
    }
}

/// Whether of those that waited at an early look some went on, and those were the first: channels and locks
/// serve in the order in which they were asked, and ids rise with births. Whoever is abandoned stays, and
/// who happens to be served beside them came last.
fn is_served(early: &Places<'_>, last: &Places<'_>) -> bool {
    let waited = early.iter().filter(|(_, place)| place.1.is_for_others());
    let (stay, gone): (Vec<_>, Vec<_>) =
        waited.partition(|(id, place)| last.get(id) == Some(place));
    let mut stay: Vec<u64> = stay.into_iter().map(|(id, _)| *id).collect();
    stay.sort_unstable();
    let first = stay.get(stay.len() / 4);
    gone.len() >= SERVED_MIN && first.is_some_and(|first| gone.iter().all(|(id, _)| *id <= first))
}

/// One may have gone on by chance.
const SERVED_MIN: usize = 2;

/// The part of `items` for which `holds`; `None` of none.
fn share<T>(items: impl Iterator<Item = T>, holds: impl Fn(T) -> bool) -> Option<f64> {
    let (mut all, mut held) = (0_u64, 0_u64);
    for item in items {
        all += 1;
        held += u64::from(holds(item));
    }
    (all > 0).then(|| held as f64 / all as f64)
}

impl<'a> Site<'a> {
    /// Where most of them are.
    pub(super) fn wait(&self) -> &WaitPlace<'a> {
        &self.waits[0]
    }

    /// How many there are at the last instant.
    pub(super) fn count(&self) -> u64 {
        self.readings.last().map_or(0, |reading| reading.1)
    }

    /// How many more there are than at the first instant.
    pub(super) fn more(&self) -> u64 {
        let first = self.readings.first().map_or(0, |reading| reading.1);
        self.count().saturating_sub(first)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &'a Member> {
        self.groups().flat_map(|group| &group.members)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &'a TaskGroup> {
        self.waits.iter().flat_map(|place| place.groups.iter().copied())
    }

    /// How long the one that has waited longest has, at least, as the runtime says.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.members().filter_map(|member| member.waited).max()
    }

    /// Whether there are more and more of them, up to the end: a pool that has reached its size does
    /// not grow any more.
    pub(super) fn grows(&self) -> bool {
        let looks = self.readings.len();
        let before = looks.checked_sub(1 + (looks / 3).max(1)).map(|index| self.readings[index].1);
        before.is_some_and(|before| before < self.count())
            && self.more() > 0
            && self.tau() >= TAU_MIN
    }

    /// How sure it is that it grows: 1 if every instant shows more than all before.
    pub(super) fn tau(&self) -> f64 {
        Trend::of(&self.readings).map_or(0.0, |trend| trend.tau)
    }

    /// Whether tasks are told apart by ids.
    pub(super) fn has_ids(&self) -> bool {
        self.members().next().is_some()
    }
}

/// Of ten pairs of instants, at least eight rise and no more than two fall.
const TAU_MIN: f64 = 0.6;
