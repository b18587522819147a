//! A wait: what every await of ours that can block holds and polls through.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context as Poller, Poll, Waker},
};

use pin_project_lite::pin_project;
use staunch_ledger::State;

use crate::{
    context::Cancelled,
    frame::{self, Frame},
};

/// One wait of an own await: what every future of ours that can block holds and polls through.
///
/// It makes the await cancellable at every poll, level-triggered, and shows on the ledger what
/// the task waits for. Outside a scope it does nothing.
///
/// # Examples
/// ```
/// use staunch_scope::{State, Wait};
/// use std::{future::poll_fn, task::Poll};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut wait = Wait::new();
/// let answer = poll_fn(|cx| wait.poll(cx, State::Read, |_cx| Poll::Ready(42))).await;
/// assert_eq!(answer, Ok(42));
/// # });
/// ```
#[derive(Debug, Default)]
pub struct Wait {
    /// Boxed, since it is seldom there, and a wait is in everything that waits.
    nested: Option<Box<Registration>>,
}

impl Wait {
    /// A wait that has not begun.
    pub const fn new() -> Wait {
        Wait { nested: None }
    }

    /// Polls `operation` unless the running task has been asked to stop. While it is pending,
    /// the ledger shows the task in `state`.
    ///
    /// # Errors
    /// [`Cancelled`] at every poll once the task has been asked to stop.
    #[inline]
    pub fn poll<T>(
        &mut self,
        cx: &mut Poller<'_>,
        state: State,
        operation: impl FnOnce(&mut Poller<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Cancelled>> {
        if let Poll::Ready(cause) = self.poll_cancelled(cx) {
            return Poll::Ready(Err(cause));
        }
        let polled = operation(cx);
        if polled.is_pending() {
            frame::with_current(|frame| frame.waits_in(state));
        }
        polled.map(Ok)
    }

    /// Ready once the running task has been asked to stop. Registers for that.
    #[inline]
    pub fn poll_cancelled(&mut self, cx: &mut Poller<'_>) -> Poll<Cancelled> {
        let asked = frame::with_current_unshielded(|frame| {
            if let Some(cause) = frame.asked() {
                return Some(cause);
            }
            if frame.is_root(cx.waker()) {
                return None;
            }
            self.register(frame, cx.waker());
            frame.asked() // between the look and the registration
        });
        asked.flatten().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits for `operation` in `state`.
    pub(crate) async fn until<F: Future>(
        state: State,
        operation: F,
    ) -> Result<F::Output, Cancelled> {
        let mut wait = Wait::new();
        let mut operation = pin!(operation);
        poll_fn(|cx| wait.poll(cx, state, |cx| operation.as_mut().poll(cx))).await
    }

    #[cold]
    fn register(&mut self, frame: &Arc<Frame>, waker: &Waker) {
        let same = |known: &&Registration| std::ptr::eq(known.frame.as_ptr(), Arc::as_ptr(frame));
        let key = self.nested.as_deref().filter(same).map(|known| known.key);
        let registered = frame.register(key, waker);
        if key != Some(registered) {
            let frame = Arc::downgrade(frame);
            self.nested = Some(Box::new(Registration { frame, key: registered }));
        }
    }
}

/// A waker registered with a frame, until this is dropped.
struct Registration {
    frame: Weak<Frame>,
    key: u64,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key.fmt(f)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.upgrade() {
            frame.unregister(self.key);
        }
    }
}

/// Runs `work` to its end even if its task is asked to stop meanwhile: for what must not be
/// left half done. It is still dropped when the grace is over. Meanwhile [`Context::current`] is
/// one that nobody cancels, so scopes within it run to their end too.
///
/// [`Context::current`]: crate::Context::current
///
/// # Cancel safety
/// As cancel safe as `work`.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, scope, shield, sleep};
/// use std::time::Duration;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ended = scope(&Context::background(), |s| async move {
///     s.stop();
///     assert!(sleep(Duration::from_millis(1)).await.is_err());
///     shield(sleep(Duration::from_millis(1))).await?; // says goodbye
///     Ok::<_, BoxError>(())
/// });
/// assert!(ended.await.is_ok());
/// # });
/// ```
pub fn shield<F: Future>(work: F) -> Shield<F> {
    Shield { work }
}

pin_project! {
    /// Shielded work; made by [`shield`].
    #[derive(Debug)]
    #[must_use = "nothing is done until it is awaited"]
    pub struct Shield<F> {
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Shield<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<F::Output> {
        let _shielded = frame::enter_shield();
        self.project().work.poll(cx)
    }
}
