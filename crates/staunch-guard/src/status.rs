//! What a guard sees, and has done.

use std::{panic::Location, time::Duration};

use crate::{Level, Priority, Why};

/// What a guard sees now, and has done since it was started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuardStatus {
    /// [`GuardOptions::name`](crate::GuardOptions::name).
    pub name: &'static str,
    /// The line that started it.
    pub born_at: &'static Location<'static>,
    /// The level.
    pub level: Level,
    /// The time between two looks, as things are; zero before the first, and once nobody looks any more.
    pub looks_every: Duration,
    /// Whether whoever asks makes it look at once.
    pub rests: bool,
    /// Memory in use, in bytes, of the limit that is nearest.
    pub memory_bytes: u64,
    /// That limit, in bytes; `None` if there is none.
    pub memory_limit_bytes: Option<u64>,
    /// Resident memory of the process, in bytes; `None` if the kernel does not say.
    pub rss_bytes: Option<u64>,
    /// What the program has allocated, in bytes; `None` without an allocator.
    pub allocated_bytes: Option<u64>,
    /// By how much that grew, or resident memory if it is not known, in bytes a second, over the
    /// last second, or the last two of an allocator.
    pub growth_bytes_per_second: Option<i64>,
    /// Objects allocated a second; `None` if the allocator does not count them.
    pub objects_per_second: Option<u64>,
    /// Open fds.
    pub fds: u64,
    /// How many may be open; `None` if there is no limit.
    pub fds_limit: Option<u64>,
    /// What was admitted and has not ended.
    pub in_flight: usize,
    /// How many may be; `None` without a limit.
    pub concurrency_limit: Option<usize>,
    /// How often each level began.
    pub level_began: [(Level, u64); 4],
    /// How many requests of each priority were refused, and why.
    pub refused: Vec<(Priority, Why, u64)>,
    /// What is called from which level on ([`Guard::on`](crate::Guard::on)), and how often it was.
    pub shrinkers: Vec<(Level, &'static str, u64)>,
    /// Idle connections that were closed since fds ran short.
    pub idle_closed: u64,
}

impl GuardStatus {
    /// Requests that were refused, all together.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().map(|(.., count)| count).sum()
    }
}
