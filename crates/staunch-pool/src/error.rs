//! Why there is no lease.

use std::{error::Error, fmt, panic::Location, time::Duration};

use staunch_scope::Cancelled;

use crate::status::Holder;

/// No connection was leased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError<E: Error + 'static> {
    /// All connections were leased for all of the time. Says who has them.
    #[error("{0}")]
    Exhausted(Exhausted),
    /// Too many wait already.
    #[error(
        "pool {pool}: {limit} tasks wait for a connection already (max_waiters): shed load, or raise max_total"
    )]
    TooManyWaiters {
        /// The pool's name.
        pool: &'static str,
        /// `max_waiters`
        limit: usize,
    },
    /// The manager could not connect.
    #[error("pool {pool}: cannot connect: {source}")]
    Connect {
        /// The pool's name.
        pool: &'static str,
        /// What it said.
        source: E,
    },
    /// Connecting took too long.
    #[error("pool {pool}: no connection within {limit:?} (connect_timeout)")]
    ConnectTimedOut {
        /// The pool's name.
        pool: &'static str,
        /// `connect_timeout`
        limit: Duration,
    },
    /// The time to acquire was over while a connection was being made.
    #[error(
        "pool {pool}: no connection within {waited:?} (acquire_timeout): one was being made, for {connecting:?}"
    )]
    Late {
        /// The pool's name.
        pool: &'static str,
        /// How long it was waited, all in all.
        waited: Duration,
        /// How long the connect had taken.
        connecting: Duration,
    },
    /// The last connect failed, and the next is not to be tried yet; or no connection came back for all
    /// of the time, and more could not be made.
    #[error("pool {pool}: the server is down; the next try is in {retry_in:?}: {last}")]
    Down {
        /// The pool's name.
        pool: &'static str,
        /// When one connect will be tried.
        retry_in: Duration,
        /// What the last one ended with.
        last: String,
    },
    /// The pool is closed: its scope has been asked to stop.
    #[error("pool {pool}: closed")]
    Closed {
        /// The pool's name.
        pool: &'static str,
    },
    /// Nobody wants it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Every connection was leased; by whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exhausted {
    /// The pool's name.
    pub pool: &'static str,
    /// How long it was waited: `acquire_timeout`, or what was left of the deadline.
    pub waited: Duration,
    /// `max_total`
    pub max_total: usize,
    /// Who has the connections: those with the most first.
    pub holders: Vec<Holder>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exhausted { pool, waited, max_total, holders } = self;
        write!(f, "pool {pool}: no connection within {waited:?}: all {max_total} are taken")?;
        for (number, holder) in holders.iter().enumerate() {
            f.write_str(if number == 0 { ", by " } else { ", " })?;
            write!(f, "{holder}")?;
        }
        Ok(())
    }
}

/// The lease was abandoned, and its connection taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lease of {born_at} was revoked after {held_for:?} without use: return it when it is not used, or use it"
)]
pub struct Revoked {
    /// The line that leased it.
    pub born_at: &'static Location<'static>,
    /// How long it was held, until now.
    pub held_for: Duration,
}
