//! The stall watchdog: cuts peers that stop without closing.
//!
//! It works below the protocol. Each connection says what its two directions wait for
//! ([`Activity`]) and when it last moved bytes; these are single stores. The watchdog keeps every connection of its
//! listener on one coarse wheel and looks at each when it could first be too late: no timer per
//! operation, nothing to re-arm when bytes move. A connection that is too late is *cut*: its
//! socket is shut down, the kernel wakes the task that waits on it, and the task finds out why
//! ([`Cut`]).
//!
//! How often it looks: when the state that a connection is in would be too late, or after the
//! shortest of the limits, whichever is sooner. A state that begins right after a look has at
//! least the shortest limit to run, so no cut comes later than its limit by more than a tick.

use std::{
    cmp::Reverse,
    convert::Infallible,
    fmt, io,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use staunch_ledger::{Kind, Observation, Stamp, State};
use tokio::sync::Notify;

use crate::{
    activity::{self, Activity, Reading},
    buffer::BufferPool,
    connection::Core,
    limits::{Limits, RATE_WINDOW},
    wheel::Wheel,
};

/// Why the watchdog cut a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CutReason {
    /// No first byte in time.
    FirstByte,
    /// No byte between messages.
    Idle,
    /// No byte in the middle of a message.
    ReadStall,
    /// A message was not complete in time, although bytes came.
    Message,
    /// Nothing moved after the peer had sent its last byte.
    HalfClose,
    /// The peer took nothing of what waits for it.
    WriteStall,
    /// The peer takes what waits for it too slowly.
    SendRate,
    /// The connection's whole time is over.
    Lifetime,
    /// The handshake took too long.
    Handshake,
    /// It was at rest, and something ran short ([`Control::close_idle`](crate::Control::close_idle)).
    Pressure,
}

/// A connection was cut by the watchdog; the error of whatever its task was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection cut: {reason} (limit {limit})")]
pub struct Cut {
    reason: CutReason,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Time(Duration),
    BytesPerSecond(u32),
    /// Not one of its own.
    Process,
}

impl Cut {
    /// Why.
    pub fn reason(&self) -> CutReason {
        self.reason
    }

    /// The reason that an error of a connection tells, if it was cut.
    pub fn reason_in(error: &io::Error) -> Option<CutReason> {
        Some(error.get_ref()?.downcast_ref::<Cut>()?.reason)
    }

    /// Whether that is what an error of a connection tells; then it is in the log.
    pub(crate) fn is_in(error: &io::Error) -> bool {
        Cut::reason_in(error).is_some()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Time(limit) => write!(f, "{limit:?}"),
            Limit::BytesPerSecond(rate) => write!(f, "{rate} bytes a second"),
            Limit::Process => f.write_str("of the process"),
        }
    }
}

impl CutReason {
    /// Whether its peer sees an orderly end: nothing was on its way. Others see a reset.
    pub fn is_orderly(self) -> bool {
        matches!(self, CutReason::FirstByte | CutReason::Idle | CutReason::Pressure)
    }

    const ALL: [CutReason; 10] = [
        CutReason::FirstByte,
        CutReason::Idle,
        CutReason::ReadStall,
        CutReason::Message,
        CutReason::HalfClose,
        CutReason::WriteStall,
        CutReason::SendRate,
        CutReason::Lifetime,
        CutReason::Handshake,
        CutReason::Pressure,
    ];

    /// Its number in an atomic; 0 is "not cut".
    pub(crate) fn number(self) -> u8 {
        self as u8 + 1
    }

    pub(crate) fn from_number(number: u8) -> Option<CutReason> {
        CutReason::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The rule's name in observations and metrics.
    pub fn rule(self) -> &'static str {
        match self {
            CutReason::FirstByte => "cut-first-byte",
            CutReason::Idle => "cut-idle",
            CutReason::ReadStall => "cut-read-stall",
            CutReason::Message => "cut-message",
            CutReason::HalfClose => "cut-half-close",
            CutReason::WriteStall => "cut-write-stall",
            CutReason::SendRate => "cut-send-rate",
            CutReason::Lifetime => "cut-lifetime",
            CutReason::Handshake => "cut-handshake",
            CutReason::Pressure => "cut-pressure",
        }
    }

    /// The error that tells it, with the limit that was passed.
    pub(crate) fn cut(self, limits: &Limits) -> Cut {
        let time = match self {
            CutReason::FirstByte => limits.first_byte,
            CutReason::Idle => limits.idle,
            CutReason::ReadStall => limits.read_stall,
            CutReason::Message => limits.message,
            CutReason::HalfClose => limits.half_close,
            CutReason::WriteStall => limits.write_stall,
            CutReason::Lifetime => limits.lifetime,
            CutReason::Handshake => Some(limits.handshake),
            CutReason::Pressure => return Cut { reason: self, limit: Limit::Process },
            CutReason::SendRate => None,
        };
        let limit = time.map_or(Limit::BytesPerSecond(limits.min_send_rate), Limit::Time);
        Cut { reason: self, limit }
    }
}

impl fmt::Display for CutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CutReason::FirstByte => "no first byte",
            CutReason::Idle => "idle",
            CutReason::ReadStall => "the peer stopped in the middle of a message",
            CutReason::Message => "a message took too long",
            CutReason::HalfClose => "the peer has closed, and nothing more was sent",
            CutReason::WriteStall => "the peer stopped reading",
            CutReason::SendRate => "the peer reads too slowly",
            CutReason::Lifetime => "its lifetime is over",
            CutReason::Handshake => "no handshake",
            CutReason::Pressure => "it was at rest, and something ran short",
        })
    }
}

/// A connection on the wheel.
#[derive(Debug)]
struct Watched {
    core: Weak<Core>,
    sending: Sending,
}

/// While a connection waits for its peer to read: since when it was seen waiting, in
/// milliseconds and never 0, and how many bytes it had sent then. Both wrap; only differences
/// count. Small, since every connection has one.
#[derive(Clone, Copy, Debug, Default)]
struct Sending {
    since: Option<NonZeroU32>,
    sent: u32,
}

/// What to do with a connection that was looked at.
enum Verdict {
    LookAgain(Duration),
    Cut(CutReason),
}

/// Looks after the connections of one listener.
#[derive(Debug)]
pub(crate) struct Watchdog {
    tick: Duration,
    wheel: Mutex<Wheel<Watched>>,
    /// The first connection after none.
    occupied: Notify,
}

impl Watchdog {
    pub(crate) fn new(limits: &Limits) -> Watchdog {
        const FINEST: Duration = Duration::from_millis(20);
        const COARSEST: Duration = Duration::from_millis(500);
        let shortest = limits.shortest().unwrap_or(COARSEST);
        let tick = (shortest / 8).clamp(FINEST, COARSEST);
        Watchdog { tick, wheel: Mutex::new(Wheel::new()), occupied: Notify::new() }
    }

    fn wheel(&self) -> MutexGuard<'_, Wheel<Watched>> {
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_millis() / self.tick.as_millis();
        u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Watches a new connection; it leaves by [`Watchdog::release`] with the key.
    pub(crate) fn watch(&self, core: Weak<Core>, limits: &Limits) -> u32 {
        let first = limits.shortest().unwrap_or(RATE_WINDOW);
        let mut wheel = self.wheel();
        let key = wheel.insert(Watched { core, sending: Sending::default() }, self.ticks(first));
        let first = wheel.len() == 1;
        drop(wheel);
        if first {
            self.occupied.notify_one();
        }
        key
    }

    pub(crate) fn release(&self, key: u32) {
        let watched = self.wheel().remove(key);
        drop(watched);
    }

    /// Looks, tick by tick, until dropped. Trims the buffers once a second or so.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn run(&self, limits: &Limits, buffers: &BufferPool) -> Infallible {
        let often = (1_000 / self.tick.as_millis()).max(1);
        let mut ticker = tokio::time::interval(self.tick);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ticks = 0;
        loop {
            ticker.tick().await;
            self.look(limits, buffers.is_short());
            ticks += 1;
            if ticks % often == 0 {
                buffers.trim();
                if self.wheel().len() == 0 {
                    self.occupied.notified().await;
                }
            }
        }
    }

    /// Closes up to `most` connections that have been at rest for `at_least`, the longest first; how many.
    pub(crate) fn close_idle(&self, most: usize, at_least: Duration) -> usize {
        let mut watched: Vec<_> =
            self.wheel().values().filter_map(|watched| watched.core.upgrade()).collect();
        // From here on without the wheel, as in `look`.
        watched.retain(|core| core.activity().is_at_rest() && core.still() >= at_least);
        watched.sort_by_cached_key(|core| Reverse(core.still()));
        let ended = watched
            .iter()
            .filter(|core| core.activity().is_at_rest() && core.cut(CutReason::Pressure));
        ended.take(most).count()
    }

    /// Looks at whoever is due. Cuts after the wheel is unlocked: whoever comes or goes needs the
    /// wheel, and the last reference to a connection must not be dropped under the lock.
    fn look(&self, limits: &Limits, short_of_buffers: bool) {
        let mut looked_at = Vec::new();
        self.wheel().tick(|watched| {
            let Some(core) = watched.core.upgrade() else { return 1 };
            let verdict = watched.judge(&core, limits, short_of_buffers);
            let (after, reason) = match verdict {
                Verdict::LookAgain(after) => (after, None),
                Verdict::Cut(reason) => (RATE_WINDOW, Some(reason)),
            };
            looked_at.push((core, reason));
            self.ticks(after)
        });
        for (core, reason) in looked_at {
            if let Some(reason) = reason {
                cut(&core, reason, limits);
            }
        }
    }
}

fn cut(core: &Arc<Core>, reason: CutReason, limits: &Limits) {
    if !core.cut(reason) {
        return;
    }
    let account = core.account();
    let ledger = account.ledger();
    let Some(entry) = ledger.entry(account.id()) else { return };
    tracing::info!(conn = %entry.id(), peer = %entry.label(), "{}", reason.cut(limits));
    ledger.observe(Observation {
        rule: reason.rule(),
        kind: Kind::CONNECTION,
        born_at: entry.born_at(),
        text: format!("{} from {}", reason.cut(limits), entry.label()),
        at: ledger.now(),
    });
}

/// A limit, how much of it is used up, and what passing it means.
type Clock = (Option<Duration>, Duration, CutReason);

impl Watched {
    fn judge(&mut self, core: &Core, limits: &Limits, short_of_buffers: bool) -> Verdict {
        let account = core.account();
        let now = account.ledger().now();
        let age = now.since(account.born());
        let reading = match account.state() {
            State::Handshake => (Some(limits.handshake), age, CutReason::Handshake),
            _ => reading(core.activity(), now.since(account.progress()), limits),
        };
        let message =
            if short_of_buffers { limits.message.map(|it| it / 10) } else { limits.message };
        let clocks = [
            (limits.lifetime, age, CutReason::Lifetime),
            reading,
            (message, core.activity().message_for(now).unwrap_or_default(), CutReason::Message),
            (
                limits.write_stall,
                core.activity().unsent_for(now).unwrap_or_default(),
                CutReason::WriteStall,
            ),
        ];
        if let Some(reason) = clocks.iter().find_map(passed) {
            return Verdict::Cut(reason);
        }
        if self.sends_too_slowly(core.activity(), now, limits) {
            return Verdict::Cut(CutReason::SendRate);
        }
        let left =
            clocks.iter().filter_map(|(limit, used, _)| limit.map(|it| it.saturating_sub(*used)));
        let shortest = limits.shortest().unwrap_or(RATE_WINDOW);
        Verdict::LookAgain(left.chain([shortest]).min().unwrap_or(shortest))
    }

    fn sends_too_slowly(&mut self, activity: &Activity, now: Stamp, limits: &Limits) -> bool {
        if !activity.is_unsent() || limits.min_send_rate == 0 {
            self.sending = Sending::default();
            return false;
        }
        let now = activity::millis(now);
        let sent = activity.sent();
        let before = self.sending;
        let seen = Sending { since: NonZeroU32::new(now), sent };
        let Some(since) = before.since else {
            self.sending = seen;
            return false;
        };
        let window = Duration::from_millis(u64::from(now.wrapping_sub(since.get())));
        if window < limits.rate_window() {
            return false;
        }
        self.sending = seen;
        let moved = u64::from(sent.wrapping_sub(before.sent));
        moved < u64::from(limits.min_send_rate) * window.as_secs()
    }
}

/// What bounds the wait for the peer's next byte.
fn reading(activity: &Activity, still: Duration, limits: &Limits) -> Clock {
    let (limit, reason) = match activity.reading() {
        Reading::New | Reading::FirstByte => (limits.first_byte, CutReason::FirstByte),
        Reading::Unused | Reading::Idle | Reading::Bytes => (limits.idle, CutReason::Idle),
        Reading::Rest => (limits.read_stall, CutReason::ReadStall),
        Reading::Ended => (limits.half_close, CutReason::HalfClose),
        Reading::Working => (None, CutReason::Idle),
    };
    (limit, still, reason)
}

fn passed((limit, used, reason): &Clock) -> Option<CutReason> {
    limit.is_some_and(|limit| *used >= limit).then_some(*reason)
}
