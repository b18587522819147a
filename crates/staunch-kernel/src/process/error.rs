//! Why a question about a process has no answer.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Process;

/// A question about a process that the kernel did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process has ended, never was, or is hidden from the caller.
    #[error("process {pid} does not exist, or /proc hides it (mount option hidepid)")]
    Gone {
        /// The pid asked for.
        pid: u32,
    },

    /// The caller may not look into the process.
    #[error(
        "no permission to read {} of process {pid}: run as the user of that process, \
         or with CAP_SYS_PTRACE", path.display()
    )]
    Denied {
        /// The pid asked for.
        pid: u32,
        /// The file that was refused.
        path: PathBuf,
    },

    /// The calling process has no entry in `/proc`.
    #[error("{} is missing: mount procfs on /proc", path.display())]
    NoProcfs {
        /// The file that is missing.
        path: PathBuf,
    },

    /// The file was read, but not understood.
    #[error(
        "{} is not as proc(5) describes it: report the kernel's version and this file",
        path.display()
    )]
    Malformed {
        /// The file in question.
        path: PathBuf,
        /// What was not understood.
        source: MalformedText,
    },

    /// Reading failed for another reason, such as no fd left to read with (`EMFILE`).
    #[error("cannot read {}", path.display())]
    Io {
        /// The file in question.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl ProcessError {
    /// Gives an I/O error on `path` its meaning for `process`.
    pub(super) fn new(process: Process, path: PathBuf, source: io::Error) -> ProcessError {
        match Errno::from_io_error(&source) {
            Some(Errno::NOENT | Errno::SRCH) if process.is_current() => {
                ProcessError::NoProcfs { path }
            }
            Some(Errno::NOENT | Errno::SRCH) => ProcessError::Gone { pid: process.pid() },
            Some(Errno::ACCESS | Errno::PERM) => ProcessError::Denied { pid: process.pid(), path },
            _ => ProcessError::Io { path, source },
        }
    }
}

/// A text of `/proc` that lacks a field, or holds one that is not a number of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?} is missing or is not a number")]
pub struct MalformedText {
    /// The field, by the name that `proc(5)` gives it.
    pub field: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pid: u32, errno: Errno, expected: &str) {
        let error = ProcessError::new(Process::new(pid), PathBuf::from("/proc/x/fd"), errno.into());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_the_process_and_the_remedy() {
        let own = std::process::id();
        check(
            0,
            Errno::NOENT,
            "process 0 does not exist, or /proc hides it (mount option hidepid)",
        );
        check(0, Errno::SRCH, "process 0 does not exist, or /proc hides it (mount option hidepid)");
        check(own, Errno::NOENT, "/proc/x/fd is missing: mount procfs on /proc");
        check(own, Errno::MFILE, "cannot read /proc/x/fd");
        check(
            0,
            Errno::ACCESS,
            "no permission to read /proc/x/fd of process 0: run as the user of that process, \
             or with CAP_SYS_PTRACE",
        );
    }
}
