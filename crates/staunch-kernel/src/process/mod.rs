//! One process, seen through its directory in `/proc` (`proc(5)`).
//!
//! A [`Process`] is only a name: it holds no handle, so it never shows up among the fds that it
//! is asked to list. The price is that a pid can be reused between two calls; who watches a
//! process for long compares [`Times::started`], which no two processes with one pid share.

mod cgroup;
mod error;
mod fd;
mod fds;
mod limits;
mod status;
mod times;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use self::cgroup::{CgroupMemory, CgroupVersion};
pub use self::error::{MalformedText, ProcessError};
pub use self::fd::{Fd, FdKind};
pub use self::limits::{Limit, Limits};
pub use self::status::Status;
pub use self::times::Times;
pub(crate) use self::times::ticks_to_duration;

/// Most bytes read from one text file of `/proc`. The kernel writes a few KiB; `mountinfo`
/// grows with the mounts, some 150 bytes each.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A process whose holdings can be asked for: the calling one, or any that the caller may
/// inspect (its own user's, or every one with `CAP_SYS_PTRACE`).
///
/// ```
/// use staunch_kernel::Process;
///
/// let process = Process::current();
/// let open = process.fd_count()?;
/// if let Some(most) = process.limits()?.open_files.soft {
///     assert!(open as u64 <= most, "{open} of {most} fds in use");
/// }
/// # Ok::<(), staunch_kernel::ProcessError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The calling process.
    pub fn current() -> Process {
        Process { pid: std::process::id() }
    }

    /// The process with this pid. Whether it exists is found out by the first question.
    pub fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// The process id.
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// Whether this is the calling process.
    pub fn is_current(self) -> bool {
        self.pid == std::process::id()
    }

    /// The path of `name` in the process's directory. The calling process goes by `self`, which
    /// is right even where `/proc` belongs to another pid namespace.
    pub(crate) fn path(self, name: &str) -> PathBuf {
        if self.is_current() {
            Path::new("/proc/self").join(name)
        } else {
            PathBuf::from(format!("/proc/{}", self.pid)).join(name)
        }
    }

    /// The text of the process's file `name`. Bytes that are not UTF-8 (a process may choose
    /// its name) become U+FFFD.
    fn text(self, name: &str) -> Result<String, ProcessError> {
        let path = self.path(name);
        read_text(&path).map_err(|source| ProcessError::new(self, path, source))
    }
}

/// The text of a file of `/proc` or cgroupfs, at most [`TEXT_BYTES_MAX`] bytes of it.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
