//! Whether the listener is asked to stop: then an answer is its connection's last.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
};

use staunch_scope::{Shield, Wait};

/// Known to what is shielded from the ask itself.
#[derive(Debug, Default)]
pub(crate) struct Stopping(AtomicBool);

impl Stopping {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Does `work`, which is shielded from the ask, but polled once it has come.
    pub(crate) async fn tell<F: Future>(&self, mut work: Pin<&mut Shield<F>>) -> F::Output {
        let mut wait = Wait::new();
        poll_fn(|cx| {
            if !self.is_asked() && wait.poll_cancelled(cx).is_ready() {
                self.0.store(true, Ordering::Relaxed);
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}
