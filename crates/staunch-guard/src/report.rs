//! A change of level, in words: what was measured, the mark, and what helps.

use std::fmt;

use crate::{Level, Reading, Watermarks, pressure::is_at};

/// What runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Memory, against its limit.
    Memory,
    /// Fds, against their limit.
    Fds,
    /// Memory grows, second after second.
    Growth,
}

impl Cause {
    /// Its name, as logs show it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Memory => "memory",
            Cause::Fds => "fds",
            Cause::Growth => "growth",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Cause::Memory => {
                "/debug/pprof/heap and /debug/ledger say what holds it; raise the limit, or admit less"
            }
            Cause::Fds => "/debug/ledger and /debug/sockets say what is open; raise `ulimit -n`",
            Cause::Growth => "two profiles of /debug/pprof/heap, some time apart, say what grows",
        }
    }

    /// Why `level` has begun: of the two resources the one nearer to its limit, or growth, if
    /// neither has reached the mark.
    pub(crate) fn of(reading: &Reading, level: Level, marks: &Watermarks) -> Cause {
        let percent = marks.percent(level);
        let reached = |used, most: Option<u64>| most.is_some_and(|most| is_at(used, most, percent));
        let memory = reached(reading.memory_bytes, reading.memory_bytes_max);
        let fds = reached(reading.fds, reading.fds_max);
        match (memory, fds) {
            (true, false) => Cause::Memory,
            (false, true) => Cause::Fds,
            (false, false) => Cause::Growth,
            (true, true) => {
                let share = |used, most: Option<u64>| used as f64 / most.unwrap_or(u64::MAX) as f64;
                let memory = share(reading.memory_bytes, reading.memory_bytes_max);
                if memory >= share(reading.fds, reading.fds_max) {
                    Cause::Memory
                } else {
                    Cause::Fds
                }
            }
        }
    }
}

/// A change of level, and what was measured.
pub(crate) struct Change<'a> {
    pub(crate) from: Level,
    pub(crate) to: Level,
    pub(crate) cause: Cause,
    pub(crate) reading: &'a Reading,
    pub(crate) marks: &'a Watermarks,
    /// Changes since the last one that was told, this one included.
    pub(crate) changes: u64,
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { from, to, cause, reading, marks, changes } = self;
        write!(f, "{from} -> {to}: ")?;
        match cause {
            Cause::Memory => {
                let most = reading.memory_bytes_max.unwrap_or(u64::MAX);
                let (used, limit) = (Mib(reading.memory_bytes), Mib(most));
                let share = Share(reading.memory_bytes, most);
                write!(f, "{used} of {limit} of memory are in use ({share})")?;
            }
            Cause::Fds => {
                let most = reading.fds_max.unwrap_or(u64::MAX);
                let share = Share(reading.fds, most);
                write!(f, "{} of {most} fds are open ({share})", reading.fds)?;
            }
            Cause::Growth if to < from => f.write_str("memory no longer grows")?,
            Cause::Growth => {
                let rate = Mib(marks.growth_bytes_per_second);
                let window = marks.growth_window;
                let held = Mib(reading.held_bytes.unwrap_or(reading.memory_bytes));
                write!(f, "memory grew by {rate} a second or more for {window:?}, to {held}")?;
            }
        }
        if *changes > 1 {
            write!(f, ", after {changes} changes")?;
        }
        if to < from {
            return Ok(());
        }
        if *cause != Cause::Growth {
            write!(f, "; {to} begins at {} %", marks.percent(*to))?;
        }
        write!(f, "; {}", cause.remedy())
    }
}

/// Bytes in MiB.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}

/// A part of a limit.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 as f64 * 100.0 / self.1.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: Level, to: Level, reading: Reading, expected: &str) {
        let marks = &Watermarks::default();
        let cause = if to > from { Cause::of(&reading, to, marks) } else { Cause::Memory };
        let changes = if to > from { 1 } else { 7 };
        let text = Change { from, to, cause, reading: &reading, marks, changes }.to_string();
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.contains("/debug/"), to > from, "{text}");
    }

    #[test]
    fn a_change_says_what_was_measured_the_mark_and_what_helps() {
        let memory = |mib: u64| Reading {
            memory_bytes: mib << 20,
            memory_bytes_max: Some(1000 << 20),
            fds: 10,
            fds_max: Some(1000),
            ..Reading::default()
        };
        let fds = |fds| Reading { fds, ..memory(10) };
        check(
            Level::Normal,
            Level::Shed,
            memory(912),
            "normal -> shed: 912.0 MiB of 1000.0 MiB of memory are in use (91.2 %); shed begins at 90 %; ",
        );
        check(
            Level::Warn,
            Level::Refuse,
            fds(955),
            "warn -> refuse: 955 of 1000 fds are open (95.5 %); refuse begins at 95 %; ",
        );
        check(
            Level::Normal,
            Level::Warn,
            memory(100),
            "normal -> warn: memory grew by 9.5 MiB a second or more for 10s, to 100.0 MiB; two profiles",
        );
        check(
            Level::Normal,
            Level::Warn,
            memory(740), // within the band of a mark that was not reached
            "normal -> warn: memory grew by ",
        );
        check(
            Level::Refuse,
            Level::Shed,
            memory(899),
            "refuse -> shed: 899.0 MiB of 1000.0 MiB of memory are in use (89.9 %), after 7 changes",
        );
    }
}
