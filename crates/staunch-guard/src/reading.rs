//! What was measured at one instant.

use std::time::Duration;

/// What a process used, and could use, at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// The most that may be in use, in bytes; `None` if there is no limit.
    pub memory_bytes_max: Option<u64>,
    /// What the program itself holds, in bytes, by which growth is judged; `None` if that is
    /// `memory_bytes`, which can be more: caches that the kernel keeps, for instance.
    pub held_bytes: Option<u64>,
    /// How long before `at` that was measured: an allocator is asked seldom.
    pub held_age: Duration,
    /// Fds that are open.
    pub fds: u64,
    /// The most that may be open; `None` if there is no limit.
    pub fds_max: Option<u64>,
    /// When, counted from any fixed instant on a clock that does not go back.
    pub at: Duration,
}
