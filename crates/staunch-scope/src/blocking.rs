//! Work that blocks its thread, as the child of a scope.
//!
//! A blocking child has two halves with one frame: the work on its thread, and a [`Vigil`] on
//! the runtime, which says so when the scope's future was dropped and the work outlasts the
//! grace. It leaves the scope when both have ended; the vigil ends as soon as the work has.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, Waker},
};

use staunch_ledger::{Account, State};
use tokio::{sync::oneshot, time::Sleep};

use crate::{
    context::Context,
    frame::{self, Frame, Signal},
    task::{Outcome, reap_when_due},
};

/// What blocking work can know of its scope.
///
/// On its thread, [`Context::current`] and [`log_fields`](crate::log_fields) are those of its
/// scope, as in every other child.
#[derive(Debug)]
pub struct Blocking {
    frame: Arc<Frame>,
}

impl Blocking {
    /// Whether the work has been asked to stop. Look often: nothing else can end it.
    pub fn is_asked(&self) -> bool {
        self.frame.signal() >= Signal::Asked
    }

    /// The context of the scope that the work belongs to.
    pub fn context(&self) -> &Context {
        self.frame.members().context()
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
    // No waker is its root: awaits below a `block_on` on the thread register with the frame.
    frame.set_root(Waker::noop());
    let (running, ended) = oneshot::channel();
    let vigil = Vigil { ended, registered: None, reaper: None, frame: Arc::clone(&frame) };
    #[expect(clippy::disallowed_methods, reason = "the other half of the child that is started")]
    tokio::spawn(vigil);
    #[expect(clippy::disallowed_methods, reason = "the one place where blocking work is started")]
    tokio::task::spawn_blocking(move || {
        let _running: oneshot::Sender<()> = running;
        frame.account().set_state(State::Blocking);
        let blocking = Blocking { frame: Arc::clone(&frame) };
        let mut home = Some(frame);
        let current = frame::enter(&mut home);
        let outcome = match catch_unwind(AssertUnwindSafe(|| work(&blocking))) {
            Ok(value) => Outcome::Ended(value),
            Err(payload) => Outcome::Panicked(payload),
        };
        drop(current);
        sink(outcome);
    });
}

/// The half of a blocking child that can wait.
struct Vigil {
    /// Dropped by the other half.
    ended: oneshot::Receiver<()>,
    /// Its waker among those of the frame.
    registered: Option<u64>,
    /// Runs once the scope's future was dropped.
    reaper: Option<Pin<Box<Sleep>>>,
    frame: Arc<Frame>,
}

impl Future for Vigil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let this = &mut *self;
        this.registered = Some(this.frame.register(this.registered, cx.waker()));
        reap_when_due(&this.frame, &mut this.reaper, cx);
        Pin::new(&mut this.ended).poll(cx).map(drop)
    }
}
