//! `allocation-rate`: what is allocated again and again, though nothing of it is kept.
//!
//! **Proves**: a line takes memory in pieces of [`PIECE_MIN`] or more, [`PACE_MIN`] a second: as a rule a whole file or
//! body, where one line at a time would do.
//!
//! **Cannot**: know that the whole is not needed. So it is a warning.

use std::collections::BTreeMap;

use crate::{Frame, HeapSite, History, Kind, Severity, stack};

use super::defect::Defect;
use super::retained::{ends, origin};

/// A piece so large is a whole something.
const PIECE_MIN: u64 = 1 << 20;
/// So many bytes a second keep the collector busy.
const PACE_MIN: f64 = 16.0 * (1 << 20) as f64;

/// What a line has allocated by one stack between the two heaps.
#[derive(Default)]
pub(super) struct Made {
    pub(super) bytes: u64,
    pub(super) objects: u64,
}

pub(super) fn find(history: &History) -> Vec<Defect<'_>> {
    let made = made(history);
    let seconds = seconds(history);
    made.iter().filter_map(|(frames, made)| rate(frames, made, seconds)).collect()
}

/// The time between the two heaps.
pub(super) fn seconds(history: &History) -> f64 {
    let with_heap = |it: &&crate::Instant| it.snapshot.heap.is_some();
    let mut instants = history.instants().iter().filter(with_heap);
    let (first, last) = (instants.next(), instants.next_back());
    let (Some(first), Some(last)) = (first, last) else { return 0.0 };
    last.at.saturating_sub(first.at).as_secs_f64()
}

/// By stack.
pub(super) fn made(history: &History) -> BTreeMap<&[Frame], Made> {
    let mut made = BTreeMap::<&[Frame], Made>::new();
    let Some((first, last)) = ends(history) else { return made };
    let add = |made: &mut Made, site: &HeapSite| {
        made.bytes += site.allocated_bytes;
        made.objects += site.allocated_objects;
    };
    last.sites.iter().for_each(|site| add(made.entry(&site.frames).or_default(), site));
    for site in &first.sites {
        if let Some(made) = made.get_mut(&*site.frames) {
            made.bytes = made.bytes.saturating_sub(site.allocated_bytes);
            made.objects = made.objects.saturating_sub(site.allocated_objects);
        }
    }
    made
}

fn rate<'a>(frames: &'a [Frame], made: &Made, seconds: f64) -> Option<Defect<'a>> {
    let (_, line) = origin(frames)?;
    let is_large = made.objects > 0 && made.bytes / made.objects >= PIECE_MIN;
    let pace = made.bytes as f64 / seconds.max(1.0);
    (seconds > 0.0 && is_large && pace >= PACE_MIN).then(|| Defect {
        severity: Severity::Warning,
        confidence: 0.75,
        birth: Some(line),
        what: "pieces of a MiB or more are allocated all the time",
        label: "Allocation rate",
        why: "the whole of something is taken into memory at once, and thrown away",
        fix: "read it piece by piece (`bufio.Scanner`, `io.Copy`), or use one buffer again and again",
        evidence: vec![format!("{:.0} MiB a second", pace / f64::from(1 << 20))],
        owners: stack::own_calls(frames).map(|it| stack::owner(&it.function)).collect(),
        ..Defect::new("allocation-rate", Kind::Memory)
    })
}

#[cfg(test)]
mod tests {
    use crate::rules::testing::{found, heap};

    #[test]
    fn large_pieces_at_a_high_rate_are_a_warning() {
        let whole = heap(&["os.ReadFile", "main.count"], 100, 1, 4 << 20);
        assert_eq!(found(&whole), [("allocation-rate", Some(2), None)]);
        assert_eq!(found(&heap(&["os.ReadFile", "main.count"], 10, 1, 4 << 20)), [], "rare");
        assert_eq!(found(&heap(&["main.count"], 100_000, 1, 4 << 10)), [], "small pieces");
    }
}
