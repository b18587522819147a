//! `[service.pool]`, `[service.timeouts]` and `[service.retry]`.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::reader::Section;
use crate::reader::kinds::{count, duration, whole};

/// The connections to each server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPool {
    /// Requests in flight at one server at a time. \[1024: more is what a server is brought down
    /// by\]
    pub connections: NonZeroUsize,
    /// Connections that each core keeps while nobody needs them. \[64: what the next burst begins with\]
    pub idle: usize,
    /// How long one is kept so. \[30s: shorter than the 60s after which most servers close\]
    pub idle_time: Duration,
    /// How long one may be used, give or take a tenth. \[30m: load moves to new servers\]
    pub lifetime: Duration,
    /// Requests that wait for a connection. \[1000: more only wait for their timeout\]
    pub waiting: usize,
}

/// How long a server may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// To be connected with, and to wait for a connection. \[5s: three lost packets\]
    pub connect: Duration,
    /// To begin an answer, in one try, once there is a connection for it. \[30s\]
    pub first_byte: Duration,
    /// To go on with an answer's body, and to take more of a request's that is there. \[1m: a body may take as
    /// long as it will, if it goes on\]
    pub stall: Duration,
}

/// What is tried again: a request that was never sent, or that sending twice does not change and whose
/// connection ended before an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often a request is tried, the first time included. \[2\]
    pub tries: NonZeroUsize,
    /// How many of a hundred requests may be tried again. \[20: when all fail, the load grows by a
    /// fifth, and does not double\]
    pub budget: usize,
}

const COUNT_MAX: usize = 1_000_000;
const TRIES_MAX: usize = 10;
const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_hours(24);

impl Default for UpstreamPool {
    fn default() -> Self {
        Self {
            connections: const { NonZeroUsize::new(1_024).unwrap() },
            idle: 64,
            idle_time: Duration::from_secs(30),
            lifetime: Duration::from_mins(30),
            waiting: 1_000,
        }
    }
}

impl Default for ServiceTimeouts {
    fn default() -> Self {
        let [connect, first_byte, stall] = [5, 30, 60].map(Duration::from_secs);
        Self { connect, first_byte, stall }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: const { NonZeroUsize::new(2).unwrap() }, budget: 20 }
    }
}

impl UpstreamPool {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let time = duration(TIME_MIN..=TIME_MAX);
        Self {
            connections: section.optional("connections", count(1..=COUNT_MAX), default.connections),
            idle: section.optional("idle", whole(0..=COUNT_MAX), default.idle),
            idle_time: section.optional("idle_time", &time, default.idle_time),
            lifetime: section.optional("lifetime", &time, default.lifetime),
            waiting: section.optional("waiting", whole(0..=COUNT_MAX), default.waiting),
        }
    }
}

impl ServiceTimeouts {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let time = duration(TIME_MIN..=TIME_MAX);
        Self {
            connect: section.optional("connect", &time, default.connect),
            first_byte: section.optional("first_byte", &time, default.first_byte),
            stall: section.optional("stall", &time, default.stall),
        }
    }
}

impl Retry {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            tries: section.optional("tries", count(1..=TRIES_MAX), default.tries),
            budget: section.optional("budget", whole(0..=100), default.budget),
        }
    }
}
