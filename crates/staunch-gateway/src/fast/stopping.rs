//! Whether the listener is asked to stop: then an answer is its connection's last.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use staunch_scope::{Wait, shield};

/// Known to what is shielded from the ask itself.
#[derive(Debug, Default)]
pub(crate) struct Stopping(AtomicBool);

impl Stopping {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Does `work`, which the ask does not end, but which is polled once it has come.
    pub(crate) async fn tell<F: Future>(&self, work: F) -> F::Output {
        let (mut wait, mut work) = (Wait::new(), pin!(shield(work)));
        poll_fn(|cx| {
            if !self.is_asked() && wait.poll_cancelled(cx).is_ready() {
                self.0.store(true, Ordering::Relaxed);
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
