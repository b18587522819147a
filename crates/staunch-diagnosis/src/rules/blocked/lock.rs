//! `lock`: a lock that is never given back.
//!
//! **Proves**: a lock is given back by a task and by nothing else. If nobody alive has code of the
//! package on a stack, whoever holds it waits too (a cycle, or the task itself: a double lock) or has
//! returned without giving it back. If those who wait for it pile up and stay, or have waited for many
//! minutes, it is held for ever or as good as that.
//!
//! **Cannot**: see who holds a lock; a dump shows who waits. So one lock that is waited for briefly in
//! a running server is contention, and no finding.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "lock",
    weigh,
    does: "for a lock that is never given back",
    fix: "take locks in one order everywhere, never twice, and give back with `defer mu.Unlock()` \
          what is taken",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    evidence
        .common(Growth { of_two_looks: 0.8, is_common_in_services: false })
        .proof(evidence.out_of_reach, 0.9, OUT_OF_REACH)
        .proof(evidence.waited_for(5), 0.8, evidence.waited_text())
        .shift(evidence.waited_for(15), 0.1, "which is longer than any critical section")
}
