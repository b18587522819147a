//! Who may begin.

use std::{
    fmt,
    panic::Location,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use staunch_ledger::{Account, Kind, Obligation};

use crate::{Level, Priority, shared::Shared};

/// The right to be in flight. Hold it until all that the request takes is given back: until the
/// body of its answer has ended.
///
/// It is on the ledger, with the line that asked for it, so one that is kept for ever is found.
#[must_use = "dropping it says that the request has ended"]
pub struct Admission {
    shared: Arc<Shared>,
    interval: u32,
    /// When it began, on the limiter's clock, and how many were not answered then; until it is
    /// itself.
    begun: Option<(Duration, usize)>,
    /// It is not answered: the limit of concurrency counts it.
    is_working: bool,
    account: Account,
}

impl Admission {
    /// The answer is there, if only its beginning: the limiter learns how long that took, and counts
    /// it no more, however long the rest of it lasts. One that is dropped without teaches it nothing: its
    /// client may have left.
    pub fn answered(&mut self) {
        self.ends_work();
        if let (Some((begun, working)), Some(limiter)) = (self.begun.take(), &self.shared.limiter) {
            let now = self.shared.now();
            limiter.observe(now, now.saturating_sub(begun), working);
        }
    }

    fn ends_work(&mut self) {
        if std::mem::take(&mut self.is_working) {
            self.shared.working.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.ends_work();
        self.shared.room.give_back(self.interval);
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A request may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: {why} (level {level}); try again in {retry_after:?}")]
#[non_exhaustive]
pub struct Refused {
    /// The level at that moment.
    pub level: Level,
    /// Why.
    pub why: Why,
    /// When to try again.
    pub retry_after: Duration,
}

/// Why a request may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Why {
    /// Its priority is shed at this level.
    Level = 0,
    /// It is a stream, and they are refused at this level.
    Stream = 1,
    /// Too many have begun since the last look for the memory or the fds that were left then
    /// ([`GuardOptions::request_bytes`](crate::GuardOptions::request_bytes), `request_fds`).
    Room = 2,
    /// As many are being answered as can be without a queue
    /// ([`GuardOptions::concurrency`](crate::GuardOptions::concurrency)).
    Concurrency = 3,
}

impl Why {
    pub(crate) const COUNT: usize = 4;

    pub(crate) fn all() -> impl Iterator<Item = Why> {
        [Why::Level, Why::Stream, Why::Room, Why::Concurrency].into_iter()
    }

    /// Its name, as metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Why::Level => "level",
            Why::Stream => "stream",
            Why::Room => "room",
            Why::Concurrency => "concurrency",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Level => "requests of this priority are shed",
            Why::Stream => "no new streams are taken",
            Why::Room => "no room is left for another one before the next look",
            Why::Concurrency => "as many are in flight as can be answered without a queue",
        })
    }
}

/// [`Priority::Low`] may take so much of the limit of concurrency, in percent: the others find the
/// rest free.
const LOW_PERCENT: usize = 75;

impl Shared {
    pub(crate) fn admit(
        self: &Arc<Shared>,
        priority: Priority,
        is_stream: bool,
        born_at: &'static Location<'static>,
    ) -> Result<Admission, Refused> {
        self.stir.begin();
        let level = self.level();
        self.may_begin(level, priority, is_stream)
            .map(|(interval, working)| self.admission(interval, working, is_stream, born_at))
            .map_err(|why| {
                self.refused[priority as usize][why as usize].fetch_add(1, Ordering::Relaxed);
                Refused { level, why, retry_after: self.options.retry_after }
            })
    }

    /// The interval whose room it takes, and how many are not answered, itself included.
    fn may_begin(
        &self,
        level: Level,
        priority: Priority,
        is_stream: bool,
    ) -> Result<(u32, usize), Why> {
        let is_critical = priority == Priority::Critical;
        if !is_critical && self.sheds[level as usize].is_some_and(|shed| priority <= shed) {
            return Err(Why::Level);
        }
        if !is_critical && is_stream && self.refuses_streams[level as usize] {
            return Err(Why::Stream);
        }
        let working = self.working.fetch_add(1, Ordering::Relaxed) + 1;
        let admitted = if !is_critical && working > self.limit(priority) {
            Err(Why::Concurrency)
        } else {
            self.room.take(is_critical).ok_or(Why::Room)
        };
        match admitted {
            Ok(_) => self.in_flight.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.working.fetch_sub(1, Ordering::Relaxed),
        };
        admitted.map(|interval| (interval, working))
    }

    fn limit(&self, priority: Priority) -> usize {
        let limit = self.limiter.as_ref().map_or(usize::MAX, crate::limiter::Limiter::limit);
        let low = limit.saturating_mul(LOW_PERCENT).div_ceil(100);
        if priority == Priority::Low && limit != usize::MAX { low } else { limit }
    }

    fn admission(
        self: &Arc<Shared>,
        interval: u32,
        working: usize,
        is_stream: bool,
        born_at: &'static Location<'static>,
    ) -> Admission {
        let owner = staunch_scope::current_task();
        let account = self.ledger.open_at(born_at, Kind::LEASE, Obligation::EndsWithParent, owner);
        // How long a stream lasts says nothing.
        let learns = self.limiter.is_some() && !is_stream;
        Admission {
            shared: Arc::clone(self),
            interval,
            begun: learns.then(|| (self.now(), working)),
            is_working: true,
            account,
        }
    }
}
