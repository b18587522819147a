//! Why there is no answer.

use std::{error::Error, iter, time::Duration};

use staunch_net::DialError;

use crate::{
    error::{AcquireError, Revoked},
    keyed::KeyedAcquireError,
};

/// There is no connection to an HTTP server, or it does not live any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectHttpError {
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Connected, but it does not speak HTTP as we do.
    #[error("{address}: no HTTP connection: {}", whole(source))]
    Handshake {
        /// Where to.
        address: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The server has closed it.
    #[error("{address}: the server closed the connection")]
    Closed {
        /// Where to.
        address: String,
    },
}

/// A request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// There was no connection to send it on.
    #[error(transparent)]
    Acquire(#[from] AcquireError<ConnectHttpError>),
    /// There was no connection of its key.
    #[error(transparent)]
    AcquireKeyed(#[from] KeyedAcquireError<ConnectHttpError>),
    /// Its lease was abandoned, and the connection taken away.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// The connection ended, and nothing of an answer had come. The server may have worked on it.
    #[error("{address}: the connection ended before an answer came: {}", whole(source))]
    Unanswered {
        /// Where to.
        address: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The server says that it has not worked on it: there was one too many, or the connection was
    /// going away already (RFC 9113, section 8.7). It is as if it had never been sent.
    #[error("{address}: the server refused the request before it worked on it: {}", whole(source))]
    Refused {
        /// Where to.
        address: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// What came was no answer, or the request could not be sent.
    #[error("{address}: no answer: {}", whole(source))]
    Failed {
        /// Where to.
        address: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The head of the answer did not come in time.
    #[error("{address}: no answer within {limit:?} (head_timeout)")]
    HeadTimedOut {
        /// Where to.
        address: String,
        /// `head_timeout`
        limit: Duration,
    },
    /// Its connection was ended by the pool while it waited.
    #[error("{address}: the pool ended the request: its lease was abandoned")]
    Ended {
        /// Where to.
        address: String,
    },
    /// Such requests cannot be sent on a pooled connection.
    #[error(
        "{what} is not supported on a pooled connection: dial one of its own (staunch_net::Dialer)"
    )]
    Unsupported {
        /// What it asks for.
        what: &'static str,
    },
}

/// The body of an answer ended too early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The connection ended, or what came is no body.
    #[error("{address}: the answer's body was cut off: {}", whole(source))]
    Cut {
        /// Where from.
        address: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The server reset its stream before the end, and named no reason.
    #[error("{address}: the answer's body was cut off: its stream was reset before its end")]
    Reset {
        /// Where from.
        address: String,
    },
    /// Nothing came any more.
    #[error("{address}: nothing of the answer's body came for {limit:?} (body_stall)")]
    Stalled {
        /// Where from.
        address: String,
        /// `body_stall`
        limit: Duration,
    },
    /// The pool took the connection away: nobody had read the body for too long.
    #[error(
        "{address}: the answer's body was not read for too long, and its lease revoked (abandoned_timeout)"
    )]
    Revoked {
        /// Where from.
        address: String,
    },
}

/// What hyper says, which leaves its cause to whoever asks for it. What says the same as the one
/// before it is not said again.
fn whole(error: &hyper::Error) -> String {
    let mut all = error.to_string();
    for cause in iter::successors(error.source(), |cause| (*cause).source()) {
        let says = cause.to_string();
        if !all.ends_with(&says) {
            all = format!("{all}: {says}");
        }
    }
    all
}
