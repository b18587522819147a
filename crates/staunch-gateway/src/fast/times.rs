//! How long a request may take, and its answer.

use std::time::Duration;

use tokio::time::Instant;

use super::upload::{Upload, UploadLimits};

/// The times of a try. An answer's counts from when all of the request is sent, whose body has a time of
/// its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When the request came.
    pub(crate) begun: Instant,
    /// When this try began.
    pub(crate) tried: Instant,
    /// For an answer to this try to begin.
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
            // A server that had all of its time is to blame, whatever else is over then.
            Some(over) if now >= self.try_due(over) => Some(Late::Answer),
            Some(over) => (now >= self.answer_due(over)).then_some(Late::Total),
        }
    }

    fn answer_due(&self, over: Instant) -> Instant {
        let of_try = self.try_due(over);
        self.total_due(over).map_or(of_try, |due| of_try.min(due))
    }

    fn try_due(&self, over: Instant) -> Instant {
        self.tried.max(over) + self.first_byte
    }

    fn total_due(&self, over: Instant) -> Option<Instant> {
        Some(self.begun.max(over) + self.total?)
    }
}
