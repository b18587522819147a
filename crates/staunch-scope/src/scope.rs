//! The scope: owner of tasks, which end before it does.

use std::{future::Future, panic::Location, sync::Arc, time::Duration};

use staunch_ledger::EntryId;

use crate::{
    book::Shared,
    context::Context,
    error::{BoxError, ScopeError},
    members::Forced,
    policy::{FailFast, Policy},
    run,
};

/// How long children may take to end after they were asked, unless told otherwise. Long enough
/// for a round trip and a flush, short enough that a deploy does not hang.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// How many children a scope may have at a time, unless told otherwise. More than any design
/// means to have, and few enough (about 1 KiB each, with a small future) that a loop which spawns
/// without end is stopped before memory runs out.
pub const DEFAULT_MAX_CHILDREN: usize = 100_000;

/// Runs `body` with a scope, and returns when `body` **and every child it spawned** have ended
/// and their destructors have run. [Daemons](Scope::spawn_daemon_at) are asked to stop once the
/// others have ended.
///
/// The first error or panic asks the others to stop; so does a cancelled `context` or its
/// deadline. Who does not stop within the grace (5 s) is forced: its future is dropped, and it
/// is named in the log and on the ledger. For other policies see [`ScopeBuilder`].
///
/// # Errors
/// The first failure with the line that spawned the child, or [`ScopeError::Cancelled`].
///
/// # Panics
/// Outside a tokio runtime with time enabled.
///
/// # Cancel safety
/// Dropping the returned future asks every child to stop. They are then on their own, each with
/// the grace as its deadline, and the scope stays on the ledger (state `reaping`) until the last
/// has ended.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, scope};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let sum = scope(&Context::background(), |s| async move {
///     let left = s.fork(async { Ok(40) });
///     let right = s.fork(async { Ok(2) });
///     Ok::<_, BoxError>(left.join().await? + right.join().await?)
/// })
/// .await;
/// assert_eq!(sum.unwrap(), 42);
/// # });
/// ```
#[track_caller]
pub fn scope<T, E, F, Fut>(
    context: &Context,
    body: F,
) -> impl Future<Output = Result<T, ScopeError<E>>> + use<T, E, F, Fut>
where
    F: FnOnce(Scope<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    let run = ScopeBuilder::new(context).run(body);
    async { run.await.result }
}

/// A handle to a running scope; clones are the same scope.
#[derive(Debug)]
pub struct Scope<E = BoxError> {
    pub(crate) shared: Arc<Shared<E>>,
}

impl<E> Clone for Scope<E> {
    fn clone(&self) -> Self {
        Scope { shared: Arc::clone(&self.shared) }
    }
}

/// How a scope ended.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Ended<T, E> {
    /// The body's value, or what went wrong.
    pub result: Result<T, ScopeError<E>>,
    /// Who had to be forced.
    pub forced: Vec<Forced>,
    /// Errors that came while the scope was stopping, and so are not in `result`: nearly always
    /// echoes of the stop. Those that can be told to be [`Cancelled`](crate::Cancelled) are not counted.
    pub unheard: u64,
}

/// A scope with another policy or grace than the default.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, FirstSuccess, ScopeBuilder};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ended = ScopeBuilder::new(&Context::background())
///     .policy(FirstSuccess::default())
///     .run(|s| async move {
///         s.spawn(async { Err("the first replica is down".into()) });
///         s.spawn(async { Ok(()) });
///         Ok::<_, BoxError>(())
///     })
///     .await;
/// assert!(ended.result.is_ok() && ended.forced.is_empty());
/// # });
/// ```
pub struct ScopeBuilder<E> {
    pub(crate) context: Context,
    pub(crate) grace: Duration,
    pub(crate) max_children: usize,
    pub(crate) policy: Box<dyn Policy<E>>,
}

impl<E: Send + 'static> ScopeBuilder<E> {
    /// A scope below `context`, with [`FailFast`], [`DEFAULT_GRACE`] and
    /// [`DEFAULT_MAX_CHILDREN`].
    pub fn new(context: &Context) -> ScopeBuilder<E> {
        ScopeBuilder {
            context: context.for_scope(),
            grace: DEFAULT_GRACE,
            max_children: DEFAULT_MAX_CHILDREN,
            policy: Box::new(FailFast),
        }
    }

    /// What the end of a child means for the others.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy<E>) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// How long children may take to end after they were asked.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many children there may be at a time: [`DEFAULT_MAX_CHILDREN`] unless told otherwise.
    /// One that would be too many is dropped without running and observed (`too-many-children`).
    /// Once the body has ended, its place is one for a child, too.
    #[must_use]
    pub fn max_children(mut self, most: usize) -> Self {
        self.max_children = most;
        self
    }

    /// Runs the scope; see [`scope`] for what holds.
    #[track_caller]
    pub fn run<T, F, Fut>(self, body: F) -> impl Future<Output = Ended<T, E>> + use<T, E, F, Fut>
    where
        F: FnOnce(Scope<E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        run::run(self, Location::caller(), body)
    }
}

impl<E> Scope<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>) -> Scope<E> {
        Scope { shared }
    }

    /// Asks the body and every child to stop. The scope then succeeds if its body does: an error
    /// that the body returns later is kept, unless it is [`Cancelled`](crate::Cancelled) that came back to it; a
    /// child's is counted ([`Ended::unheard`]).
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// The scope's context: cancelled when the scope stops.
    pub fn context(&self) -> &Context {
        self.shared.members.context()
    }

    /// The scope's entry on the ledger.
    pub fn id(&self) -> EntryId {
        self.shared.scope
    }

    /// Children (and the body) that have not ended.
    pub fn live(&self) -> usize {
        self.shared.members.live()
    }
}
