//! `wait-group`: a wait group that cannot reach zero.
//!
//! **Proves**: `Done` is called by tasks only. If nobody alive has code of the package on a stack, those
//! that should call it wait too or have returned without; if waiters pile up and stay, the same.
//!
//! **Cannot**: read the counter. A main goroutine that waits for its workers is no finding, however long
//! it waits.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "wait-group",
    weigh,
    does: "for a wait group that does not reach zero",
    fix: "call `wg.Add` once for each goroutine before it starts and `defer wg.Done()` first in it, \
          and let none of them block: they are waited for",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    evidence.common(Growth { of_two_looks: 0.8, is_common_in_services: true }).proof(
        evidence.out_of_reach,
        0.9,
        OUT_OF_REACH,
    )
}
