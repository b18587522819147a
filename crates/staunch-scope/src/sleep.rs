//! Waiting for time to pass.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use staunch_ledger::State;
use tokio::{task::unconstrained, time::Instant};

use crate::{context::Cancelled, frame, wait::Wait};

/// Waits until `delay` has passed.
///
/// # Errors
/// [`Cancelled`] as soon as the task is asked to stop.
///
/// # Cancel safety
/// Cancel safe.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use staunch_scope::{BoxError, Context, scope, sleep};
/// use std::time::Duration;
///
/// let ended = scope(&Context::background(), |s| async move {
///     s.spawn(async {
///         sleep(Duration::from_secs(3600)).await?; // ends at once when asked
///         Ok::<_, BoxError>(())
///     });
///     s.stop();
///     Ok(())
/// });
/// assert!(ended.await.is_ok());
/// # });
/// ```
pub async fn sleep(delay: Duration) -> Result<(), Cancelled> {
    sleep_until(after(delay)).await
}

/// Waits until `deadline`.
///
/// # Errors
/// [`Cancelled`] as soon as the task is asked to stop.
///
/// # Cancel safety
/// Cancel safe.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
pub async fn sleep_until(deadline: Instant) -> Result<(), Cancelled> {
    Wait::until(State::Sleep, tokio::time::sleep_until(deadline)).await
}

/// Runs `work` for at most `limit`; then it is dropped.
///
/// On the ledger the task is in whatever state `work` waits in.
///
/// # Errors
/// [`Cancelled::DeadlineExceeded`] when the time is over; the cause as soon as the task is asked
/// to stop, and then `work` is dropped too: put what must be finished into
/// [`shield`](crate::shield).
///
/// # Cancel safety
/// As cancel safe as `work`.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
pub async fn timeout<F: Future>(limit: Duration, work: F) -> Result<F::Output, Cancelled> {
    let mut wait = Wait::new();
    let mut work = pin!(work);
    // Work that uses up what tokio lets a task do in one turn, in each of them, would keep it from being looked at.
    let mut elapsed = pin!(unconstrained(tokio::time::sleep_until(after(limit))));
    poll_fn(|cx| {
        if let Poll::Ready(cause) = wait.poll_cancelled(cx) {
            return Poll::Ready(Err(cause));
        }
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        frame::with_current(|frame| frame.trail().waits_elsewhere());
        elapsed.as_mut().poll(cx).map(|()| Err(Cancelled::DeadlineExceeded))
    })
    .await
}

/// The moment `delay` from now, or one so far away that it makes no difference.
pub(crate) fn after(delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(30 * 365 * 24);
    Instant::now() + delay.min(FAR)
}
