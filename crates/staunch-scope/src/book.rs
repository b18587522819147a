//! What a scope knows of how its work went: failures, and what its policy made of them.

use std::{
    any::Any,
    error::Error,
    io, iter,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use staunch_ledger::{Account, EntryId, Kind, Obligation};

use crate::{
    channel::RecvError,
    context::{Cancelled, Context},
    error::{BoxError, Failure, FailureCause, JoinChildError, MAX_FAILURES, ScopeError, TaskPanic},
    frame::{Frame, Signal},
    members::{Members, Refused, Role},
    policy::{ChildEnd, Policy, Verdict},
    task::Outcome,
};

/// What every handle of a scope shares.
pub(crate) struct Shared<E> {
    pub(crate) members: Arc<Members>,
    pub(crate) scope: EntryId,
    book: Mutex<Book<E>>,
}

struct Book<E> {
    policy: Box<dyn Policy<E>>,
    /// Of children, in the order they came.
    failures: Vec<Failure<E>>,
    uncounted: u64,
    /// The body's failure, and how many failures came before it. Kept apart: no policy
    /// forgives it, and no number of failed children may hide it.
    body: Option<(usize, Failure<E>)>,
    /// A failure, or the policy, demands that everybody stops.
    stop: bool,
    /// The scope was stopped by its own wish, before anything else stopped it.
    stopped_itself: bool,
    /// Errors that came while the scope was stopping, known echoes excluded.
    unheard: u64,
}

impl<E: Send + 'static> Shared<E> {
    pub(crate) fn new(
        context: Context,
        policy: Box<dyn Policy<E>>,
        account: &Account,
        max_children: usize,
    ) -> Shared<E> {
        let book = Book {
            policy,
            failures: Vec::new(),
            uncounted: 0,
            body: None,
            stop: false,
            stopped_itself: false,
            unheard: 0,
        };
        Shared {
            members: Arc::new(Members::new(context, account, max_children)),
            scope: account.id(),
            book: Mutex::new(book),
        }
    }

    /// A frame for a new child, already counted.
    pub(crate) fn admit(
        &self,
        role: Role,
        born_at: &'static Location<'static>,
        label: Option<&'static str>,
    ) -> Result<Arc<Frame>, Refused> {
        self.members.admit(role, || {
            let parent = Some(self.scope);
            let ledger = self.members.ledger();
            let account = ledger.open_at(born_at, Kind::TASK, Obligation::EndsWithParent, parent);
            if let Some(label) = label {
                account.label(label);
            }
            account
        })
    }

    /// Books the end of a child. `deliver` gets the value of one that succeeded, and is dropped
    /// otherwise, before the scope acts on the end: a body that is stopped because of a child
    /// learns from [`Child::join`](crate::Child::join) how that child ended.
    pub(crate) fn child_ended<T>(
        &self,
        born_at: &'static Location<'static>,
        outcome: Outcome<Result<T, E>>,
        deliver: impl FnOnce(T),
    ) {
        let stopping = self.members.is_stopping();
        let (value, verdict) = match outcome {
            Outcome::Forced => return,
            Outcome::Ended(Ok(value)) => (Some(value), self.book().succeeded(stopping, born_at)),
            // Told to stop, it stopped: an error then is an echo, not a cause.
            Outcome::Ended(Err(error)) if stopping => return self.pass_over(&error),
            Outcome::Ended(Err(error)) => {
                let failure = Failure { born_at, cause: FailureCause::Error(error) };
                (None, self.book().failed(stopping, failure))
            }
            Outcome::Panicked(payload) => {
                let panic = TaskPanic::new(payload);
                tracing::error!(%born_at, message = panic.message(), "a task panicked");
                let failure = Failure { born_at, cause: FailureCause::Panic(panic) };
                (None, self.book().failed(stopping, failure))
            }
        };
        match value {
            Some(value) => deliver(value),
            None => drop(deliver),
        }
        if verdict == Verdict::Stop {
            self.book().stop = true;
            self.members.notify();
        }
    }

    /// The body is no child: its success stops nobody, its failure everybody.
    pub(crate) fn body_ended<T>(
        &self,
        born_at: &'static Location<'static>,
        outcome: Outcome<Result<T, E>>,
    ) -> Option<T> {
        let cause = match outcome {
            Outcome::Ended(Ok(value)) => return Some(value),
            Outcome::Forced => return None,
            Outcome::Ended(Err(error)) if self.members.is_stopping() => {
                if !self.book().stopped_itself || is_echo(&error) {
                    self.pass_over(&error);
                    return None;
                }
                FailureCause::Error(error) // it asked for the stop, and then failed
            }
            Outcome::Ended(Err(error)) => FailureCause::Error(error),
            Outcome::Panicked(payload) => FailureCause::Panic(TaskPanic::new(payload)),
        };
        let mut book = self.book();
        book.stop = true;
        book.body = Some((book.failures.len(), Failure { born_at, cause }));
        None
    }

    /// An error that came while the scope was stopping makes it fail no more; it is counted,
    /// unless it only says that the task was told to stop.
    fn pass_over(&self, error: &E) {
        if !is_echo(error) {
            self.book().unheard += 1;
        }
    }

    /// Whether the policy or the body's failure demands that everybody stops.
    pub(crate) fn must_stop(&self) -> bool {
        self.book().stop
    }

    /// Errors that came while the scope was stopping and may have been more than its echo.
    pub(crate) fn unheard(&self) -> u64 {
        self.book().unheard
    }

    /// How the scope went, all being over. `value` is the body's; `asked` says why the scope
    /// was stopped from outside, if it was.
    pub(crate) fn result<T>(
        &self,
        value: Option<T>,
        asked: Option<Cancelled>,
    ) -> Result<T, ScopeError<E>> {
        let mut book = self.book();
        let (failures, uncounted) = book.unforgiven();
        let mut failures = failures.into_iter();
        if let Some(first) = failures.next() {
            return Err(ScopeError::Failed { first, others: failures.collect(), uncounted });
        }
        match (value, asked) {
            (Some(value), None) => Ok(value),
            (_, asked) => Err(ScopeError::Cancelled(asked.unwrap_or(Cancelled::Requested))),
        }
    }
}

impl<E> Shared<E> {
    /// Somebody inside wishes that the scope stops.
    pub(crate) fn stop(&self) {
        if !self.members.is_stopping() {
            self.book().stopped_itself = true;
        }
        self.members.raise(Signal::Asked, Cancelled::Requested);
        self.members.notify();
    }

    fn book(&self) -> MutexGuard<'_, Book<E>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> std::fmt::Debug for Shared<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("live", &self.members.live()).finish_non_exhaustive()
    }
}

impl<E: 'static> Book<E> {
    /// A child succeeded. The policy is not asked once the scope is stopping.
    fn succeeded(&mut self, stopping: bool, born_at: &'static Location<'static>) -> Verdict {
        if stopping {
            return Verdict::Continue;
        }
        let policy = &mut self.policy;
        match catch_unwind(AssertUnwindSafe(|| policy.child_ended(born_at, ChildEnd::Success))) {
            Ok(verdict) => verdict,
            Err(payload) => self.policy_panicked(born_at, payload),
        }
    }

    /// A child failed.
    fn failed(&mut self, stopping: bool, failure: Failure<E>) -> Verdict {
        let end = match &failure.cause {
            FailureCause::Error(error) => ChildEnd::Error(error),
            FailureCause::Panic(panic) => ChildEnd::Panic(panic.message()),
        };
        let (policy, born_at) = (&mut self.policy, failure.born_at);
        let asked = if stopping {
            Ok(Verdict::Continue)
        } else {
            catch_unwind(AssertUnwindSafe(|| policy.child_ended(born_at, end)))
        };
        self.keep(failure);
        asked.unwrap_or_else(|payload| self.policy_panicked(born_at, payload))
    }

    fn keep(&mut self, failure: Failure<E>) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        } else {
            self.uncounted += 1;
        }
    }

    /// A policy that panics has lost its way: the scope fails and stops.
    fn policy_panicked(
        &mut self,
        born_at: &'static Location<'static>,
        payload: Box<dyn Any + Send>,
    ) -> Verdict {
        let panic = TaskPanic::new(payload);
        tracing::error!(%born_at, message = panic.message(), "the policy panicked at a task's end");
        self.keep(Failure { born_at, cause: FailureCause::Panic(panic) });
        Verdict::Stop
    }

    /// The failures that make the scope fail, in the order they came, and how many more.
    fn unforgiven(&mut self) -> (Vec<Failure<E>>, u64) {
        let (mut failures, uncounted) = if self.policy.forgives_failures() {
            (Vec::new(), 0)
        } else {
            (std::mem::take(&mut self.failures), self.uncounted)
        };
        if let Some((position, failure)) = self.body.take() {
            failures.insert(position.min(failures.len()), failure);
        }
        (failures, uncounted)
    }
}

/// Whether an error is known to say only that its task was told to stop. Of other types than ours
/// and [`BoxError`] that cannot be known.
fn is_echo<E: 'static>(error: &E) -> bool {
    let error: &dyn Any = error;
    let Some(error) = error.downcast_ref::<BoxError>() else {
        return error.is::<Cancelled>()
            || matches!(error.downcast_ref(), Some(JoinChildError::Cancelled(_)))
            || matches!(error.downcast_ref(), Some(RecvError::Cancelled(_)));
    };
    let error: &(dyn Error + 'static) = error.as_ref();
    iter::successors(Some(error), |error| cause(*error)).any(says_cancelled)
}

/// An I/O error's source is that of the error in it.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped))
}

fn says_cancelled(error: &(dyn Error + 'static)) -> bool {
    error.is::<Cancelled>()
        || matches!(error.downcast_ref(), Some(JoinChildError::Cancelled(_)))
        || matches!(error.downcast_ref(), Some(RecvError::Cancelled(_)))
}
