//! In which order saved files were taken, by what they carry.
//!
//! Thread dumps and profiles say when they were taken. Of goroutine dumps the later one is that in which
//! the same goroutine waits for longer, or that has several with higher ids than any of the other: ids
//! are given out in ascending order, in batches for each processor, so that one or two say nothing
//! (`newproc1` in Go's `runtime/proc.go`). Lists of sockets, class histograms and ledgers carry nothing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use staunch_diagnosis::{Member, Snapshot, Tasks};

use crate::source::file::Saved;

/// So many goroutines that the other dump cannot have seen are no accident.
const NEWER_MIN: usize = 3;

/// Parts of a snapshot, of which each has an order of its own.
const PARTS: [(&str, IsPart); 4] = [
    ("goroutines or threads", |it| it.tasks.is_some()),
    ("heaps or classes", |it| it.heap.is_some()),
    ("sockets", |it| it.sockets.is_some()),
    ("ledgers", |it| it.entries.is_some()),
];

type IsPart = fn(&Snapshot) -> bool;

/// Puts the files of each kind in the order in which they were taken, among the places that they have;
/// and says if that is another one than they were given in, or cannot be known.
pub(super) fn order(files: &mut [(String, Saved)]) -> Vec<String> {
    let mut notes = Vec::new();
    for (what, is_part) in PARTS {
        let of_kind = |(_, it): &&(String, Saved)| is_part(&it.snapshot);
        let places: Vec<usize> =
            (0..files.len()).filter(|at| is_part(&files[*at].1.snapshot)).collect();
        if places.len() < 2 {
            continue;
        }
        let names = |files: &[(String, Saved)]| -> String {
            let names: Vec<&str> = files.iter().filter(of_kind).map(|it| &*it.0).collect();
            names.join(", ")
        };
        match sort(files, &places) {
            Sorted::AsGiven => {}
            Sorted::Anew => notes.push(format!(
                "the files of {what} were not given in the order in which they were taken, which \
                 is: {}",
                names(files)
            )),
            Sorted::Unknown => notes.push(format!(
                "nothing in the files of {what} says when they were taken: they are read as given, \
                 the oldest first: {}",
                names(files)
            )),
        }
    }
    notes
}

/// What came of putting files in order.
enum Sorted {
    AsGiven,
    Anew,
    Unknown,
}

/// By insertion, for there are a few: a file goes before those that are known to be later.
fn sort(files: &mut [(String, Saved)], places: &[usize]) -> Sorted {
    let (mut is_known, mut is_moved) = (false, false);
    for end in 1..places.len() {
        for at in (1..=end).rev() {
            let (before, after) = (places[at - 1], places[at]);
            let order = compare(&files[before].1, &files[after].1);
            is_known |= order.is_some();
            if order != Some(Ordering::Greater) {
                break;
            }
            files.swap(before, after);
            is_moved = true;
        }
    }
    match (is_known, is_moved) {
        (_, true) => Sorted::Anew,
        (true, false) => Sorted::AsGiven,
        (false, false) => Sorted::Unknown,
    }
}

/// Which of two of one kind was taken first; `None` if nothing tells.
fn compare(one: &Saved, other: &Saved) -> Option<Ordering> {
    if let (Some(one), Some(other)) = (one.taken, other.taken) {
        return Some(one.cmp(&other));
    }
    let (one, other) = (one.snapshot.tasks.as_ref()?, other.snapshot.tasks.as_ref()?);
    by_waiting(one, other).or_else(|| by_newest(one, other))
}

/// By those that are in both and wait for whatever they waited for, for longer.
fn by_waiting(one: &Tasks, other: &Tasks) -> Option<Ordering> {
    let waited = |it: &Member| it.waited.unwrap_or(Duration::ZERO);
    let before: HashMap<u64, Duration> = members(one).map(|it| (it.id, waited(it))).collect();
    let (mut longer, mut shorter) = (0_usize, 0_usize);
    for member in members(other) {
        match before.get(&member.id).map(|before| waited(member).cmp(before)) {
            Some(Ordering::Greater) => longer += 1,
            Some(Ordering::Less) => shorter += 1,
            _ => {}
        }
    }
    (longer != shorter).then(|| shorter.cmp(&longer))
}

fn by_newest(one: &Tasks, other: &Tasks) -> Option<Ordering> {
    let newest = |tasks: &Tasks| members(tasks).map(|it| it.id).max();
    let newer = |tasks: &Tasks, than: u64| members(tasks).filter(|it| it.id > than).count();
    let (one_has, other_has) = (newer(one, newest(other)?), newer(other, newest(one)?));
    (one_has.max(other_has) >= NEWER_MIN).then(|| one_has.cmp(&other_has))
}

fn members(tasks: &Tasks) -> impl Iterator<Item = &Member> {
    tasks.groups.iter().flat_map(|group| &group.members)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::source::go::{GoroutineDumpLimits, read_goroutine_dump};

    /// A dump of goroutines with these ids, each of which has waited for so many minutes.
    fn dump(goroutines: &[(u64, u64)]) -> Saved {
        let mut text = String::new();
        for (id, minutes) in goroutines {
            let _ = write!(
                text,
                "goroutine {id} [chan send, {minutes} minutes]:\nmain.f()\n\t/a.go:1\n\n"
            );
        }
        let tasks = read_goroutine_dump(text.as_bytes(), &GoroutineDumpLimits::default()).unwrap();
        Saved { snapshot: Snapshot { tasks: Some(tasks), ..Snapshot::default() }, taken: None }
    }

    fn sockets() -> Saved {
        let snapshot = Snapshot { sockets: Some(Vec::new()), ..Snapshot::default() };
        Saved { snapshot, taken: None }
    }

    #[track_caller]
    fn check(files: Vec<Saved>, expected: &str, note: &str) {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let mut files: Vec<(String, Saved)> = names.into_iter().zip(files).collect();
        let notes = order(&mut files);
        let names: String = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected);
        assert!(notes.len() <= 1 && notes.concat().contains(note), "{notes:?}");
        assert_eq!(notes.is_empty(), note.is_empty(), "{notes:?}");
    }

    #[test]
    fn dumps_given_newest_first_are_turned_round() {
        let (first, then, last) = (dump(&[(7, 1)]), dump(&[(7, 4), (9, 1)]), dump(&[(7, 9)]));
        check(vec![first.clone(), then.clone(), last.clone()], "abc", "");
        check(vec![last, then, first], "cba", "which is: c, b, a");
        let (few, more) = (dump(&[(7, 0)]), dump(&[(7, 0), (30, 0), (31, 0), (32, 0)]));
        check(vec![more.clone(), few.clone()], "ba", "goroutines or threads");
        check(vec![few, more], "ab", "");
    }

    #[test]
    fn one_id_more_says_nothing() {
        check(vec![dump(&[(7, 0), (30, 0)]), dump(&[(7, 0)])], "ab", "nothing in the files");
    }

    #[test]
    fn times_decide_and_other_kinds_keep_their_places() {
        let at = |taken| Saved { taken: Some(taken), ..dump(&[(7, 1)]) };
        check(vec![at(9), sockets(), at(5)], "cba", "goroutines or threads");
        check(vec![sockets(), at(5), sockets()], "abc", "files of sockets");
    }
}
