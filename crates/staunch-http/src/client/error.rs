//! Why there is no answer, or not all of it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use staunch_net::LoadTlsError;
use staunch_pool::{BodyError, HttpError, KeyedPoolOptionsError};
use staunch_scope::Cancelled;

/// A client cannot be made with such options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientOptionsError {
    /// Those of its pool.
    #[error(transparent)]
    Pool(#[from] KeyedPoolOptionsError),
}

/// A request has no answer. URLs are shown without what may be secret: their query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It cannot be requested.
    #[error("{url}: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No header can be so.
    #[error("header {name}: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The body could not be written as JSON.
    #[error("the body is no JSON: {0}")]
    Json(Arc<serde_json::Error>),
    /// Nobody is trusted, so no server can prove who it is.
    #[error("{url}: {source}; or name whom to trust (ClientOptions::trust)")]
    Trust {
        /// Where to.
        url: String,
        /// Why.
        source: Arc<LoadTlsError>,
    },
    /// No connection, or no answer on it.
    #[error("{url}: {source}")]
    Http {
        /// Where to.
        url: String,
        /// Why.
        source: Box<HttpError>,
    },
    /// All in all it took too long.
    #[error("{url}: no answer within {limit:?} (total_timeout): ask for less, or raise it")]
    TimedOut {
        /// Where to, at first.
        url: String,
        /// `total_timeout`, or that of the request.
        limit: Duration,
    },
    /// Nobody wants it any more.
    #[error("{url}: {cause}")]
    Cancelled {
        /// Where to, at first.
        url: String,
        /// Why.
        cause: Cancelled,
    },
    /// One redirect too many.
    #[error("{url}: redirected more than {limit} times (max_redirects): a loop?")]
    TooManyRedirects {
        /// Where the last one led from.
        url: String,
        /// `max_redirects`
        limit: usize,
    },
    /// A redirect that is not followed.
    #[error("{url}: not redirected to {location}: {reason}")]
    Redirect {
        /// Where from.
        url: String,
        /// Where to.
        location: String,
        /// Why not.
        reason: String,
    },
}

/// The body of an answer could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadAnswerError {
    /// It ended too early, or went on too slowly.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It has more than was asked for. The rest is not read.
    #[error("{url}: the body has more than {limit} bytes: raise the limit, or read in chunks")]
    TooLarge {
        /// Where from.
        url: String,
        /// The limit, in bytes, decoded.
        limit: u64,
    },
    /// A line has more than was asked for.
    #[error("{url}: a line has more than {limit} bytes: raise the limit, or read in chunks")]
    LineTooLong {
        /// Where from.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is not what its `Content-Encoding` says.
    #[error("{url}: the body is no {coding}: {source}")]
    Coding {
        /// Where from.
        url: String,
        /// What it was said to be.
        coding: &'static str,
        /// What is wrong.
        source: io::Error,
    },
    /// It is not UTF-8.
    #[error("{url}: the body is not UTF-8: read it as bytes")]
    NotText {
        /// Where from.
        url: String,
    },
    /// It is no JSON, or not what was expected.
    #[error("{url}: {source}")]
    Json {
        /// Where from.
        url: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It cannot be saved.
    #[error("{}: {source}", path.display())]
    Save {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// All in all it took too long.
    #[error("{url}: not read within {limit:?} (total_timeout): ask for less, or raise it")]
    TimedOut {
        /// Where from.
        url: String,
        /// `total_timeout`, or that of the request.
        limit: Duration,
    },
    /// Nobody wants it any more.
    #[error("{url}: {cause}")]
    Cancelled {
        /// Where from.
        url: String,
        /// Why.
        cause: Cancelled,
    },
}
