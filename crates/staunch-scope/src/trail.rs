//! What a task leaves behind for the search for waits that nobody can end.
//!
//! Only the task itself writes its trail, while it is polled, except that a search may ask for a
//! *probe*. Readers on other threads see everything the task wrote before it registered the
//! wait through which they found it: both go through the lock of the channel.
//!
//! **Probe.** Whether a task waits for nothing but its channels cannot be seen from outside:
//! beside `receiver.recv()` it may `select!` on a future that is not ours. So a suspect is polled
//! once more, with a waker that counts its copies. Each pending future keeps one; if there are
//! no more copies than waits we know of, there is nothing else. It costs nothing until somebody
//! asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context as Poller, Wake, Waker},
};

use staunch_ledger::EntryId;

use crate::frame;

#[derive(Default)]
pub(crate) struct Trail {
    /// [`Handed`].
    handed: AtomicU64,
    /// The channel that the last message went to, and how many messages there were before the
    /// first of those that went there in a row.
    last_channel: AtomicU64,
    row_began: AtomicU32,
    /// Pending waits for channels.
    waits: AtomicU16,
    /// In this poll: the child or scope that is waited for, or [`SEVERAL`].
    joins: AtomicU64,
    /// In this poll: something of ours that is neither a channel nor a join.
    elsewhere: AtomicBool,
    probe: AtomicU8,
}

const SEVERAL: u64 = u64::MAX;

/// What a task has handed on so far: with each child, and each message that can hold a handle,
/// a handle may have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) by_spawn: u32,
    pub(crate) by_message: u32,
}

impl Handed {
    pub(crate) fn to_number(self) -> u64 {
        u64::from(self.by_spawn) << 32 | u64::from(self.by_message)
    }

    pub(crate) fn from_number(number: u64) -> Handed {
        Handed { by_spawn: (number >> 32) as u32, by_message: number as u32 }
    }

    /// What was handed on since `earlier`.
    pub(crate) fn since(self, earlier: Handed) -> Handed {
        Handed {
            by_spawn: self.by_spawn.wrapping_sub(earlier.by_spawn),
            by_message: self.by_message.wrapping_sub(earlier.by_message),
        }
    }
}

/// Whether a task waits for anything that we do not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Probe {
    /// Nobody has asked since the task was polled last.
    Unknown = 0,
    Wanted = 1,
    /// It waits for its channels, or its join, and nothing else.
    Alone = 2,
    NotAlone = 3,
}

impl Trail {
    /// A poll begins; whether it is to be a probe.
    pub(crate) fn begin_poll(&self) -> bool {
        self.joins.store(0, Ordering::Relaxed);
        self.elsewhere.store(false, Ordering::Relaxed);
        match self.probe() {
            Probe::Unknown => false,
            Probe::Wanted => true,
            Probe::Alone | Probe::NotAlone => {
                self.set_probe(Probe::Unknown);
                false
            }
        }
    }

    pub(crate) fn handed(&self) -> Handed {
        Handed::from_number(self.handed.load(Ordering::Relaxed))
    }

    fn set_handed(&self, handed: Handed) {
        self.handed.store(handed.to_number(), Ordering::Relaxed);
    }

    pub(crate) fn hand_on_by_spawn(&self) {
        let Handed { by_spawn, by_message } = self.handed();
        self.set_handed(Handed { by_spawn: by_spawn.wrapping_add(1), by_message });
    }

    pub(crate) fn hand_on_by_message(&self, channel: EntryId) {
        let Handed { by_spawn, by_message } = self.handed();
        if self.last_channel.swap(channel.number(), Ordering::Relaxed) != channel.number() {
            self.row_began.store(by_message, Ordering::Relaxed);
        }
        self.set_handed(Handed { by_spawn, by_message: by_message.wrapping_add(1) });
    }

    /// The one channel that every message since `earlier` went to.
    pub(crate) fn only_channel_since(&self, earlier: Handed) -> Option<EntryId> {
        let sent = self.handed().since(earlier).by_message;
        let began = Handed { by_message: self.row_began.load(Ordering::Relaxed), by_spawn: 0 };
        let in_a_row = self.handed().since(began).by_message;
        let channel = self.last_channel.load(Ordering::Relaxed);
        (0 < sent && sent <= in_a_row).then(|| EntryId::from_number(channel))
    }

    /// Pending waits for channels.
    pub(crate) fn waits(&self) -> u16 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_wait(&self) {
        self.waits.fetch_sub(1, Ordering::Relaxed);
    }

    /// The one child or scope that the task waits for.
    pub(crate) fn joins(&self) -> Option<EntryId> {
        let target = self.joins.load(Ordering::Relaxed);
        (target != 0 && target != SEVERAL).then(|| EntryId::from_number(target))
    }

    pub(crate) fn waits_to_join(&self, target: EntryId) {
        let before = self.joins.load(Ordering::Relaxed);
        let one = before == 0 || before == target.number();
        self.joins.store(if one { target.number() } else { SEVERAL }, Ordering::Relaxed);
    }

    /// Whether the task waits for something of ours that is neither a channel nor a join.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere.load(Ordering::Relaxed)
    }

    pub(crate) fn waits_elsewhere(&self) {
        self.elsewhere.store(true, Ordering::Relaxed);
    }

    pub(crate) fn probe(&self) -> Probe {
        match self.probe.load(Ordering::Acquire) {
            0 => Probe::Unknown,
            1 => Probe::Wanted,
            2 => Probe::Alone,
            _ => Probe::NotAlone,
        }
    }

    pub(crate) fn set_probe(&self, probe: Probe) {
        self.probe.store(probe as u8, Ordering::Release);
    }
}

/// A waker that forwards, and whose copies can be counted.
struct Counted(Waker);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Polls the current task as a probe, and notes the result in its trail.
#[cold]
pub(crate) fn poll_as_probe<R>(cx: &Poller<'_>, poll: impl FnOnce(&mut Poller<'_>) -> R) -> R {
    let counted = Arc::new(Counted(cx.waker().clone()));
    let waker = Waker::from(Arc::clone(&counted));
    let polled = poll(&mut Poller::from_waker(&waker));
    frame::with_current(|frame| {
        let copies = Arc::strong_count(&counted) - 2; // beside `counted` and `waker`
        let trail = frame.trail();
        // A wait of ours below an executor of the task's own was perhaps not polled at all.
        let alone = frame.registered(&waker).is_some_and(|registered| {
            let known = usize::from(trail.waits()) + usize::from(trail.joins().is_some());
            copies == registered + known
        });
        trail.set_probe(if alone { Probe::Alone } else { Probe::NotAlone });
    });
    polled
}
