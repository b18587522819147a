//! Where each level begins.

use std::time::Duration;

use crate::Level;

/// Where each level begins, in percent of the limit of memory or of fds, whichever is nearer.
///
/// Marks that are not in ascending order are harmless: the worst level reached counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// 75: time for a person to look before anything is refused.
    pub warn_percent: u8,
    /// 90: what is in flight still needs room to end.
    pub shed_percent: u8,
    /// 95: the kernel kills at 100, and a burst of allocations between two readings is not seen.
    pub refuse_percent: u8,
    /// A level is left only this many points below the mark it began at. 5: more than what
    /// ordinary work moves, less than the distance from one end of the scale to the next.
    pub band_percent: u8,
    /// Memory that grows by so many bytes a second is a warning. 10 MB: a limit of 1 GB is
    /// then less than two minutes away.
    pub growth_bytes_per_second: u64,
    /// For so long must it grow, without a pause, before it warns; and for so long must it not,
    /// before that is over. 10 s: longer than filling a cache.
    pub growth_window: Duration,
}

impl Watermarks {
    /// The mark at which `level` begins.
    pub(crate) fn percent(&self, level: Level) -> u8 {
        match level {
            Level::Normal => 0,
            Level::Warn => self.warn_percent,
            Level::Shed => self.shed_percent,
            Level::Refuse => self.refuse_percent,
        }
    }

    /// Below it nothing changes any level.
    pub(crate) fn lowest(&self) -> u8 {
        let lowest = self.warn_percent.min(self.shed_percent).min(self.refuse_percent);
        lowest.saturating_sub(self.band_percent)
    }
}

impl Default for Watermarks {
    fn default() -> Watermarks {
        Watermarks {
            warn_percent: 75,
            shed_percent: 90,
            refuse_percent: 95,
            band_percent: 5,
            growth_bytes_per_second: 10_000_000,
            growth_window: Duration::from_secs(10),
        }
    }
}
