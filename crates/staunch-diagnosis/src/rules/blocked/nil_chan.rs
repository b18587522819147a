//! `nil-chan`: a send to or receive from a channel that does not exist.
//!
//! **Proves**: that it never ends: the Go specification says so, and the runtime says that the channel is
//! nil. A send is always a mistake.
//!
//! **Cannot**: tell whether a receive is meant. `<-ctx.Done()` of `context.Background()` is one, and many
//! healthy services have some; a receive is a finding if there is a crowd of them, if they pile up, or if
//! nobody alive has code of the package on a stack. Nor can it say where the channel should be made.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "nil-chan",
    weigh,
    does: "for a channel that is nil, for ever",
    fix: "make the channel before it is used (`make(chan T)`): it is nil",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    let sends = evidence.site.wait().groups[0].state.text.contains("send");
    evidence
        .common(Growth { of_two_looks: 0.9, is_common_in_services: false })
        .proof(true, 0.65, "a nil channel is never ready")
        .proof(sends, 0.97, "and nobody means to send for ever")
        .proof(evidence.out_of_reach, 0.97, OUT_OF_REACH)
        .proof(evidence.site.count() >= CROWD, 0.85, "and there is a crowd of them")
}

/// So many goroutines of one line are no parts of a service that wait for its end.
const CROWD: u64 = 10;
