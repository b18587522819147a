//! Giving children to a scope.

use std::{
    future::{Future, poll_fn},
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use staunch_ledger::EntryId;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    blocking::{self, Blocking},
    error::JoinChildError,
    frame::{self, Frame},
    members::Role,
    scope::Scope,
    task::{Outcome, Task},
    wait::Wait,
};

impl<E: Send + 'static> Scope<E> {
    /// Starts a child; the scope waits for it.
    ///
    /// On a scope that has already ended, or has as many children as it may
    /// ([`ScopeBuilder::max_children`](crate::ScopeBuilder::max_children)), the child is dropped
    /// unpolled and the ledger keeps an observation of it (`late-spawn`, `too-many-children`).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn spawn<F>(&self, child: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.start(Role::Child, Location::caller(), None, child, drop);
    }

    /// Starts a child with a name for reports.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn spawn_named<F>(&self, name: &'static str, child: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.start(Role::Child, Location::caller(), Some(name), child, drop);
    }

    /// Starts a child with a name in the turn of whoever starts it: it is polled once before this
    /// returns. A child that has ended then (`true`) was never a task of the runtime's, which takes
    /// more time than many need; one that waits is moved into a task, and goes on there. Until then the
    /// caller, and whatever else its task polls, waits for it: not for work that takes long before it waits.
    ///
    /// In everything else it is as [`spawn_named`](Self::spawn_named); one that is refused has ended. It has
    /// its share of what tokio lets the caller's task do in one turn, and its end is told to the scope's policy
    /// before this returns: not to be called by a policy. Known elsewhere as an eager task (Python's `asyncio`), or as undispatched (Kotlin).
    ///
    /// # Panics
    /// Outside a tokio runtime, if the child waits.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::{BoxError, Context, scope, sleep};
    /// use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let ended = scope(&Context::background(), |s| async move {
    ///     assert!(s.spawn_eager("says something", Box::pin(async { Ok(println!("hello")) })));
    ///     let waits = async { Ok(sleep(Duration::from_millis(1)).await?) };
    ///     assert!(!s.spawn_eager("waits", Box::pin(waits)));
    ///     Ok::<_, BoxError>(())
    /// });
    /// assert!(ended.await.is_ok());
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_eager<F>(&self, name: &'static str, child: F) -> bool
    where
        F: Future<Output = Result<(), E>> + Send + Unpin + 'static,
    {
        let born_at = Location::caller();
        let Some(frame) = self.admit(Role::Child, born_at, Some(name)) else { return true };
        let mut task = self.task(frame, born_at, child, drop);
        let has_ended = Pin::new(&mut task).begin(self.shared.members.ledger()).is_ready();
        if !has_ended {
            run(task);
        }
        has_ended
    }

    /// Starts a child on behalf of somebody else's line: for wrappers, whose own line would say
    /// nothing (the accept loop of a listener, say).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_at<F>(&self, born_at: &'static Location<'static>, child: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.start(Role::Child, born_at, None, child, drop);
    }

    /// Starts a daemon on behalf of somebody else's line: a child that serves others, such as the
    /// keeper of a pool. Once the body and all other children have ended, the scope asks its daemons
    /// to stop, whoever still has a handle to what they serve. Until then, and in everything else,
    /// it is a child like any other.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::{BoxError, Context, scope, sleep};
    /// use std::{panic::Location, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let ended = scope(&Context::background(), |s| async move {
    ///     s.spawn_daemon_at(Location::caller(), async {
    ///         while sleep(Duration::from_secs(1)).await.is_ok() {} // looks after something
    ///         Ok(())
    ///     });
    ///     Ok::<_, BoxError>("done")
    /// });
    /// assert_eq!(ended.await.unwrap(), "done");
    /// # });
    /// ```
    pub fn spawn_daemon_at<F>(&self, born_at: &'static Location<'static>, daemon: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.start(Role::Daemon, born_at, None, daemon, drop);
    }

    /// Starts a child whose value is wanted: join it with [`Child::join`]. Dropping the
    /// [`Child`] does not stop the child: its owner is the scope.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn fork<T, F>(&self, child: F) -> Child<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (sender, value) = oneshot::channel();
        let id = self.start(Role::Child, Location::caller(), None, child, |value| {
            let _ = sender.send(value); // nobody may want it any more
        });
        Child { value, id }
    }

    /// Runs `work` on a thread where it may block, as a child. It cannot be forced: the scope
    /// waits for it, and the ledger says so if it does not heed [`Blocking::is_asked`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn blocking<T, F>(&self, work: F) -> Child<T>
    where
        T: Send + 'static,
        F: FnOnce(&Blocking) -> Result<T, E> + Send + 'static,
    {
        let born_at = Location::caller();
        let (sender, value) = oneshot::channel();
        let Some(frame) = self.admit(Role::Child, born_at, Some("blocking")) else {
            return Child { value, id: None };
        };
        let id = Some(frame.account().id());
        let shared = Arc::clone(&self.shared);
        blocking::start(frame, work, move |outcome| {
            shared.child_ended(born_at, outcome, |value| {
                let _ = sender.send(value); // nobody may want it any more
            });
        });
        Child { value, id }
    }

    /// Makes the task of a child that hands its value to `deliver`; `None` when it is refused.
    pub(crate) fn start<T, F>(
        &self,
        role: Role,
        born_at: &'static Location<'static>,
        name: Option<&'static str>,
        child: F,
        deliver: impl FnOnce(T) + Send + 'static,
    ) -> Option<EntryId>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let frame = self.admit(role, born_at, name)?;
        let id = frame.account().id();
        run(self.task(frame, born_at, child, deliver));
        Some(id)
    }

    fn task<T, F, D>(
        &self,
        frame: Arc<Frame>,
        born_at: &'static Location<'static>,
        child: F,
        deliver: D,
    ) -> Task<F, impl FnOnce(Outcome<F::Output>) + Send + use<T, F, D, E>>
    where
        F: Future<Output = Result<T, E>>,
        D: FnOnce(T) + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Task::new(frame, child, move |outcome| shared.child_ended(born_at, outcome, deliver))
    }

    fn admit(
        &self,
        role: Role,
        born_at: &'static Location<'static>,
        name: Option<&'static str>,
    ) -> Option<Arc<Frame>> {
        let admitted = self.shared.admit(role, born_at, name);
        match &admitted {
            Ok(_) => _ = frame::with_current(|frame| frame.trail().hand_on_by_spawn()),
            Err(why) => self.shared.members.report_refused(born_at, *why),
        }
        admitted.ok()
    }
}

/// tokio's part of a task comes in steps of 128 bytes, and takes 104 itself. A future that is not larger than this
/// takes less apart than in a second step of its own (docs/decisions/2-idle-connections.md).
const SMALL: usize = 96;

fn run(task: impl Future<Output = ()> + Send + 'static) {
    match size_of_val(&task) {
        ..=SMALL => run_apart(task),
        _ => run_whole(task),
    }
}

// Neither is inlined: each would have room for a copy of the task on the stack of the other.

#[inline(never)]
fn run_apart(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "of the two places where children are made one")]
    tokio::spawn(Box::pin(task));
}

#[inline(never)]
fn run_whole(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "of the two places where children are made one")]
    tokio::spawn(task);
}

/// The value of a child, when it comes.
#[derive(Debug)]
#[must_use = "join it for its value, or use Scope::spawn"]
pub struct Child<T> {
    value: oneshot::Receiver<T>,
    /// `None` when it was refused.
    id: Option<EntryId>,
}

impl<T> Child<T> {
    /// Waits for the value. A value that is there is returned even to a task that has been asked
    /// to stop: the first success of a scope with [`FirstSuccess`](crate::FirstSuccess) stops
    /// the body too, which still gets it.
    ///
    /// # Errors
    /// [`JoinChildError::Failed`] when the child has no value, [`JoinChildError::Cancelled`]
    /// when the waiting task is asked to stop.
    ///
    /// # Cancel safety
    /// Not cancel safe: the value is lost with the future; the child itself is not affected.
    pub async fn join(mut self) -> Result<T, JoinChildError> {
        let mut wait = Wait::new();
        poll_fn(|cx| {
            if let Poll::Ready(value) = Pin::new(&mut self.value).poll(cx) {
                return Poll::Ready(value.map_err(|_| JoinChildError::Failed));
            }
            let asked = wait.poll_cancelled(cx);
            if let (Poll::Pending, Some(id)) = (asked, self.id) {
                frame::with_current(|frame| frame.waits_to_join(id));
            }
            // It may have come since, or tokio has not looked, since the task has done all it may in this turn.
            asked.map(|cause| match self.value.try_recv() {
                Ok(value) => Ok(value),
                Err(TryRecvError::Closed) => Err(JoinChildError::Failed),
                Err(TryRecvError::Empty) => Err(cause.into()),
            })
        })
        .await
    }
}
