//! How scopes and children fail.

use std::{
    any::Any,
    fmt,
    panic::Location,
    sync::{Mutex, PoisonError},
};

use crate::context::Cancelled;

/// An error of any type: what children return unless told otherwise.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The failures of one scope that are kept; further ones are only counted.
pub const MAX_FAILURES: usize = 64;

/// A scope did not succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ScopeError<E> {
    /// Its body or children failed.
    Failed {
        /// The failure that came first.
        first: Failure<E>,
        /// Those after it, at most [`MAX_FAILURES`] in all.
        others: Vec<Failure<E>>,
        /// How many more there were.
        uncounted: u64,
    },
    /// It was cancelled before its work was done.
    Cancelled(Cancelled),
}

/// A child, or the scope's body, failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure<E> {
    /// The line it was spawned on.
    pub born_at: &'static Location<'static>,
    /// How it failed.
    pub cause: FailureCause<E>,
}

/// How a child failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum FailureCause<E> {
    /// It returned an error.
    Error(E),
    /// It panicked.
    Panic(TaskPanic),
}

/// A caught panic.
pub struct TaskPanic {
    message: String,
    /// Behind a lock that is never contended: it makes the panic, and so every error of a
    /// scope, `Sync`, as `?` demands of errors.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl TaskPanic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> TaskPanic {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "(a panic without a message)".to_owned());
        TaskPanic { message, payload: Mutex::new(payload) }
    }

    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Panics on.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.payload.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskPanic").field(&self.message).finish()
    }
}

impl<E> ScopeError<E> {
    /// Panics on if a panic came first; otherwise returns the error.
    #[must_use = "the error that was no panic"]
    pub fn resume_panic(self) -> ScopeError<E> {
        match self {
            ScopeError::Failed {
                first: Failure { cause: FailureCause::Panic(panic), .. }, ..
            } => panic.resume(),
            other => other,
        }
    }

    /// The error that came first, if it was one.
    pub fn into_error(self) -> Option<E> {
        match self {
            ScopeError::Failed {
                first: Failure { cause: FailureCause::Error(error), .. }, ..
            } => Some(error),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            FailureCause::Error(error) => write!(f, "task born at {}: {error}", self.born_at),
            FailureCause::Panic(panic) => {
                write!(f, "task born at {} panicked: {}", self.born_at, panic.message)
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for ScopeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScopeError::Failed { first, others, uncounted } => {
                first.fmt(f)?;
                match others.len() as u64 + uncounted {
                    0 => Ok(()),
                    more => write!(f, " (and {more} more)"),
                }
            }
            ScopeError::Cancelled(cause) => write!(f, "scope stopped: {cause}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for ScopeError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ScopeError::Failed { .. } => None,
            ScopeError::Cancelled(cause) => Some(cause),
        }
    }
}

/// The value of a [`Child`](crate::Child) will not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinChildError {
    /// The child failed, panicked or was forced; its scope knows how.
    #[error("the child did not succeed; its scope has the reason")]
    Failed,
    /// The waiting task was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
