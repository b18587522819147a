//! Why there is no lease of a key.

use std::error::Error;

use staunch_scope::Cancelled;

use crate::error::{AcquireError, Exhausted};

/// No connection was leased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyedAcquireError<E: Error + 'static> {
    /// There is no pool for this key, and no room for one.
    #[error(
        "pool {pool}: leases of {limit} keys are out already (max_keys): give them back sooner, or raise it"
    )]
    TooManyKeys {
        /// The pool's name.
        pool: &'static str,
        /// `max_keys`
        limit: usize,
    },
    /// All that all keys together may have were leased for all of the time. Says who has them.
    #[error("{0} (max_total of all keys)")]
    AllExhausted(Exhausted),
    /// As of a pool of its own.
    #[error(transparent)]
    Key(#[from] AcquireError<E>),
}

impl<E: Error + 'static> From<Cancelled> for KeyedAcquireError<E> {
    fn from(cause: Cancelled) -> Self {
        KeyedAcquireError::Key(cause.into())
    }
}
