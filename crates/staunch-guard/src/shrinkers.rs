//! What gives something back when it is asked to.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Level, report::Cause, shared::Shared};

/// What a shrinker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pressing {
    /// The level.
    pub level: Level,
    /// What runs short.
    pub cause: Cause,
}

/// Those who can give something back.
#[derive(Default)]
pub(crate) struct Shrinkers(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    all: Vec<Arc<Shrinker>>,
}

pub(crate) struct Shrinker {
    key: u64,
    level: Level,
    name: &'static str,
    shrink: Box<dyn Fn(Pressing) + Send + Sync>,
    ran: AtomicU64,
}

/// One that takes longer is named in the log: it keeps the others waiting.
const SLOW: Duration = Duration::from_millis(100);

impl Shrinkers {
    pub(crate) fn add(
        &self,
        level: Level,
        name: &'static str,
        shrink: Box<dyn Fn(Pressing) + Send + Sync>,
    ) -> u64 {
        let key = self.key();
        let ran = AtomicU64::new(0);
        self.table().all.push(Arc::new(Shrinker { key, level, name, shrink, ran }));
        key
    }

    /// One that no registration has.
    pub(crate) fn key(&self) -> u64 {
        let mut table = self.table();
        table.next += 1;
        table.next
    }

    fn remove(&self, key: u64) {
        let mut table = self.table();
        let removed = table.all.iter().position(|it| it.key == key);
        let removed = removed.map(|position| table.all.remove(position));
        drop(table);
        drop(removed); // what it holds may have a lot to say about its end
    }

    /// Those for `level` and for the levels before it, in the order they were registered.
    pub(crate) fn for_level(&self, level: Level) -> Vec<Arc<Shrinker>> {
        self.table().all.iter().filter(|it| it.level <= level).map(Arc::clone).collect()
    }

    pub(crate) fn names(&self) -> Vec<(Level, &'static str, u64)> {
        let ran = |it: &Shrinker| it.ran.load(Ordering::Relaxed);
        self.table().all.iter().map(|it| (it.level, it.name, ran(it))).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shrinker {
    /// Calls it. One that panics is no reason not to call the others.
    pub(crate) fn run(&self, pressing: Pressing) {
        let begun = Instant::now();
        self.ran.fetch_add(1, Ordering::Relaxed);
        let name = self.name;
        if catch_unwind(AssertUnwindSafe(|| (self.shrink)(pressing))).is_err() {
            tracing::error!(name, "guard: what was registered to give something back panicked");
        }
        let took = begun.elapsed();
        if took > SLOW {
            tracing::warn!(name, ?took, "guard: giving back takes long, and keeps others waiting");
        }
    }
}

/// A shrinker is called as long as this lives.
#[must_use = "dropping it unregisters what was registered"]
pub struct Registration {
    guard: Weak<Shared>,
    key: u64,
}

impl Registration {
    pub(crate) fn new(guard: Weak<Shared>, key: u64) -> Registration {
        Registration { guard, key }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.upgrade() {
            guard.shrinkers.remove(self.key);
            guard.closers.remove(self.key);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("key", &self.key).finish_non_exhaustive()
    }
}
