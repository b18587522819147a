//! Memory of the control group that limits this process (`cgroups(7)`).
//!
//! What the group uses is read at every look. Its limit, which may be changed while the process
//! runs, and the cache of files that the kernel would give back before it kills anybody are read
//! once a second: the kernel adds up a whole tree of groups for the latter. They are read at once,
//! though, if without them the group seems to be short of memory.

use std::{io, path::Path, time::Duration};

use staunch_kernel::CgroupVersion;

use super::{
    file::{KernelFile, Opener, number},
    memory::Usage,
};
use crate::pressure::is_at;

/// How old the limit and the cache may be, while nothing is near.
const REST: Duration = Duration::from_secs(1);
/// From here on a limit is none: version 1 has the greatest `i64` that is a whole page.
const NONE_FROM: u64 = 1 << 62;

/// The account of one group: the process's own, or the ancestor with the least room when it was
/// opened.
pub(crate) struct Cgroup {
    current: KernelFile,
    limit: KernelFile,
    stat: Option<KernelFile>,
    inactive_file: &'static [u8],
    /// From this part of the limit on, in percent, nothing may be old.
    near_percent: u8,
    known: Option<Known>,
}

/// What is not read at every look.
#[derive(Clone, Copy)]
struct Known {
    at: Duration,
    current: u64,
    limit: Option<u64>,
    inactive_file_bytes: u64,
}

impl Cgroup {
    pub(crate) fn open(
        group: &Path,
        version: CgroupVersion,
        near_percent: u8,
        opener: &Opener,
    ) -> io::Result<Cgroup> {
        let (current, limit, inactive_file): (_, _, &[u8]) = match version {
            CgroupVersion::V1 => {
                ("memory.usage_in_bytes", "memory.limit_in_bytes", b"total_inactive_file ")
            }
            CgroupVersion::V2 => ("memory.current", "memory.max", b"inactive_file "),
        };
        let mut cgroup = Cgroup {
            current: opener.open(&group.join(current))?,
            limit: opener.open(&group.join(limit))?,
            stat: opener.open(&group.join("memory.stat")).ok(),
            inactive_file,
            near_percent,
            known: None,
        };
        let current = cgroup.current.number()?.unwrap_or(0);
        cgroup.known = Some(cgroup.read_slowly(Duration::ZERO, current)?);
        Ok(cgroup)
    }

    pub(crate) fn has_limit(&self) -> bool {
        self.known.is_some_and(|known| known.limit.is_some())
    }

    /// What it uses of what it may; `None` if it can no longer be read.
    pub(crate) fn usage(&mut self, at: Duration) -> Option<Usage> {
        // Nothing is near without a limit: it is enough to see when there is one.
        if let Some(known) = self.known.filter(|it| it.limit.is_none() && !it.is_old(at)) {
            return Some(known.usage(known.current));
        }
        let current = self.current.number().ok()??;
        let known = match self.known {
            Some(known) if !known.is_old(at) && !self.is_near(known.usage(current)) => known,
            _ => self.read_slowly(at, current).ok()?,
        };
        self.known = Some(known);
        Some(known.usage(current))
    }

    fn is_near(&self, usage: Usage) -> bool {
        usage.limit.is_some_and(|limit| is_at(usage.bytes, limit, self.near_percent))
    }

    fn read_slowly(&self, at: Duration, current: u64) -> io::Result<Known> {
        let limit = self.limit.number()?.filter(|bytes| *bytes < NONE_FROM);
        let mut room = [0; 4096];
        let stat = self.stat.as_ref().and_then(|stat| stat.read(&mut room).ok());
        let inactive = stat.and_then(|stat| line(stat, self.inactive_file));
        Ok(Known { at, current, limit, inactive_file_bytes: inactive.unwrap_or(0) })
    }
}

impl Known {
    fn is_old(&self, at: Duration) -> bool {
        at.saturating_sub(self.at) >= REST
    }

    fn usage(&self, current: u64) -> Usage {
        Usage { bytes: current.saturating_sub(self.inactive_file_bytes), limit: self.limit }
    }
}

/// The number on the line of `stat` that begins with `key`.
fn line(stat: &[u8], key: &[u8]) -> Option<u64> {
    stat.split(|byte| *byte == b'\n').find_map(|line| number(line.strip_prefix(key)?))
}

#[cfg(test)]
mod tests;
