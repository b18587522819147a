//! `endless`: goroutines that go on and on, and become more and more.
//!
//! **Proves**: those that were seen at the first look have not ended at the last, and each look shows
//! more: every call leaves a loop behind that nobody stops.
//!
//! **Cannot**: tell such loops from a pool that grows with its load. So it speaks only of programs whose
//! main goroutine is not that of a service, and only of sleepers that sleep for less than they were
//! watched: a long sleep ends.

use std::time::Duration;

use crate::{Member, TaskGroup, Waiting};

use super::Rule;
use super::evidence::Evidence;
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "endless",
    weigh,
    does: "or work in a loop that nobody ends",
    fix: "end the loop when its work is over (`case <-ctx.Done(): return`, or a `done` channel that is \
          closed)",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    let multiplies = evidence.multiplies && evidence.site.readings.len() >= 3;
    Score::default()
        .proof(
            multiplies && !sleeps_long(evidence),
            0.5 + 0.3 * evidence.site.tau(),
            "more of them at every look, and none has ended",
        )
        .shift(evidence.main_waits, -0.3, "but a pool that grows with its load looks like this")
        .shift(evidence.explained_by_connections, -0.3, "but there are as many more connections")
}

/// Whether most of them sleep for longer than they were watched, or nobody knows for how long.
fn sleeps_long(evidence: &Evidence<'_>) -> bool {
    let watched = match &evidence.site.readings[..] {
        [first, .., last] => last.0.saturating_sub(first.0),
        _ => Duration::ZERO,
    };
    let place = evidence.site.wait();
    let mut sleeps = place
        .groups
        .iter()
        .flat_map(|group| group.members.iter().filter_map(|member| sleep(group, member)));
    place.waiting == Waiting::Sleep && !sleeps.any(|sleep| sleep < watched)
}

/// For how long a member sleeps: `time.Sleep(0xf4240)` is a million nanoseconds.
fn sleep(group: &TaskGroup, member: &Member) -> Option<Duration> {
    let word = member.pointers.iter().find(|word| {
        let frame = group.frames.get(usize::from(word.frame));
        word.argument == 0 && frame.is_some_and(|frame| &*frame.function == "time.Sleep")
    });
    word.map(|word| Duration::from_nanos(word.value))
}
