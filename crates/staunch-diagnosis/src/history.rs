//! Instants of one target, in the order of time, and no more of them than a diagnosis needs.
//!
//! **Invariant.** There are at most [`LOOKS_MAX`] looks, and as few as [`LOOKS_KEPT`] once they hold more
//! than [`MEMBERS_MAX`] goroutines, sockets and sites between them. The first look and the last one are
//! always there; between them goes whichever leaves the smallest gap. So gaps are alike within a factor
//! of three when looks come at an even pace, and slopes and pairs of looks, which have times, stay true.

use std::time::Duration;

use crate::{Heap, Snapshot, Tasks};

/// Slopes and pairs of looks are as sure with these as with any more.
const LOOKS_MAX: usize = 128;
/// Rules that ask for growth want five; with these the half of them is enough.
const LOOKS_KEPT: usize = 10;
/// Some hundred bytes each: half a GiB at most.
const MEMBERS_MAX: usize = 6_000_000;

/// What was seen of one target, instant by instant. However long it is watched, this does not grow
/// without end: looks between the first and the last are thinned out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    instants: Vec<Instant>,
    /// Of all looks together.
    members: usize,
}

/// One look at the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Instant {
    /// When it was taken, from whatever instant the watcher calls zero.
    pub at: Duration,
    /// What was seen.
    pub snapshot: Snapshot,
}

impl History {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> History {
        History::default()
    }

    /// A single look.
    #[must_use]
    pub fn single(snapshot: Snapshot) -> History {
        let members = snapshot.members();
        History { instants: vec![Instant { at: Duration::ZERO, snapshot }], members }
    }

    /// Adds what was seen at `at`, at its place in time: snapshots need not come in order. If that makes
    /// too many, one between the first and the last is given up.
    pub fn add(&mut self, at: Duration, snapshot: Snapshot) {
        let index = self.instants.partition_point(|instant| instant.at <= at);
        self.members += snapshot.members();
        self.instants.insert(index, Instant { at, snapshot });
        while is_too_large(self.instants.len(), self.members) {
            let given_up = self.instants.remove(self.least_missed());
            self.members -= given_up.snapshot.members();
        }
    }

    /// Forgets every other instant of the older half when there are more than `most`: who watches for
    /// ever reaches back ever farther, within bounds, and sees best what is near. The first stays.
    pub fn thin(&mut self, most: usize) {
        if self.instants.len() <= most {
            return;
        }
        let (older, mut number) = (self.instants.len() / 2, 0);
        self.instants.retain(|_| {
            number += 1;
            number > older || number % 2 == 1
        });
        self.members = self.instants.iter().map(|instant| instant.snapshot.members()).sum();
    }

    /// The look that leaves the smallest gap; of several, the earliest. Neither the first nor the last.
    fn least_missed(&self) -> usize {
        let gaps = self.instants.windows(3).map(|around| around[2].at.saturating_sub(around[0].at));
        gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(before, _)| before + 1)
    }

    /// All instants that were kept, in the order of time.
    #[must_use]
    pub fn instants(&self) -> &[Instant] {
        &self.instants
    }

    /// The latest instant.
    #[must_use]
    pub fn last(&self) -> Option<&Instant> {
        self.instants.last()
    }

    /// The tasks at each instant at which a source saw them, in the order of time.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = (Duration, &Tasks)> {
        self.instants.iter().filter_map(|it| Some((it.at, it.snapshot.tasks.as_ref()?)))
    }
}

fn is_too_large(looks: usize, members: usize) -> bool {
    looks > LOOKS_MAX || (looks > LOOKS_KEPT && members > MEMBERS_MAX)
}

impl Snapshot {
    /// How many things it holds something of.
    fn members(&self) -> usize {
        let groups = self.tasks.iter().flat_map(|tasks| &tasks.groups);
        let tasks: usize = groups.map(|group| 1 + group.members.len()).sum();
        let sockets = self.sockets.as_ref().map_or(0, Vec::len);
        let heap = |heap: &Heap| heap.sites.len() + heap.classes.len() + heap.samples.len();
        let heap = self.heap.as_ref().map_or(0, heap);
        tasks + sockets + heap + self.entries.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClassCount, FdCount, Finding, Options, ThreadCount, diagnose};

    /// Looks every 5 s, at each of which one more descriptor is open.
    fn growing(looks: u64) -> History {
        let mut history = History::new();
        for look in 0..looks {
            let fds = vec![FdCount { kind: "file".into(), count: look, oldest: None }];
            let snapshot = Snapshot { fds: Some(fds), ..Snapshot::default() };
            history.add(Duration::from_secs(5 * look), snapshot);
        }
        history
    }

    #[test]
    fn a_long_watch_keeps_few_looks_and_its_trend() {
        let history = growing(10_000);
        let times: Vec<u64> = history.instants().iter().map(|it| it.at.as_secs()).collect();
        assert_eq!(times.len(), LOOKS_MAX);
        assert_eq!((times[0], times[LOOKS_MAX - 1]), (0, 5 * 9_999));
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(most <= &(3 * least), "{gaps:?}");
        let findings = diagnose(&history, &Options::default());
        let [Finding { rule: "fd-growth", evidence, .. }] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert!(evidence[0].starts_with("0.20 more each second"), "{evidence:?}");
    }

    #[test]
    fn a_huge_target_keeps_fewer() {
        assert!(!is_too_large(LOOKS_MAX, MEMBERS_MAX) && is_too_large(LOOKS_MAX + 1, 0));
        assert!(is_too_large(LOOKS_KEPT + 1, MEMBERS_MAX + 1), "it is huge");
        assert!(!is_too_large(LOOKS_KEPT, usize::MAX), "rules still see growth");
    }

    #[test]
    fn what_the_looks_hold_is_counted() {
        let fd = ThreadCount { name: "a".into(), count: 1 };
        let class = ClassCount { name: "A".into(), instances: 1, bytes: 1 };
        let heap = Heap { classes: vec![class; 3], ..Heap::default() };
        let snapshot =
            Snapshot { heap: Some(heap), threads: Some(vec![fd]), ..Snapshot::default() };
        let mut history = History::single(snapshot.clone());
        for look in 0..1000 {
            history.add(Duration::from_secs(look), snapshot.clone());
        }
        assert_eq!(history.members, 3 * LOOKS_MAX, "of those that were given up, nothing is left");
    }

    #[test]
    fn instants_are_in_the_order_of_time() {
        let mut history = History::new();
        for (at, resident) in [(2, 20), (0, 1), (1, 10), (1, 11)] {
            let snapshot = Snapshot { resident: Some(resident), ..Snapshot::default() };
            history.add(Duration::from_secs(at), snapshot);
        }
        let seen: Vec<_> = history.instants().iter().map(|it| it.snapshot.resident).collect();
        assert_eq!(seen, [1, 10, 11, 20].map(Some));
    }

    #[test]
    fn who_watches_for_ever_keeps_the_first_the_latest_and_no_more_than_so_many() {
        let mut history = History::new();
        for at in 0..1000 {
            history.add(Duration::from_secs(at), Snapshot::default());
            history.thin(16);
            assert!(history.instants().len() <= 16);
        }
        let seconds: Vec<u64> = history.instants().iter().map(|it| it.at.as_secs()).collect();
        assert_eq!((seconds[0], seconds.last()), (0, Some(&999)));
        assert_eq!(seconds[seconds.len() - 4..], [996, 997, 998, 999]);
    }
}
