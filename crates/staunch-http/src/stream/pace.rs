//! When a stream must give a sign of life, and when it is over. One timer for all three.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::StreamLimits;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Heartbeat,
    /// Nothing was made for too long.
    Idle,
    /// It has lived for as long as it may.
    Lifetime,
}

#[derive(Debug)]
pub(super) struct Pace {
    heartbeat: Option<Duration>,
    idle: Duration,
    /// `None`: further away than the clock can tell.
    end: Option<Instant>,
    /// When something was sent last, a sign of life included.
    sent: Instant,
    /// When something was made last.
    made: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(limits: &StreamLimits, has_heartbeat: bool) -> Pace {
        let now = Instant::now();
        Pace {
            heartbeat: has_heartbeat.then_some(limits.heartbeat),
            idle: limits.idle,
            end: now.checked_add(limits.lifetime),
            sent: now,
            made: now,
            timer: None,
        }
    }

    /// Something was made, and is sent; whether it may still be.
    pub(super) fn made(&mut self) -> bool {
        self.made = Instant::now();
        self.sent = self.made;
        !self.is_over(self.made)
    }

    /// Whether it has lived for as long as it may.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    /// A sign of life was sent.
    pub(super) fn beaten(&mut self) {
        self.sent = Instant::now();
    }

    /// When something is due next, and what. The end comes first.
    fn next(&self) -> Option<(Instant, Due)> {
        let end = self.end.map(|end| (end, Due::Lifetime));
        let idle = self.made.checked_add(self.idle).map(|at| (at, Due::Idle));
        let beat = self.heartbeat.and_then(|beat| self.sent.checked_add(beat));
        let beat = beat.map(|at| (at, Due::Heartbeat));
        [end, idle, beat].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Ready when something is due. The timer is set again only when it rings: every piece moves what
    /// is next, and always away.
    pub(super) fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<Due> {
        loop {
            let Some((at, due)) = self.next() else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            ready!(timer.as_mut().poll(cx));
            if at <= Instant::now() {
                return Poll::Ready(due);
            }
            timer.as_mut().reset(at);
        }
    }
}
