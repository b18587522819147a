//! What a pool must know about its connections.

use std::{error::Error, future::Future};

/// Makes, checks and ends the connections of a pool.
///
/// The pool gives each call a deadline ([`PoolOptions`](crate::PoolOptions)) and drops the future
/// when it has passed, or when nobody waits for it any more. What such a future held is then gone,
/// never pooled. A panic is caught by whoever called, and the pool's accounts stay right.
///
/// # Examples
/// ```
/// use staunch_pool::Manager;
///
/// /// Numbers its connections.
/// struct Numbers(std::sync::atomic::AtomicU64);
///
/// impl Manager for Numbers {
///     type Connection = u64;
///     type Error = std::convert::Infallible;
///
///     async fn connect(&self) -> Result<u64, Self::Error> {
///         Ok(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
///     }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// Why there is no connection, or why it is no longer good.
    type Error: Error + Send + Sync + 'static;

    /// Makes a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Whether there is no connection because something is lacking here, such as descriptors
    /// ([`DialError::is_local`](staunch_net::DialError::is_local)). That says nothing of the other side, which
    /// is not taken for down then.
    fn is_local(&self, _error: &Self::Error) -> bool {
        false
    }

    /// Whether the other side still answers, for instance by `SELECT 1`. Called where
    /// [`PoolOptions`](crate::PoolOptions) says `test_on_…`.
    fn validate(
        &self,
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }

    /// In which condition a connection is after use. Called whenever an
    /// [`InUse`](crate::InUse) is dropped, so it must be quick and must not block; what it costs
    /// to find out more belongs into [`reset`](Manager::reset).
    fn condition(&self, _connection: &mut Self::Connection) -> Condition {
        Condition::Clean
    }

    /// Makes a [`Condition::Dirty`] connection as good as new: ends its transaction, forgets its
    /// session's settings.
    fn reset(
        &self,
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }

    /// Says goodbye and ends the connection. Dropping must do as well, if less politely.
    fn close(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send {
        async { drop(connection) }
    }

    /// A way to end the connection while somebody is using it, as when its lease is revoked:
    /// shuts the socket down, or ends the task that drives it. Whoever uses it sees an error.
    fn killer(&self, _connection: &Self::Connection) -> Option<Box<dyn Fn() + Send + Sync>> {
        None
    }

    /// A way to see whether the connection is at work for whoever uses it, for instance whether a
    /// query is running. One that is, is slow, not abandoned, whatever else its user waits for.
    fn pulse(&self, _connection: &Self::Connection) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        None
    }
}

/// In which condition a connection is when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As good as new.
    Clean,
    /// Good after a [`reset`](Manager::reset).
    Dirty,
    /// In the middle of something, or failed: it is destroyed.
    Broken,
}
