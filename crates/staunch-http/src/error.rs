//! How a connection can end badly.

use std::{error::Error, time::Duration};

use staunch_scope::BoxError;

use crate::{limits::HttpLimits, server::exchange::Exchange};

/// A connection ended in the middle of something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeHttpError {
    /// The client was too slow.
    #[error("no whole request head within {limit:?} (`head_time`)")]
    HeadTime {
        /// The limit that was passed.
        limit: Duration,
    },
    /// The client does not speak HTTP, or its request is over a limit; it was told so.
    #[error("the request was refused: {0}")]
    Refused(hyper::Error),
    /// The client left before its answer was written.
    #[error("the client left before its answer was written")]
    ClientLeft,
    /// Reading or writing failed; the watchdog's reason if it was its doing.
    #[error("the connection broke: {}", deepest(&**.0))]
    Broken(BoxError),
}

impl ServeHttpError {
    pub(crate) fn new(
        error: hyper::Error,
        limits: &HttpLimits,
        exchange: &Exchange,
    ) -> ServeHttpError {
        if exchange.was_late() {
            ServeHttpError::HeadTime { limit: limits.head_time }
        } else if error.is_parse() {
            ServeHttpError::Refused(error)
        } else if error.is_incomplete_message() {
            ServeHttpError::ClientLeft
        } else {
            ServeHttpError::Broken(error.into())
        }
    }
}

/// The first cause of an error.
fn deepest<'a>(error: &'a (dyn Error + 'static)) -> &'a dyn Error {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
}
