//! Where the figures come from.
//!
//! A look must cost next to nothing, since there are twenty a second: what is read is open for as
//! long as it is watched, and goes to a buffer on the stack. What is dear, a group's statistics and
//! the allocator's, is read less often. What a process does not have (a limit, a group) is left out
//! and said once; nothing is guessed in its place.

pub(crate) mod allocator;
pub(crate) mod cgroup;
pub(crate) mod fds;
mod file;
#[cfg(feature = "jemalloc")]
pub(crate) mod jemalloc;
pub(crate) mod memory;
mod rate;
pub(crate) mod rss;

use std::{sync::Arc, time::Duration};

use staunch_kernel::Process;

pub(crate) use self::file::Opener;
use self::{
    allocator::{Allocated, Allocator},
    cgroup::Cgroup,
    fds::Fds,
    memory::{MemorySource, Usage},
    rate::Rate,
    rss::Rss,
};
use crate::{GuardOptions, Reading, growth};

/// What was measured at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) reading: Reading,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) allocated_bytes: Option<u64>,
    pub(crate) growth_bytes_per_second: Option<i64>,
    pub(crate) objects_per_second: Option<u64>,
}

/// Everything that is measured.
pub(crate) struct Sources {
    memory: Option<Arc<dyn MemorySource>>,
    memory_limit: Option<u64>,
    cgroup: Option<Cgroup>,
    rss: Option<Rss>,
    pub(crate) fds: Fds,
    allocator: Option<Arc<dyn Allocator>>,
    allocated: Option<(Duration, Allocated)>,
    /// Between two looks at the allocator.
    allocator_rest: Duration,
    growth: Rate,
    births: Rate,
}

const NO_GROUP: &str =
    "guard: the control group's memory cannot be read, so its limit is not watched";

#[cfg(test)]
mod tests;

/// How often the allocator is asked at most: jemalloc adds up all of its arenas for that, which takes as
/// long as five looks.
const ALLOCATOR_REST: Duration = Duration::from_secs(2);

impl Sources {
    /// Opens what there is, and says what there is not.
    pub(crate) fn open(options: &GuardOptions, opener: &Opener) -> Sources {
        let own = options.memory.clone();
        let cgroup = if own.is_some() { None } else { find_cgroup(options.marks.lowest(), opener) };
        let rss = Rss::open(opener)
            .inspect_err(|error| tracing::warn!(%error, "guard: resident memory is not known"))
            .ok();
        let sources = Sources {
            memory: own,
            memory_limit: options.memory_limit,
            cgroup,
            rss,
            fds: Fds::new(),
            allocator: options.allocator.clone(),
            allocated: None,
            allocator_rest: allocator_rest(options.marks.growth_window),
            growth: Rate::default(),
            births: Rate::default(),
        };
        sources.say_what_is_missing();
        sources
    }

    fn say_what_is_missing(&self) {
        let has_limit = self.memory.is_some()
            || self.memory_limit.is_some()
            || self.cgroup.as_ref().is_some_and(Cgroup::has_limit);
        if !has_limit {
            tracing::warn!(
                "guard: this process has no memory limit, so only growth of its memory warns: give its \
                 control group one, or set `memory` in [guard] (`GuardOptions::memory_limit`)"
            );
        }
        if self.allocator.is_none() {
            tracing::info!(
                "guard: no allocator is known, so growth is that of resident memory, and nothing can be \
                 purged: see `GuardOptions::allocator`"
            );
        }
    }

    /// Looks at everything that is due at `at`.
    pub(crate) fn sample(&mut self, at: Duration) -> Sample {
        let rss_bytes = self.rss.as_ref().and_then(Rss::bytes);
        self.ask_allocator(at);
        let usage = self.usage(at, rss_bytes);
        let of_allocator = self.allocated.map(|(asked, allocated)| (asked, allocated.bytes));
        let held = of_allocator.or(rss_bytes.map(|bytes| (at, bytes)));
        let fds = self.fds.look();
        Sample {
            reading: Reading {
                memory_bytes: usage.bytes,
                memory_bytes_max: usage.limit,
                held_bytes: held.map(|(_, bytes)| bytes),
                held_age: held.map_or(Duration::ZERO, |(measured, _)| at.saturating_sub(measured)),
                fds: fds.count,
                fds_max: fds.limit,
                at,
            },
            rss_bytes,
            allocated_bytes: of_allocator.map(|(_, bytes)| bytes),
            growth_bytes_per_second: held.and_then(|(at, bytes)| self.growth.of(at, bytes)),
            objects_per_second: self
                .allocated
                .and_then(|(asked, it)| self.births.of(asked, it.objects?))
                .map(|rate| rate.max(0).cast_unsigned()),
        }
    }

    /// Of the limits there are, the one that is nearest.
    fn usage(&mut self, at: Duration, rss_bytes: Option<u64>) -> Usage {
        if let Some(memory) = &self.memory {
            return memory.usage();
        }
        let group = self.cgroup.as_mut().and_then(|group| group.usage(at));
        if group.is_none() && self.cgroup.take().is_some() {
            tracing::warn!("{NO_GROUP} any more");
        }
        let own = rss_bytes.map(|bytes| Usage { bytes, limit: self.memory_limit });
        match (group.filter(|group| group.limit.is_some()), own) {
            (Some(group), Some(own)) => group.nearer(own),
            (group, own) => group.or(own).unwrap_or_default(),
        }
    }

    fn ask_allocator(&mut self, at: Duration) {
        let Some(allocator) = &self.allocator else { return };
        let is_due = |(asked, _)| at.saturating_sub(asked) >= self.allocator_rest;
        if self.allocated.is_none_or(is_due) {
            self.allocated = allocator.allocated().map(|allocated| (at, allocated));
        }
    }
}

/// Figures come at the end of each part of the window, and evenly within it.
fn allocator_rest(window: Duration) -> Duration {
    let part = window / growth::PARTS;
    let figures = part.as_nanos().div_ceil(ALLOCATOR_REST.as_nanos()).max(1);
    (part / u32::try_from(figures).unwrap_or(u32::MAX)).min(ALLOCATOR_REST)
}

fn find_cgroup(near_percent: u8, opener: &Opener) -> Option<Cgroup> {
    let account = match Process::current().cgroup_memory() {
        Ok(account) => account?,
        Err(error) => {
            tracing::warn!(%error, "{NO_GROUP}");
            return None;
        }
    };
    let path = account.path.display().to_string();
    let opened = Cgroup::open(&account.path, account.version, near_percent, opener);
    opened.inspect_err(|error| tracing::warn!(%error, path, "{NO_GROUP}")).ok()
}
