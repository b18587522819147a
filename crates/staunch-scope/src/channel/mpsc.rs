//! Many senders, one receiver, a bounded queue between them.

use std::panic::Location;

use tokio::sync::mpsc;

use super::core::{Handle, Side};
pub use super::error::{RecvError, SendError, TryRecvError, TrySendError};
use crate::context::Cancelled;

/// A channel with room for `capacity` messages.
///
/// # Panics
/// If `capacity` is 0.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, mpsc, scope};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let sum = scope(&Context::background(), |s| async move {
///     let (sender, mut receiver) = mpsc::channel(4);
///     s.spawn(async move {
///         for number in 1..=10 {
///             sender.send(number).await?; // waits while there is no room
///         }
///         Ok(())
///     });
///     let mut sum = 0;
///     while let Ok(number) = receiver.recv().await {
///         sum += number;
///     }
///     Ok::<_, BoxError>(sum)
/// });
/// assert_eq!(sum.await.unwrap(), 55);
/// # });
/// ```
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let (sending, receiving) = Handle::pair(Location::caller());
    (Sender { channel: sender, handle: sending }, Receiver { channel: receiver, handle: receiving })
}

/// Sends into a channel. Clones send into the same one.
#[derive(Debug)]
pub struct Sender<T> {
    channel: mpsc::Sender<T>,
    handle: Handle,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { channel: self.channel.clone(), handle: self.handle.sibling(Side::Sender) }
    }
}

impl<T> Sender<T> {
    /// Sends `value`, waiting for room.
    ///
    /// # Errors
    /// [`SendError`], with the value, when the receiver is gone or the task is asked to stop.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, `value` was not sent, and is dropped.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.handle.wait(self.channel.reserve()).await {
            Ok(Ok(permit)) => {
                permit.send(value);
                self.handle.sent::<T>();
                Ok(())
            }
            Ok(Err(_)) => Err(SendError::Closed(value)),
            Err(cause) => Err(SendError::Cancelled { value, cause }),
        }
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    /// [`TrySendError`], with the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.channel.try_send(value) {
            Ok(()) => {
                self.handle.sent::<T>();
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(value)) => Err(TrySendError::Closed(value)),
            Err(mpsc::error::TrySendError::Full(value)) => {
                self.handle.used();
                Err(TrySendError::Full { value, capacity: self.channel.max_capacity() })
            }
        }
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.used();
        self.channel.is_closed()
    }

    /// Waits until the receiver is gone.
    ///
    /// # Errors
    /// [`Cancelled`] when the task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> Result<(), Cancelled> {
        self.handle.wait(self.channel.closed()).await
    }

    /// How many messages there is room for now.
    pub fn room(&self) -> usize {
        self.channel.capacity()
    }
}

/// Receives from a channel.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: mpsc::Receiver<T>,
    handle: Handle,
}

impl<T> Receiver<T> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`RecvError`] when every sender is gone and every message received, or when the task is
    /// asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        let value = self.handle.wait(self.channel.recv()).await?.ok_or(RecvError::Closed)?;
        self.handle.taken();
        Ok(value)
    }

    /// The next message, if there is one now.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.channel.try_recv() {
            Ok(value) => {
                self.handle.taken();
                Ok(value)
            }
            Err(mpsc::error::TryRecvError::Empty) => {
                self.handle.used();
                Err(TryRecvError::Empty)
            }
            Err(mpsc::error::TryRecvError::Disconnected) => Err(TryRecvError::Closed),
        }
    }

    /// Lets nobody send any more; what was sent can still be received.
    pub fn close(&mut self) {
        self.channel.close();
        self.handle.taken();
    }

    /// How many messages wait to be received.
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Whether no message waits to be received.
    pub fn is_empty(&self) -> bool {
        self.channel.is_empty()
    }
}
