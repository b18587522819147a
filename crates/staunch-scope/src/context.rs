//! What work carries with it: its deadline, whether it is still wanted, its trace id, values.
//!
//! A context is made from another one and can only narrow it: a child's deadline is the minimum
//! of its own and its parent's, and cancelling a parent cancels every child. Nothing runs for a
//! context: a deadline is looked at, or slept for by whoever waits, so a context that nobody
//! waits on costs only its memory.

use std::{
    any::{Any, TypeId},
    fmt,
    future::{Future, pending, poll_fn},
    iter,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{task::unconstrained, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{frame, trace::TraceId, wait::Wait};

/// Deadline, cancellation, trace id and values of a piece of work, as Go's `context.Context`.
/// Cloning is cheap.
///
/// # Examples
/// ```
/// use staunch_scope::Context;
/// use std::time::Duration;
///
/// let (context, cancel) = Context::background().with_cancel();
/// let request = context.with_timeout(Duration::from_secs(5));
/// assert!(request.remaining().unwrap() <= Duration::from_secs(5));
/// drop(cancel);
/// assert!(request.is_cancelled());
/// ```
#[derive(Clone)]
pub struct Context(Arc<Node>);

struct Node {
    /// Shared by all that are cancelled together; cloning the token itself takes a lock. `None` when
    /// nobody can cancel it.
    token: Option<Arc<CancellationToken>>,
    deadline: Option<Instant>,
    trace: TraceId,
    values: Option<Arc<Binding>>,
}

/// Values are few and looked up seldom: a list.
struct Binding {
    of: TypeId,
    value: Arc<dyn Any + Send + Sync>,
    rest: Option<Arc<Binding>>,
}

/// The values but that of a type: a list has no more than there are types.
fn without(values: Option<Arc<Binding>>, of: TypeId) -> Option<Arc<Binding>> {
    let each = || iter::successors(values.as_deref(), |binding| binding.rest.as_deref());
    if each().all(|binding| binding.of != of) {
        return values;
    }
    each().filter(|binding| binding.of != of).fold(None, |rest, binding| {
        let value = Arc::clone(&binding.value);
        Some(Arc::new(Binding { of: binding.of, value, rest }))
    })
}

impl Node {
    fn end_by(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |parent| parent.min(deadline)));
    }
}

/// Why work is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cancelled {
    /// Somebody cancelled it.
    #[error("cancelled")]
    Requested,
    /// Its deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
}

/// Cancels its context when dropped, or by [`cancel`](Canceller::cancel): forgetting to call it
/// is not possible.
#[must_use = "dropping this cancels the context at once"]
#[derive(Debug)]
pub struct Canceller(Arc<CancellationToken>);

impl Canceller {
    /// Cancels the context and everything made from it.
    pub fn cancel(self) {}
}

impl Drop for Canceller {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Context {
    /// The root: no deadline, never cancelled, a trace id of its own.
    pub fn background() -> Context {
        Context(Arc::new(Node {
            token: None,
            deadline: None,
            trace: TraceId::random(),
            values: None,
        }))
    }

    /// The context of the scope that the running task belongs to; the background outside one.
    pub fn current() -> Context {
        frame::current_context().unwrap_or_else(Context::background)
    }

    /// One that is cancelled with this one, and only then.
    fn derive(&self, change: impl FnOnce(&mut Node)) -> Context {
        let mut node = Node {
            token: self.0.token.clone(),
            deadline: self.0.deadline,
            trace: self.0.trace,
            values: self.0.values.clone(),
        };
        change(&mut node);
        Context(Arc::new(node))
    }

    /// A child that is cancelled when the returned guard is dropped.
    pub fn with_cancel(&self) -> (Context, Canceller) {
        let token = self.child_token();
        let child = self.derive(|node| node.token = Some(Arc::clone(&token)));
        (child, Canceller(token))
    }

    /// A child whose deadline is `timeout` from now, or its parent's if that is sooner.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Context {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.with_deadline(deadline),
            None => self.derive(|_| {}), // further away than the clock can tell
        }
    }

    /// A child whose deadline is `deadline`, or its parent's if that is sooner.
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Context {
        self.derive(|node| node.end_by(deadline))
    }

    /// A child with the trace id of a caller and a deadline, or its parent's if that is sooner: what
    /// every request of a server begins with, in one step.
    #[must_use]
    pub fn for_request(&self, trace: TraceId, deadline: Option<Instant>) -> Context {
        self.derive(|node| {
            node.trace = trace;
            if let Some(deadline) = deadline {
                node.end_by(deadline);
            }
        })
    }

    /// A child that carries `value`, found again by its type.
    #[must_use]
    pub fn with_value<T: Any + Send + Sync>(&self, value: T) -> Context {
        self.derive(|node| {
            let rest = without(node.values.take(), TypeId::of::<T>());
            let binding = Binding { of: TypeId::of::<T>(), value: Arc::new(value), rest };
            node.values = Some(Arc::new(binding));
        })
    }

    /// A child with another trace id, for instance the caller's.
    #[must_use]
    pub fn with_trace_id(&self, trace: TraceId) -> Context {
        self.derive(|node| node.trace = trace)
    }

    /// The value of type `T` set last.
    pub fn value<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let mut next = self.0.values.as_ref();
        while let Some(binding) = next {
            if binding.of == TypeId::of::<T>() {
                return Arc::clone(&binding.value).downcast().ok();
            }
            next = binding.rest.as_ref();
        }
        None
    }

    /// The trace id.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace
    }

    /// When it must have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// The time left until the deadline.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.0.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the work is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.cause().is_some()
    }

    /// Why the work is no longer wanted; `None` while it is.
    pub fn cause(&self) -> Option<Cancelled> {
        // The deadline first: a scope whose deadline passed cancels its context as well.
        if self.0.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(Cancelled::DeadlineExceeded);
        }
        let is_cancelled = self.0.token.as_ref().is_some_and(|token| token.is_cancelled());
        is_cancelled.then_some(Cancelled::Requested)
    }

    /// `Err` once the work is no longer wanted: for loops that do not await.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        self.cause().map_or(Ok(()), Err)
    }

    /// Waits until the work is no longer wanted, or the waiting task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe. Level-triggered: once cancelled, it is ready every time.
    pub async fn cancelled(&self) -> Cancelled {
        let mut wait = Wait::new();
        let mut cancelled = pin!(self.until_cancelled());
        poll_fn(|cx| {
            if let Poll::Ready(cause) = cancelled.as_mut().poll(cx) {
                return Poll::Ready(cause);
            }
            frame::with_current(|frame| frame.trail().waits_elsewhere());
            wait.poll_cancelled(cx)
        })
        .await
    }

    /// [`Context::cancelled`] for a scope: not something that its task waits for.
    pub(crate) async fn until_cancelled(&self) -> Cancelled {
        let requested = async {
            match &self.0.token {
                Some(token) => token.cancelled().await,
                None => pending().await,
            }
        };
        match self.0.deadline {
            None => requested.await,
            Some(deadline) => {
                // The scope's body may have used up what tokio lets its task do in this turn.
                let _ = unconstrained(tokio::time::timeout_at(deadline, requested)).await;
            }
        }
        self.cause().unwrap_or(Cancelled::Requested)
    }

    /// Runs `work` until it ends or is no longer wanted, or the task is asked to stop; then it is
    /// dropped.
    ///
    /// # Errors
    /// [`Cancelled`], also when the context was cancelled before `work` was first polled.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Cancelled> {
        self.check()?;
        tokio::select! {
            biased;
            cause = self.cancelled() => Err(cause),
            output = work => Ok(output),
        }
    }

    /// Only of one made by [`Context::for_scope`].
    pub(crate) fn cancel(&self) {
        debug_assert!(self.0.token.is_some(), "nobody can cancel it");
        if let Some(token) = &self.0.token {
            token.cancel();
        }
    }

    /// The same trace id and values, but no deadline, and cancelled by nobody: for what must finish
    /// although nobody waits for it any more, as Go's `context.WithoutCancel`.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::Context;
    ///
    /// let (request, cancel) = Context::background().with_cancel();
    /// let bookkeeping = request.without_cancel();
    /// cancel.cancel();
    /// assert!(request.is_cancelled() && !bookkeeping.is_cancelled());
    /// assert_eq!(request.trace_id(), bookkeeping.trace_id());
    /// ```
    #[must_use]
    pub fn without_cancel(&self) -> Context {
        self.derive(|node| {
            node.token = None;
            node.deadline = None;
        })
    }

    /// A child that only its scope cancels.
    pub(crate) fn for_scope(&self) -> Context {
        self.derive(|node| node.token = Some(self.child_token()))
    }

    fn child_token(&self) -> Arc<CancellationToken> {
        Arc::new(self.0.token.as_ref().map_or_else(CancellationToken::new, |it| it.child_token()))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("trace_id", &self.0.trace)
            .field("deadline", &self.0.deadline)
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}
