//! `[runtime]`, `[drain]` and `[memory]`: what the process as a whole may use, and how it ends.

use std::num::NonZeroUsize;
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
    /// The most bytes that all pooled buffers take together. \[64MiB: 4,096 connections with
    /// bytes in hand at 16KiB each; idle ones hold no buffer\]
    pub buffers: NonZeroUsize,
}

const WORKERS_MAX: usize = 1_024;
const GRACE: Duration = Duration::from_secs(10);
const GRACE_MAX: Duration = Duration::from_hours(1);
const BUFFERS: NonZeroUsize = NonZeroUsize::new(64 << 20).unwrap();
const BUFFERS_MIN: ByteSize = ByteSize(1 << 20);
const BUFFERS_MAX: ByteSize = ByteSize(1 << 40);

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
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self { buffers: section.optional("buffers", size(BUFFERS_MIN..=BUFFERS_MAX), BUFFERS) }
    }
}
