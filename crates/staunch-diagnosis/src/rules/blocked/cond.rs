//! `cond`: a condition that nobody will signal.
//!
//! **Proves**: `Signal` and `Broadcast` are called by tasks. If nobody alive has code of the package on
//! a stack, nobody is left to call them, or the signal came before the wait and was lost. If waiters pile
//! up and stay, the same.
//!
//! **Cannot**: tell an idle worker that waits for work from a lost one while code of its package is
//! alive: a pool of constant size is no finding.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "cond",
    weigh,
    does: "for a condition that nobody signals",
    fix: "test the condition in a loop under the lock, and signal under the same lock after every \
          change, also when the work ends: the wait is",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    evidence.common(Growth { of_two_looks: 0.7, is_common_in_services: true }).proof(
        evidence.out_of_reach,
        0.85,
        OUT_OF_REACH,
    )
}
