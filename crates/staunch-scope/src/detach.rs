//! The way out of structure: a task that no scope owns, for a stated reason.
//!
//! A detached task has a table of members for itself, so everything that holds for children
//! (signals, states on the ledger, the remains of scopes it drops) holds for it as well.

use std::{
    future::Future,
    panic::Location,
    sync::{Arc, Weak},
};

use staunch_ledger::{Entry, EntryId, Kind, Ledger, Obligation, Observation, State};

use crate::{
    context::{Cancelled, Context},
    error::TaskPanic,
    frame::{self, Signal},
    members::{Members, Role},
    task::{Outcome, Task},
    wait::Wait,
};

/// Starts a task that no scope owns: it outlives everybody, until it ends by itself, is told to,
/// or the runtime is shut down.
///
/// **Prefer [`Scope::spawn`](crate::Scope::spawn).** Nobody waits for a detached task, nobody
/// learns of its failure, and it makes a shutdown abrupt. It is for what belongs to the process
/// as a whole, such as a thread pool's housekeeper in a library that has no scope to put it in.
/// The price is the reason: it is on the ledger, for all to see, as long as the task lives.
///
/// The task keeps the trace id and values of the current [`Context`], but neither its deadline
/// nor its cancellation. A panic is logged, and observed as `panicked-task`.
///
/// # Panics
/// Outside a tokio runtime.
///
/// # Examples
/// ```
/// use staunch_scope::{detach, detached, sleep};
/// use staunch_ledger::Ledger;
/// use std::time::Duration;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let keeper = detach("refreshes the certificate for as long as the process lives", async {
///     while sleep(Duration::from_secs(3600)).await.is_ok() {
///         // refresh
///     }
/// });
/// assert_eq!(detached(Ledger::global()).len(), 1);
/// keeper.stop();
/// keeper.ended().await.unwrap();
/// assert_eq!(detached(Ledger::global()).len(), 0);
/// # });
/// ```
#[track_caller]
pub fn detach<F>(reason: &'static str, work: F) -> Detached
where
    F: Future<Output = ()> + Send + 'static,
{
    let born_at = Location::caller();
    let ledger = Ledger::current();
    let members = Arc::new(Members::detached(&Context::current().without_cancel(), ledger));
    let open = || ledger.open_at(born_at, Kind::TASK, Obligation::Perpetual(reason), None);
    let frame = members.admit(Role::Child, open).expect("a new table of members has room for one");
    frame::with_current(|frame| frame.trail().hand_on_by_spawn());
    let detached = Detached { members: Arc::downgrade(&members), id: frame.account().id() };
    let task = Task::new(frame, work, move |outcome| {
        if let Outcome::Panicked(payload) = outcome {
            report_panic(ledger, born_at, reason, &TaskPanic::new(payload));
        }
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where tasks without owner are made"
    )]
    tokio::spawn(task);
    detached
}

/// The detached tasks on a ledger, each with its reason as its obligation.
pub fn detached(ledger: Ledger) -> Vec<Entry> {
    let snapshot = ledger.snapshot();
    let is_detached = |entry: &&Entry| {
        let perpetual = matches!(entry.obligation(), Obligation::Perpetual(_));
        entry.kind() == Kind::TASK && entry.parent().is_none() && perpetual
    };
    snapshot.entries().iter().filter(is_detached).cloned().collect()
}

/// A handle to a detached task. Dropping it changes nothing: the task goes on.
#[derive(Clone, Debug)]
pub struct Detached {
    /// Gone when the task is.
    members: Weak<Members>,
    id: EntryId,
}

impl Detached {
    /// Asks the task to stop: its awaits return [`Cancelled`] from now on.
    pub fn stop(&self) {
        self.raise(Signal::Asked);
    }

    /// Has the task's future dropped at its next poll, wherever it waits.
    pub fn abort(&self) {
        self.raise(Signal::Forced);
    }

    fn raise(&self, signal: Signal) {
        if let Some(members) = self.members.upgrade() {
            members.raise(signal, Cancelled::Requested);
        }
    }

    /// Waits until the task has ended and its destructor has run.
    ///
    /// # Errors
    /// [`Cancelled`] when the waiting task itself is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) -> Result<(), Cancelled> {
        let Some(members) = self.members.upgrade() else { return Ok(()) };
        Wait::until(State::Join, async {
            while members.live() > 0 {
                members.changed().await;
            }
            members.notify(); // somebody else may wait, too
        })
        .await
    }

    /// Its entry on the ledger.
    pub fn id(&self) -> EntryId {
        self.id
    }
}

fn report_panic(
    ledger: Ledger,
    born_at: &'static Location<'static>,
    reason: &'static str,
    panic: &TaskPanic,
) {
    tracing::error!(%born_at, reason, message = panic.message(), "a detached task panicked");
    ledger.observe(Observation {
        rule: "panicked-task",
        kind: Kind::TASK,
        born_at,
        text: format!("detached ({reason}), it panicked: {}", panic.message()),
        at: ledger.now(),
    });
}
