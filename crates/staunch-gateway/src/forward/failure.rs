//! Why a server gave no answer, and what its client is told.

use hyper::{Response, StatusCode};
use staunch_net::DialError;
use staunch_pool::{AcquireError, HttpError};

use super::answer::{AnswerBody, own, unavailable};

/// What a failed try says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server cannot be reached, or broke off.
    Server,
    /// It took too long.
    Late,
    /// We have as many requests there as we may; that is no fault of the server's.
    Busy,
    /// We are to stop, or nobody wants it any more.
    Ours,
    /// None of the service's servers is well.
    NoServer,
    /// The request has come through too many gateways like this one.
    Circle,
    /// The client's body broke off or was too large.
    Client,
}

impl Failure {
    pub(crate) fn of(error: &HttpError) -> Failure {
        match error {
            HttpError::Acquire(error) => Failure::of_acquire(error),
            HttpError::HeadTimedOut { .. } => Failure::Late,
            HttpError::Unanswered { source, .. } | HttpError::Failed { source, .. }
                if source.is_user() || source.is_body_write_aborted() =>
            {
                Failure::Client
            }
            HttpError::Unsupported { .. } => Failure::Ours,
            _ => Failure::Server,
        }
    }

    fn of_acquire<E: std::error::Error>(error: &AcquireError<E>) -> Failure {
        match error {
            AcquireError::Exhausted(_) | AcquireError::TooManyWaiters { .. } => Failure::Busy,
            AcquireError::ConnectTimedOut { .. } | AcquireError::Late { .. } => Failure::Late,
            AcquireError::Closed { .. } | AcquireError::Cancelled(_) => Failure::Ours,
            _ => Failure::Server,
        }
    }

    pub(crate) fn of_dial(error: &DialError) -> Failure {
        match error {
            DialError::TimedOut { .. } => Failure::Late,
            DialError::Cancelled(_) => Failure::Ours,
            _ => Failure::Server,
        }
    }

    /// Whether it speaks against the server.
    pub(crate) fn is_servers(self) -> bool {
        matches!(self, Failure::Server | Failure::Late)
    }

    /// The client need not know more: addresses are nobody else's.
    pub(crate) fn answer(self) -> Response<AnswerBody> {
        match self {
            Failure::Server => {
                own(StatusCode::BAD_GATEWAY, "The server behind this gateway gave no answer")
            }
            Failure::Late => {
                own(StatusCode::GATEWAY_TIMEOUT, "The server behind this gateway took too long")
            }
            Failure::Busy => unavailable("The server behind this gateway has too much to do", 1),
            Failure::Ours => unavailable("This gateway is about to stop", 1),
            Failure::NoServer => unavailable("No server of the service is well", 5),
            Failure::Circle => own(StatusCode::LOOP_DETECTED, "The request is going in circles"),
            Failure::Client => own(StatusCode::BAD_REQUEST, "The body of the request broke off"),
        }
    }
}
