//! `[service.health]` and `[service.outliers]`: who is well.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::reader::Section;
use crate::reader::kinds::{count, duration, text, whole};
use crate::route::PathPattern;

/// A server is asked now and then whether it is well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActiveHealth {
    /// What is asked for, by GET: 200 to 399 is well. Without it, that it can be connected with is all
    /// that is asked.
    pub path: Option<String>,
    /// How often. \[5s\]
    pub every: Duration,
    /// How long an answer may take. \[2s\]
    pub timeout: Duration,
    /// After how many failures in a row it is left out. \[3: one lost packet is no failure\]
    pub failures: NonZeroUsize,
    /// After how many successes in a row it is back. \[2\]
    pub successes: NonZeroUsize,
}

/// A server whose requests fail is left out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outliers {
    /// After how many failures in a row: no answer, or 502, 503 or 504. \[5\] 0 is never.
    pub failures: usize,
    /// For how long, the first time; as often as it was left out, up to ten times that. \[10s\]
    pub ejection: Duration,
    /// How many of a hundred servers may be left out so at a time. \[50: the rest could not carry the
    /// load of more\] At least one may, if there are two.
    pub most: usize,
    /// How long a server that is back or new has its share grow to the whole. \[10s: caches fill\]
    pub slow_start: Duration,
}

const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_hours(1);
const IN_A_ROW_MAX: usize = 1_000;

impl Default for ActiveHealth {
    fn default() -> Self {
        Self {
            path: None,
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            failures: const { NonZeroUsize::new(3).unwrap() },
            successes: const { NonZeroUsize::new(2).unwrap() },
        }
    }
}

impl Default for Outliers {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { failures: 5, ejection: ten, most: 50, slow_start: ten }
    }
}

impl ActiveHealth {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let time = duration(TIME_MIN..=TIME_MAX);
        let path = section.written("path", |value| {
            let expected = "a path such as \"/healthz\"";
            let written = text(value, expected)?;
            let is_path = written.parse::<PathPattern>().is_ok_and(|path| !path.is_prefix());
            Some(written.to_owned())
                .filter(|_| is_path)
                .ok_or_else(|| format!("must be {expected}"))
        });
        Self {
            path,
            every: section.optional("every", &time, default.every),
            timeout: section.optional("timeout", &time, default.timeout),
            failures: section.optional("failures", count(1..=IN_A_ROW_MAX), default.failures),
            successes: section.optional("successes", count(1..=IN_A_ROW_MAX), default.successes),
        }
    }
}

impl Outliers {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let time = duration(TIME_MIN..=TIME_MAX);
        Self {
            failures: section.optional("failures", whole(0..=IN_A_ROW_MAX), default.failures),
            ejection: section.optional("ejection", &time, default.ejection),
            most: section.optional("most", whole(0..=100), default.most),
            slow_start: section.optional(
                "slow_start",
                duration(Duration::ZERO..=TIME_MAX),
                default.slow_start,
            ),
        }
    }
}
