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
