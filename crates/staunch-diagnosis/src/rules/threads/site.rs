//! Sites: threads that wait on one line of the program, followed through all looks.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use crate::{
    Frame, History, Monitor, TaskGroup, Waiting,
    trend::{Reading, Trend},
};

use super::{Explained, stack};

/// From fewer looks nothing is said: two are chance.
const LOOKS_MIN: usize = 3;
/// So many more than at first are no coincidence.
const MORE_MIN: u64 = 4;
/// Of ten pairs of looks, at least eight rise and no more than two fall.
const TAU_MIN: f64 = 0.6;
/// Of those who were there, so many still are.
const STAY_MIN: f64 = 0.9;

/// Threads that wait for other threads on one line of the program.
pub(super) struct Site<'a> {
    pub(super) call: &'a Frame,
    pub(super) waiting: Waiting,
    /// Who is there at the last look.
    pub(super) groups: Vec<&'a TaskGroup>,
    /// How many there were, look by look.
    pub(super) readings: Vec<Reading>,
    /// The least part of those of an earlier look that is there at the last.
    stay: f64,
    /// From the first look at which one of the last was there, to the last.
    pub(super) oldest: Duration,
}

type Key<'a> = (&'a Frame, Waiting);
type Sites<'a> = BTreeMap<Key<'a>, Vec<&'a TaskGroup>>;

/// All sites with threads at the last look, those in `explained` left out.
pub(super) fn sites<'a>(history: &'a History, explained: &Explained) -> Vec<Site<'a>> {
    let looks: Vec<(Duration, Sites<'a>)> = history
        .instants()
        .iter()
        .filter_map(|look| Some((look.at, look.snapshot.tasks.as_ref()?)))
        .map(|(at, tasks)| (at, by_line(&tasks.groups)))
        .collect();
    let Some((_, last)) = looks.last() else { return Vec::new() };
    let is_open = |groups: &[&TaskGroup]| ids(groups).iter().any(|id| !explained.contains(id));
    let open = last.iter().filter(|(_, groups)| is_open(groups));
    open.map(|(key, groups)| site(*key, groups, &looks)).collect()
}

fn by_line(groups: &[TaskGroup]) -> Sites<'_> {
    let mut sites = Sites::new();
    for group in groups {
        let waiting = group.state.waiting;
        if (waiting.is_for_others() || waiting == Waiting::Other)
            && let Some(call) = stack::own_call(&group.frames)
        {
            sites.entry((call, waiting)).or_default().push(group);
        }
    }
    sites
}

fn site<'a>(key: Key<'a>, groups: &[&'a TaskGroup], looks: &[(Duration, Sites<'a>)]) -> Site<'a> {
    let at_looks: Vec<(Duration, HashSet<u64>)> = looks
        .iter()
        .map(|(at, sites)| (*at, ids(sites.get(&key).map_or(&[][..], Vec::as_slice))))
        .collect();
    let now = ids(groups);
    let earlier = || at_looks.iter().filter(|(_, there)| !there.is_empty());
    let share = |there: &HashSet<u64>| there.intersection(&now).count() as f64 / there.len() as f64;
    let end = at_looks.last().map_or(Duration::ZERO, |(at, _)| *at);
    let since = earlier().find(|(_, there)| !there.is_disjoint(&now)).map_or(end, |(at, _)| *at);
    Site {
        call: key.0,
        waiting: key.1,
        groups: groups.to_vec(),
        readings: at_looks.iter().map(|(at, there)| (*at, there.len() as u64)).collect(),
        stay: earlier().map(|(_, there)| share(there)).fold(1.0, f64::min),
        oldest: end.saturating_sub(since),
    }
}

fn ids(groups: &[&TaskGroup]) -> HashSet<u64> {
    groups.iter().flat_map(|group| &group.members).map(|member| member.id).collect()
}

impl Site<'_> {
    /// There are more and more, and those who were there still are.
    pub(super) fn piles_up(&self) -> bool {
        let (first, now) = (self.readings.first(), self.count());
        let more = now.saturating_sub(first.map_or(0, |reading| reading.1));
        self.readings.len() >= LOOKS_MIN
            && more >= MORE_MIN
            && self.stay >= STAY_MIN
            && Trend::of(&self.readings).is_some_and(|trend| trend.tau >= TAU_MIN)
    }

    /// How sure it is that they wait for ever: more looks leave less to chance.
    pub(super) fn confidence(&self) -> f64 {
        let tau = Trend::of(&self.readings).map_or(0.0, |trend| trend.tau);
        let looks = if self.readings.len() < 5 { 0.75 } else { 0.8 };
        looks + 0.15 * tau
    }

    pub(super) fn count(&self) -> u64 {
        self.readings.last().map_or(0, |reading| reading.1)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = u64> {
        self.groups.iter().flat_map(|group| &group.members).map(|member| member.id)
    }

    /// The objects for which they wait.
    pub(super) fn objects(&self) -> HashSet<u64> {
        let members = self.groups.iter().flat_map(|group| &group.members);
        let pointers = members.flat_map(|member| &member.pointers);
        let waits = pointers.filter(|it| Monitor::of(it).is_some_and(|it| it != Monitor::Held));
        waits.map(|pointer| pointer.value).collect()
    }

    /// How many more come in a minute.
    pub(super) fn forecast(&self) -> Option<String> {
        let trend = Trend::of(&self.readings).filter(|trend| trend.slope > 0.0)?;
        let tenfold = trend.reaches(self.count(), self.count().saturating_mul(10))?;
        let (pace, span) = (trend.slope * 60.0, crate::rules::span(tenfold));
        Some(format!("{pace:.0} more a minute: ten times as many in {span}"))
    }

    /// What speaks for it.
    pub(super) fn evidence(&self) -> Vec<String> {
        let counts: Vec<String> = self.readings.iter().map(|it| it.1.to_string()).collect();
        vec![
            format!(
                "more of them from look to look, and {:.0} % of those who were there still are",
                self.stay * 100.0
            ),
            format!("count over time: {}", counts.join(" ")),
        ]
    }
}
