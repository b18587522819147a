//! `select`: a select none of whose channels will be ready.
//!
//! **Proves**: the same as `chan-receive`, for all channels of the select at once.
//!
//! **Cannot**: see which channels they are, nor whether one of them is a timer's, which is common. So a
//! select counts for less than a receive: a single look is proof only if it belongs to a deadlock.

use super::Rule;
use super::chan_receive::weigh_receive;
use super::evidence::Evidence;
use super::score::Score;

pub(super) const RULE: Rule = Rule {
    name: "select",
    weigh,
    does: "in a select of which no channel will be ready",
    fix: "add `case <-ctx.Done(): return` and cancel the context when the work is over (`defer \
          cancel()`), or call the stop function of whoever was started,",
};

fn weigh(evidence: &Evidence<'_>) -> Score {
    weigh_receive(evidence, 0.65)
}
