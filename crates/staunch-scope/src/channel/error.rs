//! Why a message was not sent or received.

use std::fmt;

use crate::context::Cancelled;

/// A value was not sent; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// Every receiver is gone.
    #[error("the channel is closed: every receiver is gone")]
    Closed(T),
    /// The sending task was asked to stop while it waited for room.
    #[error("not sent: {cause}")]
    Cancelled {
        /// The value.
        value: T,
        /// Why.
        #[source]
        cause: Cancelled,
    },
}

/// A value was not sent at once; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// Every receiver is gone.
    #[error("the channel is closed: every receiver is gone")]
    Closed(T),
    /// There is no room.
    #[error("the channel is full: its {capacity} places are taken")]
    Full {
        /// The value.
        value: T,
        /// How many places the channel has.
        capacity: usize,
    },
}

/// No value will come, or not to this task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Every sender is gone.
    #[error("the channel is closed: every sender is gone")]
    Closed,
    /// The receiving task was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// There is no value now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// Nothing has been sent that was not received.
    #[error("the channel is empty")]
    Empty,
    /// Every sender is gone, and nothing is left to receive.
    #[error("the channel is closed: every sender is gone")]
    Closed,
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_value(self) -> T {
        match self {
            SendError::Closed(value) | SendError::Cancelled { value, .. } => value,
        }
    }
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_value(self) -> T {
        match self {
            TrySendError::Closed(value) | TrySendError::Full { value, .. } => value,
        }
    }
}

// By hand: values need not be `Debug`, and may be secret.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("Closed(..)"),
            SendError::Cancelled { cause, .. } => write!(f, "Cancelled({cause:?}, ..)"),
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySendError::Closed(_) => f.write_str("Closed(..)"),
            TrySendError::Full { capacity, .. } => {
                f.debug_struct("Full").field("capacity", capacity).finish_non_exhaustive()
            }
        }
    }
}
