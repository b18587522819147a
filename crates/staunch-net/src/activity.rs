//! What the two directions of a connection do.
//!
//! One task may read while another writes, so each direction has words of its own; the ledger
//! shows the one that waits for the peer. All of them are plain stores by whoever reads or
//! writes, and are looked at by the watchdog.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use staunch_ledger::{Stamp, State};

/// What reading has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Accepted, and nothing was read or written.
    New = 0,
    /// Dialled, and nothing was read or written.
    Unused = 1,
    /// Waits for the first byte.
    FirstByte = 2,
    /// Waits for a message, and holds no memory for it.
    Idle = 3,
    /// Waits for bytes, of whatever.
    Bytes = 4,
    /// Waits for the rest of a message.
    Rest = 5,
    /// Does not wait.
    Working = 6,
    /// The peer has sent its last byte.
    Ended = 7,
}

impl Reading {
    const ALL: [Reading; 8] = [
        Reading::New,
        Reading::Unused,
        Reading::FirstByte,
        Reading::Idle,
        Reading::Bytes,
        Reading::Rest,
        Reading::Working,
        Reading::Ended,
    ];

    fn state(self) -> State {
        match self {
            Reading::New | Reading::FirstByte => State::Open,
            Reading::Unused | Reading::Idle => State::Idle,
            Reading::Bytes => State::Read,
            Reading::Rest => State::ReadRest,
            Reading::Working | Reading::Ended => State::Running,
        }
    }
}

/// Times are milliseconds of the ledger's clock, wrapping, and never 0: that is "not".
#[derive(Debug)]
pub(crate) struct Activity {
    reading: AtomicU8,
    /// Why the watchdog cut the connection, as its number; 0 while it has not.
    pub(crate) cut: AtomicU8,
    /// Its task has nothing in hand but the wait for what the peer says next.
    at_rest: AtomicBool,
    /// Since when the peer has taken nothing of what waits for it.
    unsent_since: AtomicU32,
    /// When the message that is incomplete was first waited for.
    message_since: AtomicU32,
    /// Bytes written, wrapping: for the send rate.
    sent: AtomicU32,
}

impl Activity {
    pub(crate) fn new(reading: Reading) -> Activity {
        Activity {
            reading: AtomicU8::new(reading as u8),
            cut: AtomicU8::new(0),
            at_rest: AtomicBool::new(false),
            unsent_since: AtomicU32::new(0),
            message_since: AtomicU32::new(0),
            sent: AtomicU32::new(0),
        }
    }

    pub(crate) fn reading(&self) -> Reading {
        let number = usize::from(self.reading.load(Relaxed));
        Reading::ALL.get(number).copied().unwrap_or(Reading::Working)
    }

    pub(crate) fn set_reading(&self, reading: Reading) {
        self.reading.store(reading as u8, Relaxed);
    }

    /// What the ledger shows: a peer that does not take its bytes comes first.
    pub(crate) fn state(&self) -> State {
        if self.is_unsent() { State::Write } else { self.reading().state() }
    }

    /// Whether it may be closed and nobody loses anything: its task says so, and nothing is unsent.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.at_rest.load(Relaxed) && !self.is_unsent() && self.cut.load(Relaxed) == 0
    }

    pub(crate) fn set_at_rest(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Relaxed);
    }

    /// Reading waits: for the first byte if there was none, else for `what`.
    pub(crate) fn waits_to_read(&self, what: Reading) {
        let first = matches!(self.reading(), Reading::New | Reading::FirstByte);
        self.set_reading(if first { Reading::FirstByte } else { what });
    }

    /// Reading waits for the rest of a message.
    pub(crate) fn waits_for_rest(&self, now: Stamp) {
        self.set_reading(Reading::Rest);
        if self.message_since.load(Relaxed) == 0 {
            self.message_since.store(millis(now), Relaxed);
        }
    }

    /// A message is complete, or none has begun.
    pub(crate) fn message_ended(&self) {
        self.message_since.store(0, Relaxed);
    }

    /// Writing waits for the peer.
    pub(crate) fn waits_to_write(&self, now: Stamp) {
        if !self.is_unsent() {
            self.unsent_since.store(millis(now), Relaxed);
        }
    }

    /// Bytes were written.
    pub(crate) fn wrote(&self, count: usize) {
        self.sent.store(self.sent().wrapping_add(count as u32), Relaxed);
        self.unsent_since.store(0, Relaxed);
        if matches!(self.reading(), Reading::New | Reading::Unused) {
            self.set_reading(Reading::Working);
        }
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Relaxed)
    }

    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent_since.load(Relaxed) != 0
    }

    /// How long the peer has taken nothing of what waits for it.
    pub(crate) fn unsent_for(&self, now: Stamp) -> Option<Duration> {
        since(self.unsent_since.load(Relaxed), now)
    }

    /// How long a message has been incomplete, if the rest of it is waited for.
    pub(crate) fn message_for(&self, now: Stamp) -> Option<Duration> {
        let waits = self.reading() == Reading::Rest;
        since(self.message_since.load(Relaxed), now).filter(|_| waits)
    }
}

/// A moment as a word.
pub(crate) fn millis(at: Stamp) -> u32 {
    (at.as_millis() as u32).max(1)
}

/// The time since a moment; `None` if there was none.
fn since(moment: u32, now: Stamp) -> Option<Duration> {
    let passed = millis(now).wrapping_sub(moment);
    // A moment that another thread noted after `now` was read is no time ago, not 49 days.
    let passed = if passed > u32::MAX / 2 { 0 } else { passed };
    (moment != 0).then(|| Duration::from_millis(u64::from(passed)))
}
