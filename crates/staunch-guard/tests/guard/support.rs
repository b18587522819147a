//! A guard whose memory is what the test says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use staunch::{BoxError, Context, Scope, scope};
use staunch_guard::{Guard, GuardOptions, Level, Usage};

/// Memory of 100 bytes, of which so many are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<AtomicU64>);

impl Memory {
    pub(crate) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::SeqCst);
    }

    /// Options with this memory, and no room taken between looks.
    pub(crate) fn options(&self) -> GuardOptions {
        let memory = self.clone();
        let usage = move || Usage { bytes: memory.0.load(Ordering::SeqCst), limit: Some(100) };
        GuardOptions { memory: Some(Arc::new(usage)), request_bytes: 0, ..GuardOptions::default() }
    }
}

/// Runs `test` with a guard.
pub(crate) async fn with_guard(
    options: GuardOptions,
    test: impl AsyncFnOnce(Guard, &Scope<BoxError>),
) {
    let ended = scope(&Context::current(), |s| async move {
        let guard = Guard::start(&s, options)?;
        test(guard, &s).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

/// A guard is never far from a small limit of fds.
pub(crate) fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    assert!(maximum.is_none_or(|most| most > 8000), "needs `ulimit -Hn` of more than 8000");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Waits until the guard sees `level`.
pub(crate) async fn until(guard: &Guard, level: Level) {
    let mut levels = guard.watch();
    let reached = async {
        while guard.level() != level {
            levels.changed().await.unwrap();
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "never {level}: {:?}", guard.status());
}
