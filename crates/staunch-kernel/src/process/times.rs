//! CPU time and start of a process, from `/proc/PID/stat` (`proc_pid_stat(5)`).

use std::time::Duration;

use rustix::param::clock_ticks_per_second;

use super::{MalformedText, Process, ProcessError};

/// When a process started and how long it has computed since. All three are in steps of a clock
/// tick, 10 ms on every common machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// CPU time spent in the program itself, over all its threads, ended ones too.
    pub user: Duration,
    /// CPU time spent in the kernel on the program's behalf.
    pub system: Duration,
    /// The instant of its start, as the time since the machine's boot. It tells a process from
    /// a later one that was given the same pid.
    pub started: Duration,
}

impl Times {
    /// Reads the text of `/proc/PID/stat`.
    ///
    /// # Errors
    ///
    /// [`MalformedText`] if one of the three fields is missing or is not a number.
    pub fn parse(text: &str) -> Result<Times, MalformedText> {
        // Field 2 is the command's name in parentheses, and may itself hold spaces and
        // parentheses. What follows the last parenthesis starts with field 3.
        let (_, rest) = text.rsplit_once(')').ok_or(MalformedText { field: "comm" })?;
        let duration = |number: usize, field| {
            let ticks = rest.split_ascii_whitespace().nth(number - 3);
            ticks
                .and_then(|ticks| ticks.parse().ok())
                .map(ticks_to_duration)
                .ok_or(MalformedText { field })
        };
        Ok(Times {
            user: duration(14, "utime")?,
            system: duration(15, "stime")?,
            started: duration(22, "starttime")?,
        })
    }

    /// `user` and `system` together.
    pub fn cpu(&self) -> Duration {
        self.user.saturating_add(self.system)
    }
}

/// Converts the unit in which `/proc` counts time.
pub(crate) fn ticks_to_duration(ticks: u64) -> Duration {
    let per_second = clock_ticks_per_second().max(1);
    let nanos = (ticks % per_second) * 1_000_000_000 / per_second;
    Duration::from_secs(ticks / per_second) + Duration::from_nanos(nanos)
}

impl Process {
    /// Its CPU time and its start.
    ///
    /// # Errors
    ///
    /// [`ProcessError`], if the process is gone or its `stat` is not readable.
    pub fn times(self) -> Result<Times, ProcessError> {
        Times::parse(&self.text("stat")?)
            .map_err(|source| ProcessError::Malformed { path: self.path("stat"), source })
    }

    /// The CPU time that it has used, in the program and in the kernel together, over all
    /// its threads; in steps of 10 ms.
    ///
    /// # Errors
    ///
    /// As for [`Process::times`].
    pub fn cpu_time(self) -> Result<Duration, ProcessError> {
        Ok(self.times()?.cpu())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captured_text_with_a_hostile_name() {
        let text = "3430 (a) R 1 (b) R 3426 3426 2380 0 -1 4194304 109 0 0 0 7 250 0 0 20 0 1 0 \
                    230716 3133440 363 18446744073709551615 94057190506496\n";
        let times = Times::parse(text).unwrap();
        assert_eq!(times.user, ticks_to_duration(7));
        assert_eq!(times.cpu(), ticks_to_duration(257));
        assert_eq!(times.started, ticks_to_duration(230_716));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text, field| assert_eq!(Times::parse(text), Err(MalformedText { field }));
        check("", "comm");
        check("1 (x) R", "utime");
        check("1 (x) R 1 1 1 0 -1 4 109 0 0 0 7 x", "stime");
        check("1 (x) R 1 1 1 0 -1 4 109 0 0 0 7 8", "starttime");
    }

    #[test]
    fn ticks_do_not_overflow() {
        let second = clock_ticks_per_second();
        assert_eq!(ticks_to_duration(second * 3 + second / 2), Duration::from_millis(3500));
        let _ = ticks_to_duration(u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = Times::parse(&text);
            let _ = Times::parse(&format!("1 (x) {text}"));
        }

        #[test]
        fn cpu_never_overflows(user: u64, system: u64) {
            let text = format!("1 (x) R 1 1 1 0 -1 4 109 0 0 0 {user} {system} 0 0 20 0 1 0 1");
            let _ = Times::parse(&text).unwrap().cpu();
        }
    }
}
