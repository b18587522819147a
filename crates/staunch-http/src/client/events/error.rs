//! Why there are no more events.

use std::time::Duration;

use hyper::StatusCode;
use staunch_scope::Cancelled;

use super::super::{ClientError, ReadAnswerError, StatusError};

/// There are no more events. URLs are shown without their query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventSourceError {
    /// They cannot be asked for, now or later.
    #[error(transparent)]
    Request(#[from] ClientError),
    /// The server will not send them; its answer says why.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// What it sends are none.
    #[error("{url}: the answer is {found}, not text/event-stream: is it the right path?")]
    NotEvents {
        /// Where from.
        url: String,
        /// Its status and its `Content-Type`.
        found: String,
    },
    /// More than it may have. The rest is not read.
    #[error("{url}: {what} has more than {limit} bytes: raise EventsOptions::{option}")]
    TooLong {
        /// Where from.
        url: String,
        /// A line, or an event.
        what: &'static str,
        /// The option that has the limit.
        option: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It was tried often enough.
    #[error("{url}: no events after {attempts} attempts (max_attempts): {source}")]
    GaveUp {
        /// Where from.
        url: String,
        /// Attempts, one after the other, of which no byte came.
        attempts: u32,
        /// Why the last one failed.
        source: Box<EventsLost>,
    },
    /// All in all it took too long.
    #[error("{url}: the events' time of {limit:?} is over (timeout)")]
    TimedOut {
        /// Where from.
        url: String,
        /// As [`EventsRequest::timeout`](crate::EventsRequest::timeout) was told.
        limit: Duration,
    },
    /// Nobody wants them any more.
    #[error("{url}: {cause}")]
    Cancelled {
        /// Where from.
        url: String,
        /// Why.
        cause: Cancelled,
    },
}

/// A stream of events ended, or did not begin; another attempt may do better.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsLost {
    /// There was no answer.
    #[error(transparent)]
    Request(#[from] ClientError),
    /// The server has trouble.
    #[error("{0}")]
    Status(StatusCode),
    /// The connection broke.
    #[error(transparent)]
    Read(#[from] ReadAnswerError),
    /// Nothing came.
    #[error("nothing came for {0:?} (EventsOptions::idle)")]
    Idle(Duration),
    /// It ended before anything came.
    #[error("the stream ended before anything came")]
    Ended,
}
