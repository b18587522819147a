//! What a scope knows of how its work went: failures, and what its policy made of them.

use std::{
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use staunch_ledger::{Account, EntryId, Kind, Obligation};

use crate::{
    context::{Cancelled, Context},
    error::{Failure, FailureCause, MAX_FAILURES, ScopeError, TaskPanic},
    frame::Frame,
    members::Members,
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
    stop: bool,
}

impl<E: Send + 'static> Shared<E> {
    pub(crate) fn new(
        context: Context,
        policy: Box<dyn Policy<E>>,
        account: &Account,
    ) -> Shared<E> {
        let book = Book { policy, failures: Vec::new(), uncounted: 0, body: None, stop: false };
        Shared {
            members: Arc::new(Members::new(context, account)),
            scope: account.id(),
            book: Mutex::new(book),
        }
    }

    /// A frame for a new child, already counted; `None` when the scope has ended.
    pub(crate) fn admit(
        &self,
        born_at: &'static Location<'static>,
        label: Option<&'static str>,
    ) -> Option<Arc<Frame>> {
        self.members.admit(|| {
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
            Outcome::Ended(Err(_)) if stopping => return,
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
            Outcome::Ended(Err(_)) if self.members.is_stopping() => return None,
            Outcome::Ended(Err(error)) => FailureCause::Error(error),
            Outcome::Panicked(payload) => FailureCause::Panic(TaskPanic::new(payload)),
        };
        let mut book = self.book();
        book.stop = true;
        book.body = Some((book.failures.len(), Failure { born_at, cause }));
        None
    }

    /// Whether the policy or the body's failure demands that everybody stops.
    pub(crate) fn must_stop(&self) -> bool {
        self.book().stop
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
        self.policy.child_ended(born_at, ChildEnd::Success)
    }

    /// A child failed.
    fn failed(&mut self, stopping: bool, failure: Failure<E>) -> Verdict {
        let end = match &failure.cause {
            FailureCause::Error(error) => ChildEnd::Error(error),
            FailureCause::Panic(panic) => ChildEnd::Panic(panic.message()),
        };
        let verdict = if stopping {
            Verdict::Continue
        } else {
            self.policy.child_ended(failure.born_at, end)
        };
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        } else {
            self.uncounted += 1;
        }
        verdict
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
