//! A look at the workers from outside, for polls that do not return.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use staunch_ledger::{Entry, EntryId, Kind, Ledger, Obligation, State};

use crate::task::{BLOCKED_WORKER, observe_blocked};

/// The time from one look to the next. A look costs about 1 ns for each entry that is live.
const EVERY: Duration = Duration::from_secs(1);

/// A thread that reports polls which do not return: a task that spins, or waits for a lock of
/// `std`, and with it holds up every other task of its worker.
///
/// A task whose poll took longer than [`BLOCKED_WORKER`] says so itself when the poll is over.
/// This thread sees it while it lasts, however stuck the runtime is: it looks once a second, and
/// reports each such poll once, as a warning and as `blocked-worker` on the ledger. One is
/// enough for a ledger. Work in [`Scope::blocking`](crate::Scope::blocking) may block and is not
/// reported; nor is a poll that hangs after an await of ours in it was pending, as in a `join!`:
/// the ledger then shows what that await waits for.
///
/// Dropping it stops the thread at once and waits for its end.
///
/// # Examples
/// ```
/// use staunch_scope::WorkerWatch;
///
/// fn main() -> std::io::Result<()> {
///     let _watch = WorkerWatch::start()?;
///     // start the runtime and serve
///     Ok(())
/// }
/// ```
#[must_use = "dropping it ends the watch"]
#[derive(Debug)]
pub struct WorkerWatch {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerWatch {
    /// Starts to watch the tasks on the current ledger.
    ///
    /// # Errors
    /// The system gives no thread.
    #[track_caller]
    pub fn start() -> io::Result<WorkerWatch> {
        const REASON: &str = "watches for polls that do not return, until it is dropped";
        let ledger = Ledger::current();
        let account = ledger.open(Kind::OTHER, Obligation::Perpetual(REASON));
        account.label("worker watch");
        account.set_state(State::Blocking);
        let stop = Arc::new(Stop::default());
        let asked = Arc::clone(&stop);
        let thread = thread::Builder::new().name("worker-watch".to_owned()).spawn(move || {
            let _account = account;
            watch(ledger, &asked);
        })?;
        Ok(WorkerWatch { stop, thread: Some(thread) })
    }
}

impl Drop for WorkerWatch {
    fn drop(&mut self) {
        self.stop.ask();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(
                "the worker watch had panicked: polls that did not return may have gone unseen"
            );
        }
    }
}

fn watch(ledger: Ledger, stop: &Stop) {
    let mut reported = Vec::new();
    while !stop.is_asked_within(EVERY) {
        reported = look(ledger, &reported);
    }
}

/// A poll: its task, and the number of the task's polls so far.
type Poll = (EntryId, u64);

/// Reports the polls that are stuck now, unless they are in `reported`, and returns them all.
fn look(ledger: Ledger, reported: &[Poll]) -> Vec<Poll> {
    let running = ledger.entries_in(Kind::TASK, State::Running);
    let stuck = running.iter().filter(|task| task.without_progress() > BLOCKED_WORKER);
    let report = |task: &Entry| {
        let poll = (task.id(), task.polls());
        if !reported.contains(&poll) {
            report(ledger, task);
        }
        poll
    };
    stuck.map(report).collect()
}

fn report(ledger: Ledger, task: &Entry) {
    let held = task.without_progress();
    tracing::warn!(born_at = %task.born_at(), ?held, label = %task.label(), "a task holds its worker: use Scope::blocking for work that blocks");
    let what = format_args!("one poll has held its worker for {held:?} and has not returned");
    observe_blocked(ledger, task, what);
}

/// Whether the thread is to stop.
#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn asked(&self) -> MutexGuard<'_, bool> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        *self.asked() = true;
        self.changed.notify_all();
    }

    /// Waits until it is asked to stop, for at most `limit`.
    fn is_asked_within(&self, limit: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.asked(), limit, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
