//! How long a request may take, and its answer.

use std::time::Duration;

use tokio::time::Instant;

use super::upload::{Upload, UploadLimits};
use crate::forward::is_to_blame;

/// The times of a try. An answer's counts from when there is a connection, whose line has a limit of its own,
/// and all of the request is sent, whose body has one, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When the request came.
    pub(crate) begun: Instant,
    /// When there was a connection for this try.
    pub(crate) asked: Instant,
    /// For an answer to it to begin.
    pub(crate) first_byte: Duration,
    /// For an answer to begin, all tries together.
    pub(crate) total: Option<Duration>,
    pub(crate) upload: UploadLimits,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The client, over its body.
    Body,
    /// A server, over its answer.
    Answer,
    /// All tries together.
    Total,
}

impl Times {
    /// When something could be too late.
    pub(crate) fn due(&self, upload: &Upload) -> Instant {
        upload.over().map_or_else(|| upload.due(&self.upload), |over| self.answer_due(over))
    }

    /// What is too late.
    pub(crate) fn late(&self, upload: &mut Upload, now: Instant) -> Option<Late> {
        match upload.over() {
            None => upload.is_late(&self.upload, now).then_some(Late::Body),
            Some(over) if now < self.answer_due(over) => None,
            // A server that had its time is to blame, whatever else is over then.
            Some(over) if is_to_blame(self.try_due(over), self.first_byte, now) => {
                Some(Late::Answer)
            }
            Some(_) => Some(Late::Total),
        }
    }

    fn answer_due(&self, over: Instant) -> Instant {
        let of_try = self.try_due(over);
        self.total_due(over).map_or(of_try, |due| of_try.min(due))
    }

    fn try_due(&self, over: Instant) -> Instant {
        self.asked.max(over) + self.first_byte
    }

    fn total_due(&self, over: Instant) -> Option<Instant> {
        Some(self.begun.max(over) + self.total?)
    }
}
