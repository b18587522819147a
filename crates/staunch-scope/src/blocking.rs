//! Work that blocks its thread, as the child of a scope.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use staunch_ledger::{Account, State};

use crate::{
    frame::{Frame, Signal},
    task::Outcome,
};

/// What blocking work can know of its scope.
#[derive(Debug)]
pub struct Blocking {
    frame: Arc<Frame>,
}

impl Blocking {
    /// Whether the work has been asked to stop. Look often: nothing else can end it.
    pub fn is_asked(&self) -> bool {
        self.frame.signal() >= Signal::Asked
    }

    /// The work's entry on the ledger, for progress and labels.
    pub fn account(&self) -> &Account {
        self.frame.account()
    }
}

/// Runs `work` on a blocking thread; `sink` learns how it ended.
pub(crate) fn start<R, F, S>(frame: Arc<Frame>, work: F, sink: S)
where
    R: Send + 'static,
    F: FnOnce(&Blocking) -> R + Send + 'static,
    S: FnOnce(Outcome<R>) + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the one place where blocking work is started")]
    tokio::task::spawn_blocking(move || {
        let _ledger = frame.account().ledger().enter();
        frame.account().set_state(State::Running);
        let blocking = Blocking { frame };
        let outcome = match catch_unwind(AssertUnwindSafe(|| work(&blocking))) {
            Ok(value) => Outcome::Ended(value),
            Err(payload) => Outcome::Panicked(payload),
        };
        sink(outcome);
    });
}
