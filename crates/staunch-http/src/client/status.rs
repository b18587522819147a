//! What a client has done.

use std::panic::Location;

use staunch_pool::KeyedStatus;

/// What a client holds, and has done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Its connections, by origin.
    pub pool: KeyedStatus,
    /// What became of the bodies of its answers.
    pub bodies: Bodies,
    /// Requests, without those that were sent again.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Requests that would have been sent again, had the budget allowed it.
    pub retries_denied: u64,
    /// Redirects that were followed.
    pub redirects: u64,
    /// Requests that are on their way now: to their answer, or to the end of its body.
    pub in_flight: usize,
    /// What became of requests, redirects and retries included.
    pub outcomes: [(Outcome, u64); Outcome::ALL.len()],
}

/// What became of a request: what its answer says, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A status below 300.
    Success,
    /// 300 to 399: a redirect that was not to be followed, or none.
    Redirect,
    /// 400 to 499
    ClientError,
    /// 500 and more
    ServerError,
    /// There was no connection.
    Unreached,
    /// It was sent, but no answer came, or what came was none.
    Unanswered,
    /// It took longer than it may.
    TimedOut,
    /// Nobody wanted it any more.
    Cancelled,
    /// It was wrong, or led to where no redirect is followed.
    Unsent,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Outcome; 9] = [
        Outcome::Success,
        Outcome::Redirect,
        Outcome::ClientError,
        Outcome::ServerError,
        Outcome::Unreached,
        Outcome::Unanswered,
        Outcome::TimedOut,
        Outcome::Cancelled,
        Outcome::Unsent,
    ];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Success => "2xx",
            Outcome::Redirect => "3xx",
            Outcome::ClientError => "4xx",
            Outcome::ServerError => "5xx",
            Outcome::Unreached => "unreached",
            Outcome::Unanswered => "unanswered",
            Outcome::TimedOut => "timed_out",
            Outcome::Cancelled => "cancelled",
            Outcome::Unsent => "unsent",
        }
    }
}

/// What became of the bodies of answers. Those that had none are not counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Bodies {
    /// They were read to their end.
    pub read: u64,
    /// They were dropped unread, and drained: their connection was saved.
    pub drained: u64,
    /// Bytes that were read for that, also in vain.
    pub drained_bytes: u64,
    /// They were dropped unread or cancelled, and their connection closed.
    pub destroyed: u64,
    /// They were dropped unread, and their HTTP/2 stream reset.
    pub reset: u64,
    /// They are being drained now.
    pub draining: usize,
    /// How many were dropped unread, by the line of their request; the first 32 lines.
    pub dropped_by: Vec<(&'static Location<'static>, u64)>,
}
