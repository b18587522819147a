//! `chan-send`: a send that nobody will receive.
//!
//! **Proves**: no timer, signal or descriptor receives from a channel; only a task does. If nobody
//! alive has code of the sender's package on a stack, nobody is left who could. If senders pile up and
//! stay, come one after another over minutes with none served, or have waited for minutes while nobody
//! of their family is on any other stack, the receiver has returned early.
//!
//! **Cannot**: tell a receiver that is slow from one that is gone while code of its package is alive
//! and the senders are few; see a receiver that is reached through an interface of another package.

use super::Rule;
use super::evidence::{Evidence, Growth, OUT_OF_REACH};
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "chan-send",
    weigh,
    does: "to send to a channel from which nobody receives",
    fix: "give the channel room for what is sent once (`make(chan T, 1)`), or send in a `select` \
          with `case <-ctx.Done()`,",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    let several = evidence.site.count() >= SEVERAL;
    let aged = evidence.forsaken && evidence.waited_for(1) && several;
    let trickles = evidence.trickles && evidence.waited_for(5) && several;
    // A queue in front of a busy receiver is served within a minute.
    let is_common_in_services = !evidence.waited_for(1);
    evidence
        .common(Growth { of_two_looks: 0.8, is_common_in_services })
        .proof(evidence.out_of_reach, 0.9, OUT_OF_REACH)
        .proof(aged, 0.8, evidence.waited_text())
        .proof(trickles, 0.8, "they came one after another over minutes, and none was served")
}

/// One or two senders that wait for long may be sources that nobody asks at the moment.
const SEVERAL: u64 = 3;
