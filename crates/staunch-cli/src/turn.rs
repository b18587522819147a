//! Whose turn it is to change what the process is: one change after the other.
//!
//! A reload in the middle of an upgrade would remove what the successor has been handed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Gives turns; clones give the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

/// Nobody else changes anything until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn(OwnedSemaphorePermit);

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns(Arc::new(Semaphore::new(1)))
    }

    /// Waits for its turn, which is for `what`.
    ///
    /// # Cancel safety
    /// Who no longer waits has lost its place, and nothing else.
    pub(crate) async fn next(&self, what: &str) -> Turn {
        if self.0.available_permits() == 0 {
            tracing::info!("{what}: waits for what changes already");
        }
        match Arc::clone(&self.0).acquire_owned().await {
            Ok(permit) => Turn(permit),
            Err(_) => std::future::pending().await, // nobody closes it
        }
    }
}

impl Turn {
    /// Nobody has one after it.
    pub(crate) fn keep_for_good(self) {
        self.0.forget();
    }
}
