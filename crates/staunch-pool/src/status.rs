//! What a pool has done and who has its connections.

use std::{
    fmt,
    panic::Location,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a pool holds now, and what it has done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The pool's name.
    pub name: &'static str,
    /// `max_total`
    pub max_total: usize,
    /// Connections, idle, leased or being made.
    pub size: usize,
    /// Those that are idle.
    pub idle: usize,
    /// Those that are leased.
    pub leased: usize,
    /// Tasks that wait for one.
    pub waiters: usize,
    /// Leases given out at once.
    pub acquired_at_once: u64,
    /// Leases that were waited for, a connect counting as waiting: how many took at most so
    /// long. The last is without limit.
    pub acquired_within: [(Duration, u64); BUCKETS],
    /// Acquires that failed.
    pub failed: u64,
    /// Connections made.
    pub created: u64,
    /// Connections ended, by reason.
    pub destroyed: [(Destroyed, u64); Destroyed::ALL.len()],
    /// Leases that were abandoned, by the line that leased them; the first 32 lines.
    pub abandoned: Vec<(&'static Location<'static>, u64)>,
    /// Whether nobody may connect now: the last try has failed, and the next is not due yet, or is under
    /// way. No sign of health: without anybody who asks it ends by itself.
    pub is_down: bool,
}

/// Who has leases.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// The line that leased them.
    pub born_at: &'static Location<'static>,
    /// How many.
    pub count: usize,
    /// How long the first of them has been held.
    pub oldest: Duration,
    /// The longest time that one of them has not been used.
    pub unused_for: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { born_at, count, oldest, unused_for } = self;
        write!(f, "{count} by {born_at} (oldest {oldest:?}, unused for {unused_for:?})")
    }
}

/// Why a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Destroyed {
    /// It came back broken, or in the middle of something.
    Broken = 0,
    /// It failed a validation, a reset, or their deadline.
    Invalid = 1,
    /// There were idle ones enough.
    Surplus = 2,
    /// It was idle for too long.
    Idle = 3,
    /// It had lived or been used for as long as it may.
    Expired = 4,
    /// Its lease was abandoned.
    Abandoned = 5,
    /// The pool was closed, or shrunk.
    Closed = 6,
}

impl Destroyed {
    /// Every reason.
    pub const ALL: [Destroyed; 7] = [
        Destroyed::Broken,
        Destroyed::Invalid,
        Destroyed::Surplus,
        Destroyed::Idle,
        Destroyed::Expired,
        Destroyed::Abandoned,
        Destroyed::Closed,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Destroyed::Broken => "broken",
            Destroyed::Invalid => "invalid",
            Destroyed::Surplus => "surplus",
            Destroyed::Idle => "idle",
            Destroyed::Expired => "expired",
            Destroyed::Abandoned => "abandoned",
            Destroyed::Closed => "closed",
        }
    }
}

/// How many buckets waits are counted in.
pub const BUCKETS: usize = 8;

/// Each four times the one before.
fn bound(bucket: usize) -> Duration {
    let micros = 250_u64 << (2 * bucket);
    if bucket + 1 == BUCKETS { Duration::MAX } else { Duration::from_micros(micros) }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    waits: [AtomicU64; BUCKETS],
    failed: AtomicU64,
    created: AtomicU64,
    destroyed: [AtomicU64; Destroyed::ALL.len()],
    abandoned: Mutex<Vec<(&'static Location<'static>, u64)>>,
}

/// Lines that abandon leases, beyond which they are not told apart.
const MAX_LINES: usize = 32;

/// Adds to the count of a line.
pub(crate) fn count_line(
    lines: &mut Vec<(&'static Location<'static>, u64)>,
    line: &'static Location<'static>,
    more: u64,
) {
    match lines.iter().position(|(known, _)| *known == line) {
        Some(at) => lines[at].1 += more,
        None if lines.len() < MAX_LINES => lines.push((line, more)),
        None => {}
    }
}

impl Counters {
    /// An acquire that was not served at once has ended.
    pub(crate) fn waited(&self, time: Duration, is_served: bool) {
        if !is_served {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let bucket = (0..BUCKETS).find(|bucket| time <= bound(*bucket)).unwrap_or(BUCKETS - 1);
        self.waits[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn created(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn destroyed(&self, why: Destroyed) {
        self.destroyed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A lease of this line was abandoned.
    pub(crate) fn abandoned(&self, born_at: &'static Location<'static>) {
        let mut lines = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        count_line(&mut lines, born_at, 1);
    }

    /// Puts what it counted into `status`.
    pub(crate) fn fill(&self, status: &mut PoolStatus) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        status.acquired_within =
            std::array::from_fn(|bucket| (bound(bucket), load(&self.waits[bucket])));
        status.failed = load(&self.failed);
        status.created = load(&self.created);
        status.abandoned.clone_from(&self.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
        status.destroyed = Destroyed::ALL.map(|why| (why, load(&self.destroyed[why as usize])));
    }
}
