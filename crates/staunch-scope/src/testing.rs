//! Tests that fail when anything is left.
//!
//! [`Runner::run`] runs a test on a ledger and a runtime of its own, as the body of a scope, and
//! then demands that nothing is live: no task, connection, channel, lease, not even what
//! promised to be perpetual. Tests can therefore run in parallel. The attribute
//! `#[staunch::test]` does this for an ordinary test function; with any other harness call
//! [`run`] or a [`Runner`].
//!
//! What ends on its own soon after the test (a connection that says goodbye, the children of a
//! scope that was dropped) is waited for, by looking again every millisecond for at most
//! [`SETTLE`]: the ledger wakes nobody, so there is nothing to wait on.

use std::{
    collections::HashSet,
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant as RealInstant},
};

use staunch_ledger::{Detector, Entry, EntryId, Label, Ledger, Obligation, State};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::Instant,
};

use crate::{
    context::Context,
    error::{FailureCause, ScopeError, TaskPanic},
    scope::{Ended, ScopeBuilder},
};

/// How long, in real time, what a test left may take to end.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Runs `test` on a runtime of one thread; see [`Runner::run`].
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, scope, testing};
///
/// testing::run(async {
///     let ended = scope(&Context::background(), |s| async move {
///         s.spawn(async { Ok::<_, BoxError>(()) });
///         Ok(())
///     });
///     ended.await.unwrap();
/// });
/// ```
#[track_caller]
pub fn run<F>(test: F) -> F::Output
where
    F: Future,
    F::Output: fmt::Debug,
{
    Runner::current_thread().run(test)
}

/// The runtime that a test runs on.
#[derive(Clone, Copy, Debug)]
#[must_use = "a runner runs nothing by itself"]
pub struct Runner {
    flavor: Flavor,
    settle: Duration,
    explain: Option<fn(Ledger) -> String>,
}

#[derive(Clone, Copy, Debug)]
enum Flavor {
    CurrentThread,
    Paused,
    MultiThread { workers: usize },
}

impl Runner {
    fn new(flavor: Flavor) -> Runner {
        Runner { flavor, settle: SETTLE, explain: None }
    }

    /// One thread: what most tests need.
    pub fn current_thread() -> Runner {
        Runner::new(Flavor::CurrentThread)
    }

    /// One thread, and time that stands still until every task waits for it, then jumps; see
    /// [`tokio::time::pause`].
    pub fn paused() -> Runner {
        Runner::new(Flavor::Paused)
    }

    /// `workers` threads.
    pub fn multi_thread(workers: usize) -> Runner {
        Runner::new(Flavor::MultiThread { workers })
    }

    /// How long, in real time, what the test left may take to end: [`SETTLE`] unless told
    /// otherwise.
    pub fn settle_within(mut self, settle: Duration) -> Runner {
        self.settle = settle;
        self
    }

    /// What else to say of a ledger on which something is left: whatever `explain` finds there, an
    /// empty string being nothing. `#[staunch::test]` has the doctor's rules say why, and what to
    /// change.
    pub fn explained_by(mut self, explain: fn(Ledger) -> String) -> Self {
        self.explain = Some(explain);
        self
    }

    /// Runs `test` to its end and returns its value.
    ///
    /// # Panics
    /// With the test's own panic, if it panicked; what it left is then printed only. Otherwise
    /// if anything is left on the test's ledger, or a task on its runtime that no scope owns, or
    /// if the leak detector missed its canary, so that its silence would mean nothing.
    ///
    /// # Examples
    /// ```should_panic
    /// use staunch_ledger::{Kind, Ledger, Obligation};
    /// use staunch_scope::testing::Runner;
    ///
    /// Runner::multi_thread(2).run(async {
    ///     let leaked = Ledger::current().open(Kind::FILE, Obligation::EndsWithParent);
    ///     Box::leak(Box::new(leaked));
    /// }); // panics: 1 thing is left: file born at src/lib.rs:6:36, ...
    /// ```
    #[track_caller]
    pub fn run<F>(self, test: F) -> F::Output
    where
        F: Future,
        F::Output: fmt::Debug,
    {
        let ledger = Ledger::new();
        let runtime = self.runtime();
        let scope = ScopeBuilder::new(&Context::background())
            .run(async |_| Ok::<_, Infallible>(test.await));
        let (outcome, left) = {
            let _ledger = ledger.enter();
            runtime.block_on(async {
                let outcome = outcome(scope.await);
                let tasks = || Handle::current().metrics().num_alive_tasks();
                let look = || Leftovers::look(*ledger, &HashSet::new(), tasks());
                let left = settle(self.settle, look).await;
                (outcome, left.map(|left| left.explained(*ledger, self.explain)))
            })
        };
        runtime.shutdown_background(); // a thread that is left must not hang the failing test
        conclude(outcome, left)
    }

    fn runtime(self) -> Runtime {
        let mut builder = match self.flavor {
            Flavor::CurrentThread | Flavor::Paused => Builder::new_current_thread(),
            Flavor::MultiThread { .. } => Builder::new_multi_thread(),
        };
        match self.flavor {
            Flavor::CurrentThread => {}
            Flavor::Paused => _ = builder.start_paused(true),
            Flavor::MultiThread { workers } => _ = builder.worker_threads(workers),
        }
        builder.enable_all().build().expect("a runtime needs a few threads and descriptors")
    }
}

/// How the test itself went: it can only succeed or panic.
fn outcome<T>(ended: Ended<T, Infallible>) -> Result<T, TaskPanic> {
    match ended.result {
        Ok(value) => Ok(value),
        Err(ScopeError::Failed { first, .. }) => match first.cause {
            FailureCause::Panic(panic) => Err(panic),
        },
        Err(ScopeError::Cancelled(_)) => unreachable!("nobody cancels the background"),
    }
}

#[track_caller]
fn conclude<T: fmt::Debug>(outcome: Result<T, TaskPanic>, left: Option<Leftovers>) -> T {
    match (outcome, left) {
        (Ok(value), None) => value,
        (Ok(value), Some(left)) => panic!("{left}\nThe test itself returned {value:?}."),
        (Err(panic), left) => {
            if let Some(left) = left {
                eprintln!("{left}");
            }
            panic.resume()
        }
    }
}

/// Drops the futures that `make` makes at each of their awaits, one by one, and demands each
/// time that the ledger settles to what it held before. Returns how many awaits there were.
///
/// The first future runs to its end; how often it was pending on the way is the number of
/// awaits. Then for every `n` another future is dropped after its `n`-th poll.
///
/// # Panics
/// When something is left on the current ledger, naming `n` and what it is.
///
/// # Cancel safety
/// Cancel safe.
///
/// # Examples
/// ```
/// use staunch_scope::{sleep, testing};
/// use std::time::Duration;
///
/// testing::Runner::paused().run(async {
///     let second = Duration::from_secs(1);
///     let awaits = testing::cancel_at_every_await(|| async move {
///         let _ = sleep(second).await;
///         let _ = sleep(second).await;
///     });
///     assert_eq!(awaits.await, 2);
/// });
/// ```
pub async fn cancel_at_every_await<F, Fut>(mut make: F) -> usize
where
    F: FnMut() -> Fut,
    Fut: Future,
{
    let ledger = Ledger::current();
    let before: HashSet<EntryId> = ledger.snapshot().entries().iter().map(Entry::id).collect();
    let check = async |when: fmt::Arguments<'_>| {
        if let Some(left) = settle(SETTLE, || Leftovers::look(ledger, &before, 0)).await {
            panic!("{when}: {left}");
        }
    };
    let awaits = poll_times(usize::MAX, make()).await;
    check(format_args!("run to its end")).await;
    for n in 0..=awaits {
        poll_times(n, make()).await;
        check(format_args!("dropped after poll {n} of {awaits}")).await;
    }
    awaits
}

/// Polls `work` until it ends or was pending `times` times, and drops it; says how often it was
/// pending.
async fn poll_times<F: Future>(times: usize, work: F) -> usize {
    let mut work = pin!(work);
    let mut pending = 0;
    poll_fn(|cx| {
        if pending < times && work.as_mut().poll(cx).is_pending() {
            pending += 1;
            if pending < times {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    })
    .await;
    pending
}

/// What should have ended and has not.
#[derive(Debug)]
struct Leftovers {
    entries: Vec<Entry>,
    /// Tasks of the runtime beyond those on the ledger.
    unowned: usize,
    detector: Detector,
    /// What else there is to say.
    explanation: String,
}

impl Leftovers {
    /// What is live now, beyond what was there `before`; `None` when that is nothing.
    fn look(ledger: Ledger, before: &HashSet<EntryId>, tasks: usize) -> Option<Leftovers> {
        let snapshot = ledger.snapshot();
        let (_, detector) = snapshot.overdue();
        let entries = snapshot.entries().iter().filter(|entry| !before.contains(&entry.id()));
        let entries: Vec<Entry> = entries.cloned().collect();
        let owned = entries.iter().filter(|entry| has_task(entry)).count();
        let unowned = tasks.saturating_sub(owned);
        let settled = entries.is_empty() && unowned == 0 && detector == Detector::Awake;
        (!settled).then_some(Leftovers { entries, unowned, detector, explanation: String::new() })
    }

    fn explained(mut self, ledger: Ledger, explain: Option<fn(Ledger) -> String>) -> Leftovers {
        self.explanation = explain.map(|explain| explain(ledger)).unwrap_or_default();
        self
    }
}

/// Whether an entry stands for a task of the runtime.
fn has_task(entry: &Entry) -> bool {
    entry.polls() > 0 || entry.state() == State::Blocking
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries.len() {
            0 => {}
            1 => write!(f, "1 thing is left:")?,
            more => write!(f, "{more} things are left:")?,
        }
        for entry in &self.entries {
            let (kind, age, state) = (entry.kind(), entry.age(), entry.state());
            write!(f, "\n  {kind} born at {}, {age:?} old, {state}", entry.born_at())?;
            if *entry.label() != Label::None {
                write!(f, ", {}", entry.label())?;
            }
            if let Obligation::Perpetual(reason) = entry.obligation() {
                write!(f, ", perpetual: {reason}")?;
            }
        }
        if self.unowned > 0 {
            write!(f, "\n{} task(s) left on the runtime that no scope owns.", self.unowned)?;
        }
        if self.detector == Detector::Broken {
            write!(f, "\nThe leak detector is broken: it missed its canary.")?;
        }
        if !self.explanation.is_empty() {
            write!(f, "\n{}", self.explanation)?;
        }
        Ok(())
    }
}

/// Calls `look` until it finds nothing, for at most `limit`; what it found last.
async fn settle<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = RealInstant::now() + limit;
    loop {
        let left = look()?;
        if RealInstant::now() > until {
            return Some(left);
        }
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        if Instant::now() == before {
            // Time is paused, and would not move by itself while a thread is blocking.
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        // Lets whoever is ready run. Often, because it may take several steps to end.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }
}
