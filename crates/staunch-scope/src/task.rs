//! The future that runs a child: everything that happens around one poll of it.
//!
//! A poll stamps the ledger, makes the frame current, polls the child, and reports a poll that
//! held its worker too long. The end of the child, by value, error, panic or force, is told to
//! the scope after the child's destructor has run and before its frame leaves.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use staunch_ledger::{Entry, Kind, Ledger, Observation, Stamp, State};
use tokio::time::Sleep;

use crate::{
    frame::{self, BEGINS, Frame, Signal},
    trail,
};

/// A poll longer than this holds up every other task of its worker, and is reported.
pub const BLOCKED_WORKER: Duration = Duration::from_millis(100);

/// How a child ended.
pub(crate) enum Outcome<T> {
    Ended(T),
    Panicked(Box<dyn Any + Send>),
    Forced,
}

pin_project! {
    /// Fields drop in this order: the child first, its frame last.
    pub(crate) struct Task<F, S> {
        #[pin]
        child: Option<F>,
        sink: Option<S>,
        reaper: Option<Pin<Box<Sleep>>>,
        frame: Option<Arc<Frame>>,
    }
}

impl<F, S> Task<F, S>
where
    F: Future,
    S: FnOnce(Outcome<F::Output>),
{
    pub(crate) fn new(frame: Arc<Frame>, child: F, sink: S) -> Task<F, S> {
        Task { child: Some(child), sink: Some(sink), reaper: None, frame: Some(frame) }
    }

    /// The first poll, before the task is one of the runtime's. Nothing wakes it: it is polled again as soon
    /// as it is one.
    pub(crate) fn begin(self: Pin<&mut Self>, ledger: Ledger) -> Poll<()> {
        frame::lend(ledger, || self.turn(&mut Poller::from_waker(BEGINS)))
    }

    /// One poll, and what happens around it.
    fn turn(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(frame) = this.frame.as_ref() else { return Poll::Ready(()) };
        let forced = frame.signal() == Signal::Forced;
        let begun = frame.account().begin_poll();
        let is_probe = frame.trail().begin_poll();

        let polling = frame::enter(this.frame);
        let child = this.child.as_mut().as_pin_mut();
        let outcome = match forced {
            true => Some(Outcome::Forced),
            false if is_probe => trail::poll_as_probe(cx, |cx| poll_child(child, cx)),
            false => poll_child(child, cx),
        };
        let outcome = outcome.map(|outcome| drop_child(this.child, outcome));
        let lent = frame::lent();
        drop(polling);

        paused(this.frame.as_ref(), begun, lent);
        let Some(outcome) = outcome else { return Poll::Pending };
        if let Some(sink) = this.sink.take() {
            sink(outcome);
        }
        *this.frame = None;
        Poll::Ready(())
    }
}

impl<F, S> Future for Task<F, S>
where
    F: Future,
    S: FnOnce(Outcome<F::Output>),
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        if let Some(frame) = this.frame.as_ref() {
            if !BEGINS.will_wake(cx.waker()) {
                frame.set_root(cx.waker()); // before the signal is read
            }
            reap_when_due(frame, this.reaper, cx);
        }
        self.turn(cx)
    }
}

/// One poll of the child; `None` while it is pending.
fn poll_child<F: Future>(
    child: Option<Pin<&mut F>>,
    cx: &mut Poller<'_>,
) -> Option<Outcome<F::Output>> {
    let child = child?;
    match catch_unwind(AssertUnwindSafe(|| child.poll(cx))) {
        Ok(Poll::Pending) => None,
        Ok(Poll::Ready(output)) => Some(Outcome::Ended(output)),
        Err(payload) => Some(Outcome::Panicked(payload)),
    }
}

/// Runs the child's destructor; a panic in it becomes the outcome.
fn drop_child<F: Future>(
    mut child: Pin<&mut Option<F>>,
    outcome: Outcome<F::Output>,
) -> Outcome<F::Output> {
    match catch_unwind(AssertUnwindSafe(|| child.set(None))) {
        Ok(()) => outcome,
        Err(payload) => Outcome::Panicked(payload),
    }
}

/// The poll is over: corrects the state, and reports it if it took too long.
fn paused(frame: Option<&Arc<Frame>>, begun: Stamp, lent: Duration) {
    let Some(frame) = frame else { return };
    let account = frame.account();
    if account.state() == State::Running {
        account.set_state(State::Waiting);
    }
    let ledger = account.ledger();
    let held = ledger.now().since(begun).saturating_sub(lent);
    if held > BLOCKED_WORKER {
        report_blocked(frame, held);
    }
}

#[cold]
fn report_blocked(frame: &Frame, held: Duration) {
    let ledger = frame.account().ledger();
    let Some(entry) = ledger.entry(frame.account().id()) else { return };
    tracing::warn!(born_at = %entry.born_at(), ?held, "a task held its worker: use Scope::blocking for work that blocks");
    observe_blocked(ledger, &entry, format_args!("one poll held its worker for {held:?}"));
}

/// Notes a poll that takes, or took, too long.
pub(crate) fn observe_blocked(ledger: Ledger, task: &Entry, what: fmt::Arguments<'_>) {
    ledger.observe(Observation {
        rule: "blocked-worker",
        kind: Kind::TASK,
        born_at: task.born_at(),
        text: format!(
            "{what} (limit {BLOCKED_WORKER:?}); use Scope::blocking for work that blocks"
        ),
        at: ledger.now(),
    });
}

/// A child whose scope is gone ends itself: by force, once the grace is over.
pub(crate) fn reap_when_due(
    frame: &Frame,
    reaper: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Poller<'_>,
) {
    if frame.signal() == Signal::Asked {
        let _ = poll_reaper(frame, reaper, cx);
    }
}

fn poll_reaper(
    frame: &Frame,
    reaper: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Poller<'_>,
) -> Poll<()> {
    let Some(due) = frame.members().reap_at() else { return Poll::Pending };
    let sleep = reaper.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
    ready!(sleep.as_mut().poll(cx));
    frame.members().force_one(frame);
    Poll::Ready(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around a child of 48 bytes it just fits a size of the allocator; every idle connection has one.
    #[test]
    fn a_task_is_small() {
        type Child = std::future::Ready<[u64; 5]>; // and whether it was taken
        type Sink = fn(Outcome<[u64; 5]>);
        let around = size_of::<Task<Child, Sink>>() - size_of::<Child>() - size_of::<Sink>();
        assert!(around <= 16, "{around} bytes");
    }
}
