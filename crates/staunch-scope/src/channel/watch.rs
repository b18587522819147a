//! The latest value, for many to look at and wait for the next.

use std::panic::Location;

use tokio::sync::watch;

use super::core::{Handle, Side};
pub use super::error::{RecvError, SendError};
use crate::context::Cancelled;

/// A channel that holds `first` until another value is sent. Only the latest is kept.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, scope, watch};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let seen = scope(&Context::background(), |s| async move {
///     let (sender, mut receiver) = watch::channel("starting");
///     s.spawn(async move { Ok(sender.send("ready")?) });
///     receiver.changed().await?;
///     Ok::<_, BoxError>(receiver.latest())
/// });
/// assert_eq!(seen.await.unwrap(), "ready");
/// # });
/// ```
#[track_caller]
pub fn channel<T>(first: T) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = watch::channel(first);
    let (sending, receiving) = Handle::pair(Location::caller());
    (Sender { channel: sender, handle: sending }, Receiver { channel: receiver, handle: receiving })
}

/// Sets the value. Clones set the same one.
#[derive(Debug)]
pub struct Sender<T> {
    channel: watch::Sender<T>,
    handle: Handle,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { channel: self.channel.clone(), handle: self.handle.sibling(Side::Sender) }
    }
}

impl<T> Sender<T> {
    /// Sets the value, and wakes whoever waits for a change.
    ///
    /// # Errors
    /// [`SendError::Closed`], with the value, when every receiver is gone.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.channel.send(value).map_err(|error| SendError::Closed(error.0))?;
        self.handle.sent::<T>();
        Ok(())
    }

    /// Changes the value in place, whether or not there are receivers.
    pub fn modify(&self, change: impl FnOnce(&mut T)) {
        self.channel.send_modify(change);
        self.handle.sent::<T>();
    }

    /// Looks at the value. Senders wait meanwhile.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        self.handle.used();
        look(&self.channel.borrow())
    }

    /// Another receiver, for which the value of now is not new.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { channel: self.channel.subscribe(), handle: self.handle.sibling(Side::Receiver) }
    }

    /// Waits until every receiver is gone.
    ///
    /// # Errors
    /// [`Cancelled`] when the task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> Result<(), Cancelled> {
        self.handle.wait(self.channel.closed()).await
    }
}

/// Looks at the value. Clones look at the same one, each with its own idea of what is new.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: watch::Receiver<T>,
    handle: Handle,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver { channel: self.channel.clone(), handle: self.handle.sibling(Side::Receiver) }
    }
}

impl<T> Receiver<T> {
    /// Waits until a value was sent that this receiver has not seen.
    ///
    /// # Errors
    /// [`RecvError`] when every sender is gone and the last value was seen, or when the task is
    /// asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe: the change is not lost.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        let changed = self.handle.wait(self.channel.changed()).await?;
        changed.map_err(|_| RecvError::Closed)
    }

    /// Looks at the value, which is then seen. Senders wait meanwhile.
    pub fn with<R>(&mut self, look: impl FnOnce(&T) -> R) -> R {
        self.handle.used();
        look(&self.channel.borrow_and_update())
    }

    /// A copy of the value, which is then seen.
    pub fn latest(&mut self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }
}
