//! One value, sent once.

use std::{panic::Location, pin::Pin};

use tokio::sync::oneshot;

use super::core::Handle;
pub use super::error::{RecvError, SendError, TryRecvError};
use crate::context::Cancelled;

/// A channel for one value.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, oneshot, scope};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let answer = scope(&Context::background(), |s| async move {
///     let (sender, mut receiver) = oneshot::channel();
///     s.spawn(async move { Ok(sender.send(42)?) });
///     Ok::<_, BoxError>(receiver.recv().await?)
/// });
/// assert_eq!(answer.await.unwrap(), 42);
/// # });
/// ```
#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    let (sending, receiving) = Handle::pair(Location::caller());
    (
        Sender { channel: sender, handle: sending },
        Receiver { channel: Some(receiver), handle: receiving },
    )
}

/// Sends the value.
#[derive(Debug)]
pub struct Sender<T> {
    channel: oneshot::Sender<T>,
    handle: Handle,
}

impl<T> Sender<T> {
    /// Sends `value`; never waits.
    ///
    /// # Errors
    /// [`SendError::Closed`], with the value, when the receiver is gone.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.channel.send(value).map_err(SendError::Closed)?;
        self.handle.sent::<T>();
        Ok(())
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
    pub async fn closed(&mut self) -> Result<(), Cancelled> {
        self.handle.wait(self.channel.closed()).await
    }
}

/// Receives the value.
#[derive(Debug)]
pub struct Receiver<T> {
    /// `None` once it has given its value, or its sender is gone.
    channel: Option<oneshot::Receiver<T>>,
    handle: Handle,
}

impl<T> Receiver<T> {
    /// Waits for the value. It comes once; after that the channel is closed.
    ///
    /// # Errors
    /// [`RecvError`] when the sender is gone, or when the task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe: the value is not lost.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        let channel = self.channel.as_mut().ok_or(RecvError::Closed)?;
        let received = self.handle.wait(Pin::new(channel)).await?;
        self.channel = None;
        let value = received.map_err(|_| RecvError::Closed)?;
        self.handle.taken();
        Ok(value)
    }

    /// The value, if it is there.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.handle.used();
        let channel = self.channel.as_mut().ok_or(TryRecvError::Closed)?;
        let received = channel.try_recv();
        if matches!(received, Err(oneshot::error::TryRecvError::Empty)) {
            return Err(TryRecvError::Empty);
        }
        self.channel = None;
        let value = received.map_err(|_| TryRecvError::Closed)?;
        self.handle.taken();
        Ok(value)
    }
}
