//! What speaks for a site being a leak.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{History, Tasks, Waiting};

use super::reach::{self, Reach};
use super::score::Score;
use super::site::Site;

/// The facts about a site; each is weighed by the rule for what it waits for.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub(super) struct Evidence<'a> {
    pub(super) site: &'a Site<'a>,
    /// The runtime has found that nobody can go on.
    pub(super) deadlocked: bool,
    /// The collector has found that nobody has a reference to what it waits for.
    pub(super) given_up: bool,
    /// Nobody alive shares a package with it.
    pub(super) out_of_reach: bool,
    /// The main task waits as well.
    pub(super) main_waits: bool,
    /// No two of them were started by one task.
    pub(super) lone: bool,
    /// There have been many births since, and the oldest of them are still here.
    pub(super) reaches_back: bool,
    /// It belongs to another site that waits for what no clock gives.
    pub(super) entangled: bool,
    /// No function of its family is on the stack of a task that is not of the site itself.
    pub(super) forsaken: bool,
    /// There are more and more of them, and those seen earlier still wait in the same place.
    pub(super) piles_up: bool,
    /// There are more and more of them, and those seen earlier have not ended.
    pub(super) multiplies: bool,
    /// There are as many more connections.
    pub(super) explained_by_connections: bool,
    /// How long the oldest has waited, at least.
    pub(super) waited: Duration,
    /// They have come one after another, minutes apart, and all are still here.
    pub(super) trickles: bool,
}

/// The evidence for each site, but for that of the main task.
pub(super) fn gather<'a>(history: &History, sites: &'a [Site<'a>]) -> Vec<Evidence<'a>> {
    let Some((_, tasks)) = history.tasks().next_back() else { return Vec::new() };
    let reach = Reach::of(tasks);
    let connections = connections_more(history);
    let newest = newest(tasks);
    let families = families(tasks);
    let stuck = owners_of(sites.iter().filter(|it| no_clock_helps(it) && !reach.covers(it)));
    let is_suspect = |site: &&'a Site<'a>| tasks.deadlocked || !site.groups().any(reach::is_main);
    sites
        .iter()
        .filter(is_suspect)
        .map(|site| Evidence {
            site,
            deadlocked: tasks.deadlocked,
            given_up: site.wait().groups[0].state.text.ends_with("(leaked)"),
            out_of_reach: !reach.covers(site),
            main_waits: reach.main_waits(),
            lone: is_lone(site),
            reaches_back: reaches_back(site, newest),
            entangled: has_kin(site, &stuck),
            forsaken: is_forsaken(site, &families),
            piles_up: piles_up(site),
            multiplies: site.grows() && site.stay.alive.is_some_and(|it| it >= STAY_MIN),
            explained_by_connections: connections > 0 && connections * 2 >= site.more(),
            waited: site.oldest().unwrap_or_default(),
            trickles: trickles(site),
        })
        .collect()
}

impl Evidence<'_> {
    /// What speaks for a leak whatever the tasks wait for: the runtime's own word, and growth.
    pub(super) fn common(&self, growth: Growth) -> Score {
        let doubts: Vec<_> = self.doubts(growth).into_iter().filter(|doubt| doubt.0).collect();
        let sure = match self.site.readings.len() {
            0..3 => growth.of_two_looks,
            _ => 0.7 + 0.25 * self.site.tau(),
        };
        let sure = doubts.iter().fold(sure, |sure, doubt| sure - doubt.1);
        let score = Score::default()
            .proof(self.deadlocked, 0.99, "the runtime found that no goroutine can go on")
            .proof(self.given_up, 0.97, "the collector found nobody who could still wake it")
            .proof(
                self.piles_up,
                sure,
                "more of them at every look, and those who were there stayed",
            );
        doubts.into_iter().fold(score, |score, doubt| score.shift(self.piles_up, 0.0, doubt.2))
    }

    /// What speaks against growth being a leak: whether it holds, how much it counts, and why.
    fn doubts(&self, growth: Growth) -> [(bool, f64, &'static str); 4] {
        let by_design = growth.is_common_in_services && !self.out_of_reach;
        let looks = self.site.readings.len();
        let weight = if looks < ANONYMOUS_LOOKS { 0.3 } else { 0.1 };
        [
            (
                !self.site.has_ids(),
                weight,
                "but without ids nobody knows whether they are the same",
            ),
            (
                by_design && self.explained_by_connections,
                0.3,
                "but there are as many more connections",
            ),
            (
                by_design && self.site.more() < FEW,
                0.3,
                "but they are few: parts of a service start late, too",
            ),
            (
                self.site.stay.is_served,
                0.4,
                "but those that have waited longest go on, one after the other: they are served, too slowly",
            ),
        ]
    }

    pub(super) fn waited_for(&self, minutes: u64) -> bool {
        self.waited >= Duration::from_mins(minutes)
    }

    pub(super) fn waited_text(&self) -> String {
        format!("the oldest has waited for {} minutes or more", self.waited.as_secs() / 60)
    }
}

/// What growth says of a kind of wait.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    /// How sure growth from one look to the next makes it.
    pub(super) of_two_looks: f64,
    /// Healthy services have such waits: of each connection, or of parts that start when they are needed.
    pub(super) is_common_in_services: bool,
}

/// So many more may be parts of a service that were started during the watch.
const FEW: u64 = 5;

/// Without ids, growth over so many looks is taken for a pile, and over fewer for chance.
const ANONYMOUS_LOOKS: usize = 5;

/// Why nobody can wake what is out of reach.
pub(super) const OUT_OF_REACH: &str = "no goroutine that runs, sleeps or waits for the kernel has \
     code of its package on its stack";

/// Whether only another task, and no timer, can end the wait.
fn no_clock_helps(site: &Site<'_>) -> bool {
    !matches!(site.wait().waiting, Waiting::ChanReceive | Waiting::Select | Waiting::SelectNoCases)
}

/// By owner, the sites that have it.
type Owners<'a> = BTreeMap<&'a str, Vec<&'a Site<'a>>>;

fn owners_of<'a>(sites: impl Iterator<Item = &'a Site<'a>>) -> Owners<'a> {
    let mut owners = Owners::new();
    for site in sites {
        for owner in &site.owners {
            owners.entry(owner).or_default().push(site);
        }
    }
    owners
}

/// Whether another site has an owner of `site`.
fn has_kin(site: &Site<'_>, owners: &Owners<'_>) -> bool {
    let mut kin = site.owners.iter().filter_map(|owner| owners.get(owner.as_str())).flatten();
    kin.any(|other| !std::ptr::eq(site, *other))
}

/// Whether members have waited for so many different numbers of minutes that they came one by one.
fn trickles(site: &Site<'_>) -> bool {
    let ages: BTreeSet<_> =
        site.members().map(|member| member.waited.unwrap_or_default()).collect();
    ages.len() >= AGES_MIN
}

/// Fewer ages may be those of a few bursts.
const AGES_MIN: usize = 4;

fn is_lone(site: &Site<'_>) -> bool {
    let mut creators = BTreeSet::new();
    let mut is_first_of_its = |creator| creators.insert(creator);
    let lone = site.members().filter(|it| it.creator.is_some_and(&mut is_first_of_its)).count();
    site.count() == 1 || lone as u64 == site.count()
}

/// The highest id that was given out so far.
fn newest(tasks: &Tasks) -> u64 {
    tasks.groups.iter().flat_map(|group| &group.members).map(|it| it.id).max().unwrap_or(0)
}

/// Whether the site has members from the first births of the target, though there were many since.
fn reaches_back(site: &Site<'_>, newest: u64) -> bool {
    let oldest = site.members().map(|member| member.id).min();
    site.count() > 1 && newest >= BIRTHS_MIN && oldest.is_some_and(|it| it <= newest / 5)
}

/// From fewer births nothing can be said about how old the first of them is.
const BIRTHS_MIN: u64 = 100;

/// How many tasks have each owner on their stack or started them from it.
fn families(tasks: &Tasks) -> BTreeMap<String, u64> {
    let mut families = BTreeMap::new();
    for group in &tasks.groups {
        for owner in crate::stack::owners(group) {
            *families.entry(owner).or_default() += group.count;
        }
    }
    families
}

/// Whether no other task has an owner of `site` on its stack.
fn is_forsaken(site: &Site<'_>, families: &BTreeMap<String, u64>) -> bool {
    let others = |owner| families.get(owner).copied().unwrap_or(0) > site.count();
    !site.owners.iter().any(others)
}

/// Whether there are more and more, and those who were there have not moved. A task of a server's own
/// loop serves one request after another, so that the same id in the same place may be another wait:
/// of those, the runtime must say that they have waited long, or none at all may have moved.
fn piles_up(site: &Site<'_>) -> bool {
    let stays = match site.stay.in_place {
        Some(share) => share >= STAY_MIN,
        None => !site.has_ids(),
    };
    let is_loop = crate::stack::is_standard(&site.entry.function);
    let none_moved = site.stay.in_place.is_some_and(|share| share >= 1.0)
        && site.readings.len() >= 3
        && site.more() >= FEW;
    site.grows() && stays && (!is_loop || none_moved || site.oldest().is_some())
}

/// Of those that wait, a tenth may be at work at the last look and still be the same crowd.
const STAY_MIN: f64 = 0.9;

/// How many more tasks wait for descriptors at the last instant than at the first.
fn connections_more(history: &History) -> u64 {
    let count = |tasks: &Tasks| -> u64 {
        let waiting = tasks.groups.iter().filter(|it| it.state.waiting == Waiting::Io);
        waiting.map(|group| group.count).sum()
    };
    let counts: Vec<u64> = history.tasks().map(|(_, tasks)| count(tasks)).collect();
    match counts[..] {
        [first, .., last] => last.saturating_sub(first),
        _ => 0,
    }
}
