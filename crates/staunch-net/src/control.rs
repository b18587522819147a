//! What can be asked of a listener while it serves.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use crate::listening::Listening;

/// Says whether connections are refused for the time being.
pub(crate) type Refuses = dyn Fn() -> bool + Send + Sync;

/// A way to ask something of a [`Listener`](crate::Listener) while it serves; keeps nothing of it alive.
///
/// # Examples
/// ```
/// use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::Tcp("127.0.0.1:0".parse()?);
/// let listener = Listener::bind(&endpoint, &SocketOptions::default(), Limits::default())?;
/// let control = listener.control();
/// assert_eq!(control.close_idle(10, Duration::ZERO), 0); // it has none
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Control {
    listening: Weak<Listening>,
}

impl Control {
    pub(crate) fn new(listening: &Arc<Listening>) -> Control {
        Control { listening: Arc::downgrade(listening) }
    }

    /// Closes up to `most` connections that have been at rest for `at_least`, those that have been it
    /// for the longest first, and says how many. Their peers see an orderly end, as after `idle`.
    ///
    /// At rest is what says so of itself ([`Connection::rests`](crate::Connection::rests)): an HTTP
    /// connection between two requests, and no other.
    pub fn close_idle(&self, most: usize, at_least: Duration) -> usize {
        let listening = self.listening.upgrade();
        listening.map_or(0, |listening| listening.watchdog().close_idle(most, at_least))
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
