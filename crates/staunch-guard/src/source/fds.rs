//! Open fds of this process against its limit.
//!
//! Since Linux 6.2 the size of `/proc/self/fd` is the number of fds: one system call, however many
//! there are.
//!
//! Older kernels make it necessary to list the folder, which is dear with many. So it is listed on
//! a thread where that may block, and then rests a thousand times as long as that took, or, from
//! half of the limit on, fifty times.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use staunch_kernel::Process;

/// What was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FdUsage {
    pub(crate) count: u64,
    pub(crate) limit: Option<u64>,
}

/// Open fds, and how to count them.
#[derive(Debug)]
pub(crate) struct Fds {
    /// The kernel counts.
    is_counted: bool,
    listed: Arc<Listed>,
    due: Duration,
}

/// What listings found; written where they may block.
#[derive(Debug, Default)]
struct Listed {
    count: AtomicU64,
    /// Of the last listing, in nanoseconds; 0 while one is under way.
    took: AtomicU64,
}

impl Fds {
    pub(crate) fn new() -> Fds {
        Fds { is_counted: true, listed: Arc::default(), due: Duration::ZERO }
    }

    /// What is open now, or, if it must be listed, was at the last listing.
    pub(crate) fn look(&mut self) -> FdUsage {
        if self.is_counted {
            // No path is made for it, and no fd opened.
            let size = rustix::fs::stat(c"/proc/self/fd").map_or(0, |stat| stat.st_size);
            let count = u64::try_from(size).unwrap_or(0);
            self.is_counted = count > 0; // some are always open
            self.listed.count.store(count, Ordering::Relaxed);
            self.listed.took.store(1, Ordering::Relaxed);
        }
        let count = self.listed.count.load(Ordering::Relaxed);
        FdUsage { count, limit: getrlimit(Resource::Nofile).current }
    }

    /// Whatever was counted, from now on they are listed.
    #[cfg(test)]
    pub(crate) fn forget(&mut self) {
        self.is_counted = false;
        self.listed.count.store(0, Ordering::Relaxed);
    }

    /// If it is time to list them: what the result is told to. One at a time.
    pub(crate) fn begin_listing(&mut self, at: Duration) -> Option<Listing> {
        if self.is_counted {
            return None;
        }
        let took = Duration::from_nanos(self.listed.took.swap(0, Ordering::Relaxed));
        if took.is_zero() {
            return None; // under way
        }
        let FdUsage { count, limit } = self.look();
        let is_near = limit.is_some_and(|limit| count >= limit / 2);
        if at < self.due + rest(took, is_near) {
            self.listed.took.store(took.as_nanos() as u64, Ordering::Relaxed);
            return None;
        }
        self.due = at;
        Some(Listing(Arc::clone(&self.listed)))
    }
}

/// A listing under way.
#[derive(Debug)]
pub(crate) struct Listing(Arc<Listed>);

impl Listing {
    /// It found so many, and took so long.
    pub(crate) fn ended(self, count: Option<u64>, took: Duration) {
        if let Some(count) = count {
            self.0.count.store(count, Ordering::Relaxed);
        }
        self.0.took.store((took.as_nanos() as u64).max(1), Ordering::Relaxed);
    }
}

/// How many are open, by listing them. Blocks.
pub(crate) fn list() -> Option<u64> {
    Process::current().fd_count().ok().map(|count| count as u64)
}

/// After a listing that took so long: a tenth of a percent of a processor is spent on it, or, near
/// the limit, two percent.
fn rest(took: Duration, is_near: bool) -> Duration {
    took.saturating_mul(if is_near { 50 } else { 1000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_and_a_listing_agree() {
        let mut fds = Fds::new();
        let before = fds.look();
        let opened: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close a few meanwhile.
        let (counted, listed) = (fds.look().count, list().unwrap());
        assert!(counted.abs_diff(before.count + 100) < 50, "{counted} after {before:?}");
        assert!(counted.abs_diff(listed) < 50, "{counted} or {listed}");
        assert_eq!(before.limit, Process::current().limits().unwrap().open_files.soft);
        drop(opened);
    }

    #[test]
    fn the_nearer_the_limit_the_more_often_it_is_listed() {
        let mut fds = Fds { is_counted: false, ..Fds::new() };
        fds.listed.took.store(1, Ordering::Relaxed);
        let limit = getrlimit(Resource::Nofile).current.unwrap();
        let took = Duration::from_millis(2);
        let mut at = Duration::from_secs(10);
        for (count, pause) in [(1, 2000), (limit / 2, 100), (2, 2000)] {
            let listing = fds.begin_listing(at).unwrap();
            assert!(fds.begin_listing(at + 10_000 * took).is_none(), "one is under way");
            listing.ended(Some(count), took);
            assert_eq!(fds.look().count, count);
            let due = at + Duration::from_millis(pause);
            assert!(fds.begin_listing(at + Duration::from_millis(pause - 1)).is_none(), "{count}");
            at = due;
        }
    }

    #[test]
    fn a_kernel_that_counts_is_never_asked_for_a_list() {
        let mut fds = Fds::new();
        fds.look();
        assert_eq!(fds.begin_listing(Duration::MAX).is_none(), fds.is_counted);
    }
}
