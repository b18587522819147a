//! `semaphore`: a semaphore of the runtime that is not given back.
//!
//! **Proves**: as `lock`, of a wait whose frames do not tell what it is for.
//!
//! **Cannot**: say whether it is a lock, a wait group or something else.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "semaphore",
    weigh,
    does: "for a semaphore that is never given back",
    fix: "give back what is acquired on every path: it is waited for",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    evidence.common(Growth { of_two_looks: 0.75, is_common_in_services: false }).proof(
        evidence.out_of_reach,
        0.75,
        OUT_OF_REACH,
    )
}
