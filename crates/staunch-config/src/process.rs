//! `[runtime]`, `[drain]`, `[memory]` and `[patrol]`: what the process as a whole may use, how it
//! ends, and how it looks after itself.

use std::num::{NonZeroU64, NonZeroUsize};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::reader::Section;
use crate::reader::kinds::{count, duration, size};
use crate::size::ByteSize;

/// Threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// How many threads serve. \[as many as the process may use cores: fewer leave some idle,
    /// more take turns\]
    pub workers: NonZeroUsize,
}

/// How the process stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long connections that were asked to end may take before they are cut. \[10s: a third
    /// of what Kubernetes waits before it kills\]
    pub grace: Duration,
}

/// Memory shared by all connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The most bytes that all pooled buffers take together: those of connections with plain
    /// lines, whose listeners have equal shares. \[64MiB: 4,096 connections with bytes in hand at
    /// 16KiB each; idle ones hold no buffer; or a quarter of the guard's `memory`, if that is less\]
    pub buffers: NonZeroUsize,
    /// The most bytes that all bodies of HTTP requests take together. \[64MiB: 64 of the
    /// longest; whose body finds no room is told to come back; or a quarter of the guard's `memory`\]
    pub bodies: NonZeroUsize,
}

/// The search for leaks that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patrol {
    /// How often to look at everything that is live. \[10s: a leak is named within two looks,
    /// and a look at 10,000 connections takes less than a millisecond\]
    pub every: Duration,
}

const WORKERS_MAX: usize = 1_024;
const GRACE: Duration = Duration::from_secs(10);
const GRACE_MAX: Duration = Duration::from_hours(1);
const BUFFERS: NonZeroUsize = NonZeroUsize::new(64 << 20).unwrap();
const LEAST: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
const BUFFERS_MIN: ByteSize = ByteSize(LEAST.get() as u64);
const BUFFERS_MAX: ByteSize = ByteSize(1 << 40);
const BODIES: NonZeroUsize = NonZeroUsize::new(64 << 20).unwrap();
const EVERY: Duration = Duration::from_secs(10);
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_hours(1);

impl Runtime {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { workers: section.optional("workers", count(1..=WORKERS_MAX), cores) }
    }
}

impl Drain {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self { grace: section.optional("grace", duration(Duration::ZERO..=GRACE_MAX), GRACE) }
    }
}

impl Memory {
    /// `limit` is what the process may use in all, if the file says so.
    pub(crate) fn read(section: &mut Section<'_>, limit: Option<NonZeroU64>) -> Self {
        let range = BUFFERS_MIN..=BUFFERS_MAX;
        let quarter = limit.and_then(|limit| usize::try_from(limit.get() / 4).ok());
        let at_most = |default: NonZeroUsize| {
            let less = quarter.and_then(NonZeroUsize::new).map(|quarter| quarter.max(LEAST));
            less.map_or(default, |less| default.min(less))
        };
        Self {
            buffers: section.optional("buffers", size(range.clone()), at_most(BUFFERS)),
            bodies: section.optional("bodies", size(range), at_most(BODIES)),
        }
    }
}

impl Patrol {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self { every: section.optional("every", duration(EVERY_MIN..=EVERY_MAX), EVERY) }
    }
}
