//! The signals of a run: those that end it, and the one that has its file taken up.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Until somebody takes it, since it would end the process that does not listen for it.
    hangup: Option<Signal>,
}

impl Signals {
    pub(crate) fn register() -> anyhow::Result<Signals> {
        let register = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals {
            terminate: register(SignalKind::terminate())?,
            interrupt: register(SignalKind::interrupt())?,
            hangup: Some(register(SignalKind::hangup())?),
        })
    }

    /// SIGHUP, also those that have come by then.
    pub(crate) fn take_hangup(&mut self) -> Option<Signal> {
        self.hangup.take()
    }

    /// Waits for one that ends the run, and returns its name.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                () = received(self.hangup.as_mut()) => tracing::warn!(
                    "SIGHUP, but without a file or a listener of the gateway nothing can be taken up: nothing changes"
                ),
            }
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}
