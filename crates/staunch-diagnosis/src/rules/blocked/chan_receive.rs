//! `chan-receive`: a receive on a channel on which nobody will send, and that nobody will close.
//!
//! **Proves**: if nobody alive has code of the receiver's package on a stack, no task is left that
//! could send or close. If receivers pile up and stay from look to look, whoever should send has
//! returned early, forgot to close, or was never started; `for range` over such a channel waits for its
//! close, and `<-ctx.Done()` for a cancel that never comes.
//!
//! **Cannot**: see timers. `<-time.After(d)` looks just like `<-ch`, so many receivers that were
//! started together may all be waiting for a clock; one look is taken for proof only of those that wait
//! alone, belong to a deadlock, or are the survivors of many births. In a running server a single look
//! proves nothing: daemons wait so by design.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "chan-receive",
    weigh,
    does: "to receive from a channel on which nobody sends and that nobody closes",
    fix: "have whoever sends close the channel on every path (`defer close(ch)`), or receive in a \
          `select` with `case <-ctx.Done()`,",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    weigh_receive(evidence, 0.8)
}

/// The evidence for a wait that a timer may end: `alone` is what a single task out of reach is
/// worth.
pub(super) fn weigh_receive(evidence: &Evidence<'_>, alone: f64) -> Score {
    let Evidence { out_of_reach, entangled, piles_up, .. } = *evidence;
    let crowd = !evidence.lone && !evidence.reaches_back && !entangled && !piles_up;
    let of_two_looks = if out_of_reach { 0.8 } else { 0.65 };
    evidence
        .common(Growth { of_two_looks, is_common_in_services: true })
        .proof(out_of_reach, alone, OUT_OF_REACH)
        .shift(out_of_reach && entangled, 0.2, "it belongs to others whom no clock helps")
        .shift(evidence.waited_for(1), 0.1, evidence.waited_text())
        .shift(crowd, -0.25, "but many that were started together may wait for one clock")
        .shift(
            out_of_reach && evidence.main_waits,
            -0.25,
            "but the main goroutine waits as that of a service does",
        )
}
