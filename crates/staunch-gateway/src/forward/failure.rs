//! Why a server gave no answer, and what its client is told.

use std::{error::Error, fmt};

use hyper::{Response, StatusCode};
use staunch_net::DialError;
use staunch_pool::{AcquireError, ConnectHttpError, HttpError};

use super::answer::{AnswerBody, own, unavailable};

/// What a failed try says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server cannot be reached.
    Unreachable,
    /// It broke off before it had answered.
    Closed,
    /// What it said is no answer.
    Malformed,
    /// A connection that had been idle broke off, as it may: that says nothing of the server.
    Stale,
    /// It took too long.
    Late,
    /// We have as many requests there as we may; that is no fault of the server's.
    Busy,
    /// We have no descriptor or no memory for a connection.
    Lacking,
    /// We are to stop, or nobody wants it any more.
    Ours,
    /// None of the service's servers is well.
    NoServer,
    /// The request has come through too many gateways like this one.
    Circle,
    /// The client's body broke off or was too large.
    Client,
}

/// What [`Failure::name`] can be.
pub(crate) const REASONS: [&str; 10] = [
    "unreachable",
    "closed",
    "malformed",
    "timeout",
    "busy",
    "descriptors",
    "stopping",
    "no_server",
    "circle",
    "client",
];

/// Those of [`REASONS`] that speak against a server.
pub(crate) const REASONS_OF_SERVERS: usize = 4;

/// What the dialer said, if it is that why there is no connection.
fn dialled<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e DialError> {
    match error.downcast_ref::<ConnectHttpError>() {
        Some(ConnectHttpError::Dial(dial)) => Some(dial),
        Some(_) => None,
        None => error.downcast_ref::<DialError>(),
    }
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
            HttpError::AcquireKeyed(_) => Failure::Unreachable,
            HttpError::Failed { source, .. } => Failure::of_hyper(source),
            HttpError::Unsupported { .. } => Failure::Ours,
            _ => Failure::Closed,
        }
    }

    pub(crate) fn of_hyper(error: &hyper::Error) -> Failure {
        if error.is_parse() { Failure::Malformed } else { Failure::Closed }
    }

    pub(crate) fn of_acquire<E: Error + 'static>(error: &AcquireError<E>) -> Failure {
        match error {
            // The dialer has the same time as the pool, and either may notice first.
            AcquireError::Connect { source, .. } => {
                dialled(source).map_or(Failure::Unreachable, Failure::of_dial)
            }
            AcquireError::Exhausted(_) | AcquireError::TooManyWaiters { .. } => Failure::Busy,
            // Most of the time was spent in our own line, and the server had little of it.
            AcquireError::Late { waited, connecting, .. } if *connecting < *waited / 2 => {
                Failure::Busy
            }
            AcquireError::ConnectTimedOut { .. } | AcquireError::Late { .. } => Failure::Late,
            AcquireError::Closed { .. } | AcquireError::Cancelled(_) => Failure::Ours,
            _ => Failure::Unreachable,
        }
    }

    pub(crate) fn of_dial(error: &DialError) -> Failure {
        match error {
            DialError::TimedOut { .. } => Failure::Late,
            DialError::Cancelled(_) => Failure::Ours,
            error if error.is_local() => Failure::Lacking,
            _ => Failure::Unreachable,
        }
    }

    /// Whether it speaks against the server.
    pub(crate) fn is_servers(self) -> bool {
        use Failure::{Closed, Late, Malformed, Unreachable};
        matches!(self, Unreachable | Closed | Malformed | Late)
    }

    /// Whether it is the client's doing.
    pub(crate) fn is_clients(self) -> bool {
        matches!(self, Failure::Client | Failure::Circle)
    }

    /// What it is called in metrics and in the access log.
    pub(crate) fn name(self) -> &'static str {
        REASONS.get(self.place()).copied().unwrap_or_default()
    }

    /// Its place in [`REASONS`].
    pub(crate) fn place(self) -> usize {
        match self {
            Failure::Unreachable => 0,
            Failure::Closed | Failure::Stale => 1,
            Failure::Malformed => 2,
            Failure::Late => 3,
            Failure::Busy => 4,
            Failure::Lacking => 5,
            Failure::Ours => 6,
            Failure::NoServer => 7,
            Failure::Circle => 8,
            Failure::Client => 9,
        }
    }

    /// What the client is told: a status, a line, and when to try again. It need not know more:
    /// addresses are nobody else's.
    pub(crate) fn says(self) -> (StatusCode, &'static str, Option<u16>) {
        match self {
            Failure::Unreachable | Failure::Closed | Failure::Malformed | Failure::Stale => {
                (StatusCode::BAD_GATEWAY, "The server behind this gateway gave no answer", None)
            }
            Failure::Late => {
                (StatusCode::GATEWAY_TIMEOUT, "The server behind this gateway took too long", None)
            }
            Failure::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server behind this gateway has too much to do",
                Some(1),
            ),
            Failure::Lacking => {
                (StatusCode::SERVICE_UNAVAILABLE, "This gateway has too much to do", Some(1))
            }
            Failure::Ours => {
                (StatusCode::SERVICE_UNAVAILABLE, "This gateway is about to stop", Some(1))
            }
            Failure::NoServer => {
                (StatusCode::SERVICE_UNAVAILABLE, "No server of the service is well", Some(5))
            }
            Failure::Circle => (StatusCode::LOOP_DETECTED, "The request is going in circles", None),
            Failure::Client => (StatusCode::BAD_REQUEST, "The body of the request broke off", None),
        }
    }

    /// The answer that says it.
    pub(crate) fn answer(self) -> Response<AnswerBody> {
        let (status, text, again) = self.says();
        match again {
            Some(seconds) => unavailable(text, seconds),
            None => own(status, text),
        }
    }
}

/// For our own log, if nobody knows better why.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Unreachable => "it cannot be reached",
            Failure::Closed | Failure::Stale => "it closed the connection before it had answered",
            Failure::Malformed => "what it said is no HTTP answer",
            Failure::Late => "it took too long",
            Failure::Busy => "too many requests are there already",
            Failure::Lacking => "the gateway has no descriptor or no memory for a connection",
            Failure::Ours => "the gateway is about to stop",
            Failure::NoServer => "no server of the service is well",
            Failure::Circle => "the request is going in circles",
            Failure::Client => "the body of the request broke off",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_reasons_are_those_that_speak_against_a_server() {
        use Failure::*;
        let all = [
            Unreachable,
            Closed,
            Malformed,
            Stale,
            Late,
            Busy,
            Lacking,
            Ours,
            NoServer,
            Circle,
            Client,
        ];
        for failure in all {
            let is_first = failure != Stale && failure.place() < REASONS_OF_SERVERS;
            assert_eq!(failure.is_servers(), is_first, "{failure:?}");
            assert!(!failure.name().is_empty(), "{failure:?}");
        }
    }

    /// A connect that began at the end of the time was late for our own line, which says nothing of the server.
    #[test]
    fn a_server_is_not_late_for_what_was_waited_before_it_was_asked() {
        let late = |connecting| AcquireError::<DialError>::Late {
            pool: "p",
            waited: Duration::from_secs(5),
            connecting,
        };
        assert_eq!(Failure::of_acquire(&late(Duration::from_millis(3))), Failure::Busy);
        assert_eq!(Failure::of_acquire(&late(Duration::from_secs(3))), Failure::Late);
    }
}
