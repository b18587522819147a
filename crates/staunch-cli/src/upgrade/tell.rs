//! `staunch upgrade PID`

use std::{fs, process::ExitCode};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{outcome::Outcome, print};

/// Asks a running `staunch run` for its successor.
pub(crate) fn upgrade(pid: u32) -> ExitCode {
    match tell(pid) {
        Ok(()) => {
            print::line(format_args!(
                "told {pid} to start its successor; what comes of it is in its log"
            ));
            Outcome::Done.into()
        }
        Err(error) => {
            print::complaint(format_args!("staunch: {}", print::causes(&error)));
            Outcome::CannotStart.into()
        }
    }
}

fn tell(pid: u32) -> anyhow::Result<()> {
    let folder = format!("/proc/{pid}");
    let arguments = fs::read(format!("{folder}/cmdline")).with_context(|| no_such(pid))?;
    let is_run = arguments.split(|byte| *byte == 0).nth(1) == Some(b"run");
    let status = fs::read_to_string(format!("{folder}/status")).with_context(|| no_such(pid))?;
    // Whoever does not expect the signal is ended by it.
    ensure!(
        is_run && catches(&status, Signal::USR2),
        "process {pid} is no `staunch run` that can be upgraded: it would be ended by SIGUSR2"
    );
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("{}", no_such(pid));
    };
    kill_process(pid, Signal::USR2).context("cannot signal it")
}

fn no_such(pid: u32) -> String {
    format!("there is no process {pid}; `pidof staunch` finds those that there are")
}

/// Whether a `/proc/PID/status` says that a signal is caught.
fn catches(status: &str, signal: Signal) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    caught.is_some_and(|caught| caught >> (signal.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_caught_stands_in_the_status() {
        let status = "SigIgn:\t0000000000001000\nSigCgt:\t0000000000000800\n";
        assert!(catches(status, Signal::USR2));
        assert!(!catches(status, Signal::USR1));
        assert!(!catches("SigCgt:\tx\n", Signal::USR2));
    }
}
