//! Closing what is idle when fds run short.
//!
//! Whoever has idle connections is asked for those that were idle for a minute, and if these are too
//! few for those of ten seconds, of one, and for the rest: so among several listeners, too, the longest
//! idle go first.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use staunch_ledger::{Kind, Observation};

use crate::{Level, Reaction, Reading, shared::Shared};

/// What is asked of whoever has idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closing {
    /// No more than so many.
    pub most: usize,
    /// None that was idle for less.
    pub at_least: Duration,
}

const AGES: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_secs(10), Duration::from_secs(1), Duration::ZERO];

/// What was closed shows in the count of fds within this time.
const SETTLES: Duration = Duration::from_secs(1);

type Close = dyn Fn(Closing) -> usize + Send + Sync;

/// Those who have idle connections.
#[derive(Default)]
pub(crate) struct Closers {
    all: Mutex<Vec<(u64, Arc<Close>)>>,
    /// Connections that were closed.
    pub(crate) closed: AtomicU64,
    /// It was said, and the level has not been normal since.
    is_told: AtomicBool,
    /// The count of fds that the last round saw, and when.
    last: Mutex<Option<(u64, Duration)>>,
}

impl Closers {
    pub(crate) fn add(&self, key: u64, close: Arc<Close>) {
        self.all().push((key, close));
    }

    pub(crate) fn remove(&self, key: u64) {
        let mut all = self.all();
        let removed = all.iter().position(|it| it.0 == key).map(|position| all.remove(position));
        drop(all);
        drop(removed);
    }

    fn all(&self) -> MutexGuard<'_, Vec<(u64, Arc<Close>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pressure is over: the next one is said again.
    pub(crate) fn relax(&self) {
        self.is_told.store(false, Ordering::Relaxed);
    }

    /// Whether the count of fds can know of what was closed before.
    fn is_settled(&self, reading: &Reading) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_settled = last
            .is_none_or(|(fds, at)| fds != reading.fds || reading.at.saturating_sub(at) >= SETTLES);
        if is_settled {
            *last = Some((reading.fds, reading.at));
        }
        is_settled
    }

    fn close(&self, most: usize) -> usize {
        let all: Vec<_> = self.all().iter().map(|(_, close)| Arc::clone(close)).collect();
        let mut closed = 0;
        for at_least in AGES {
            for close in &all {
                let closing = Closing { most: most - closed, at_least };
                if closing.most == 0 {
                    return closed;
                }
                let count = catch_unwind(AssertUnwindSafe(|| close(closing)));
                closed += count.map_or_else(
                    |_| {
                        tracing::error!("guard: what closes idle connections panicked");
                        0
                    },
                    |count| count.min(closing.most),
                );
            }
        }
        closed
    }
}

/// How many fds must be closed so that fewer are open than at the mark.
fn excess(reading: &Reading, percent: u8) -> usize {
    let Some(most) = reading.fds_max else { return 0 };
    let mark = (u128::from(most) * u128::from(percent)).div_ceil(100);
    let excess = (u128::from(reading.fds) + 1).saturating_sub(mark);
    usize::try_from(excess).unwrap_or(usize::MAX)
}

impl Shared {
    /// Closes as many idle connections as are needed to come below the mark of fds.
    pub(crate) fn close_idle(&self, level: Level) {
        let options = &self.options;
        let Some(first) = options.reactions.first(level, Reaction::CloseIdle) else { return };
        let reading = self.sample().0.reading;
        let excess = excess(&reading, options.marks.percent(first));
        if excess == 0 || !self.closers.is_settled(&reading) {
            return;
        }
        let closed = self.closers.close(excess);
        self.closers.closed.fetch_add(closed as u64, Ordering::Relaxed);
        if closed > 0 && !self.closers.is_told.swap(true, Ordering::Relaxed) {
            self.tell_closed(closed, &reading);
        }
    }

    fn tell_closed(&self, closed: usize, reading: &Reading) {
        let name = self.options.name;
        let (fds, most) = (reading.fds, reading.fds_max.unwrap_or(u64::MAX));
        let text = format!(
            "idle connections are closed, the longest idle first: {closed} of {fds} fds, of which there \
             may be {most}; raise `ulimit -n`, or lower `idle` or `connections`"
        );
        tracing::warn!(guard = name, "{text}");
        self.ledger.observe(Observation {
            rule: "idle-closed",
            kind: Kind::CONNECTION,
            born_at: self.born_at,
            text: format!("{name}: {text}"),
            at: self.ledger.now(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_that_fewer_are_open_than_at_the_mark() {
        let check = |fds, fds_max, percent, expected| {
            let reading = Reading { fds, fds_max, ..Reading::default() };
            assert_eq!(excess(&reading, percent), expected, "{fds} of {fds_max:?}");
        };
        check(89, Some(100), 90, 0);
        check(90, Some(100), 90, 1);
        check(100, Some(100), 90, 11);
        check(57, Some(64), 90, 0); // the mark is 57.6
        check(58, Some(64), 90, 1);
        check(1000, None, 90, 0);
    }

    #[test]
    fn the_longest_idle_of_all_go_first() {
        let closers = Closers::default();
        let asked = Arc::new(Mutex::new(Vec::new()));
        for (key, idle) in [(0, [0, 3, 1, 9]), (1, [2, 0, 0, 9])] {
            let (asked, idle) = (Arc::clone(&asked), Mutex::new(idle));
            let close = move |closing: Closing| {
                let age = AGES.iter().position(|age| *age == closing.at_least).unwrap();
                let mut idle = idle.lock().unwrap();
                let count = idle[age].min(closing.most);
                idle[age] -= count;
                asked.lock().unwrap().push((key, age, count));
                count
            };
            closers.add(key, Arc::new(close));
        }
        assert_eq!(closers.close(7), 7);
        let expected =
            [(0, 0, 0), (1, 0, 2), (0, 1, 3), (1, 1, 0), (0, 2, 1), (1, 2, 0), (0, 3, 1)];
        assert_eq!(*asked.lock().unwrap(), expected);
        closers.remove(0);
        assert_eq!(closers.close(100), 9, "those of the other are all there are");
    }
}
