//! `select-no-cases`: `select {}` in a goroutine that is not main.
//!
//! **Proves**: it never ends, which is what the statement says.
//!
//! **Cannot**: tell whether that is meant. One that never multiplies costs one stack and is let be; two
//! of one line are taken for a leak, since nobody needs the second.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "select-no-cases",
    weigh,
    does: "in `select {}`, for ever",
    fix: "wait for what ends the goroutine, such as `<-ctx.Done()`, instead of `select {}`",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    evidence
        .common(Growth { of_two_looks: 0.8, is_common_in_services: false })
        .proof(true, 0.5, "`select {}` never ends")
        .proof(evidence.site.count() > 1, 0.85, "and there are several of them")
        .proof(evidence.out_of_reach && !evidence.main_waits, 0.85, OUT_OF_REACH)
}
