//! One entry: 64 bytes, one cache line, every field an atomic.
//!
//! A slot is a seqlock whose sequence is its generation: odd while an entry lives in it, even
//! while it is free.
//! 1. [`Slot::open`] runs on the owner of the shard, on a free slot: a release fence, then the
//!    fields, then the odd generation with release.
//! 2. While the entry lives, its account may change single words, on any thread: each is complete
//!    in itself, so a reader sees the old or the new one. These are releases: whoever reads the
//!    new word and fences sees that this entry was opened, even if another thread opened it.
//! 3. [`Slot::close`] stores the even generation, then a release fence: the free list's link,
//!    which follows, overwrites a field.
//! 4. [`Slot::read`] takes the generation with acquire, the fields, an acquire fence, and the
//!    generation again. If it read a link or a field of a later entry, its fence meets the fence
//!    of `close` or of that entry's `open`, or the release of 2, so the second look sees that the
//!    generation moved, and the reader drops what it has. Nobody waits for anybody.
//!
//! The generation also makes ids one-shot: the id of a closed entry never names the slot's next
//! tenant (until 2^31 later tenants of that slot).

use crate::{
    arena::Cell,
    clock::Stamp,
    kind::Kind,
    label::LabelWord,
    ledger::INDEX_BITS,
    obligation::Obligation,
    state::State,
    sync::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
};

/// Kept off the user's counts; see `canary.rs`.
pub(crate) const HIDDEN: u8 = 1;

#[cfg_attr(not(loom), repr(C, align(64)))]
pub(crate) struct Slot {
    generation: AtomicU32,
    kind: AtomicU8,
    state: AtomicU8,
    flags: AtomicU8,
    _spare: u8,
    site: AtomicU32,
    /// File descriptor + 1, or 0; the free-list link while the slot is free.
    fd_or_next: AtomicU32,
    parent: AtomicU64,
    /// The birth in the upper bits, and in the lower [`INDEX_BITS`] the slot's own index, which
    /// never changes: so an account need not carry it.
    born_and_index: AtomicU64,
    progress: AtomicU64,
    /// Bytes held; for a task, how often it was polled.
    amount: AtomicU64,
    obligation: AtomicU64,
    label: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 64);

/// The lower bits of `born_and_index`.
const INDEX: u64 = (1 << INDEX_BITS) - 1;

/// What an entry is born with.
pub(crate) struct Birth {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) site: u32,
    pub(crate) parent: u64,
    pub(crate) now: Stamp,
    /// [`Obligation::encode`].
    pub(crate) obligation: u64,
}

/// A consistent copy of a live slot.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) generation: u32,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    pub(crate) flags: u8,
    pub(crate) site: u32,
    pub(crate) fd: Option<u32>,
    pub(crate) parent: u64,
    pub(crate) born: Stamp,
    pub(crate) progress: Stamp,
    pub(crate) amount: u64,
    pub(crate) obligation: u64,
    pub(crate) label: LabelWord,
}

impl Cell for Slot {
    fn new(index: u32) -> Self {
        Slot {
            generation: AtomicU32::new(0),
            kind: AtomicU8::new(0),
            state: AtomicU8::new(0),
            flags: AtomicU8::new(0),
            _spare: 0,
            site: AtomicU32::new(0),
            fd_or_next: AtomicU32::new(0),
            parent: AtomicU64::new(0),
            born_and_index: AtomicU64::new(u64::from(index)),
            progress: AtomicU64::new(0),
            amount: AtomicU64::new(0),
            obligation: AtomicU64::new(0),
            label: AtomicU64::new(0),
        }
    }

    fn next(&self) -> &AtomicU32 {
        &self.fd_or_next
    }
}

impl Slot {
    /// Fills a free slot. Owner of the shard only.
    #[inline]
    pub(crate) fn open(&self, birth: &Birth) {
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        debug_assert!(generation % 2 == 1, "a slot on the free list is free");
        fence(Ordering::Release);
        self.kind.store(birth.kind.0, Ordering::Relaxed);
        self.state.store(State::Open as u8, Ordering::Relaxed);
        self.flags.store(birth.flags, Ordering::Relaxed);
        self.site.store(birth.site, Ordering::Relaxed);
        self.fd_or_next.store(0, Ordering::Relaxed);
        self.parent.store(birth.parent, Ordering::Relaxed);
        let index = self.born_and_index.load(Ordering::Relaxed) & INDEX;
        self.born_and_index.store(birth.now.0 << INDEX_BITS | index, Ordering::Relaxed);
        self.progress.store(birth.now.0, Ordering::Relaxed);
        self.amount.store(0, Ordering::Relaxed);
        self.obligation.store(birth.obligation, Ordering::Relaxed);
        self.label.store(LabelWord::UNSET.0, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Release);
    }

    /// Ends the entry and returns its label, which the caller frees. The slot may be reused as
    /// soon as it is back on a free list.
    #[inline]
    pub(crate) fn close(&self) -> LabelWord {
        let generation = self.generation.load(Ordering::Relaxed);
        debug_assert!(generation % 2 == 1, "an account closes its entry once");
        let label = LabelWord(self.label.load(Ordering::Relaxed));
        self.generation.store(generation.wrapping_add(1), Ordering::Release);
        fence(Ordering::Release);
        label
    }

    /// A copy of the entry, or `None` when the slot is free or changed hands meanwhile.
    #[inline]
    pub(crate) fn read(&self) -> Option<Record> {
        let generation = self.generation.load(Ordering::Acquire);
        if generation.is_multiple_of(2) {
            return None;
        }
        let record = Record {
            generation,
            kind: Kind(self.kind.load(Ordering::Relaxed)),
            state: State::from_number(self.state.load(Ordering::Relaxed)),
            flags: self.flags.load(Ordering::Relaxed),
            site: self.site.load(Ordering::Relaxed),
            fd: self.fd_or_next.load(Ordering::Relaxed).checked_sub(1),
            parent: self.parent.load(Ordering::Relaxed),
            born: self.born(),
            progress: Stamp(self.progress.load(Ordering::Relaxed)),
            amount: self.amount.load(Ordering::Relaxed),
            obligation: self.obligation.load(Ordering::Relaxed),
            label: LabelWord(self.label.load(Ordering::Relaxed)),
        };
        self.still(generation).then_some(record)
    }

    /// Whether everything read before this call belonged to the entry of `generation`.
    #[inline]
    pub(crate) fn still(&self, generation: u32) -> bool {
        fence(Ordering::Acquire);
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// Whether the entry of `generation` lives.
    pub(crate) fn lives(&self, generation: u32) -> bool {
        generation % 2 == 1 && self.generation.load(Ordering::Acquire) == generation
    }

    #[inline]
    pub(crate) fn touch(&self, now: Stamp) {
        self.progress.store(now.0, Ordering::Release);
    }

    pub(crate) fn born(&self) -> Stamp {
        Stamp(self.born_and_index.load(Ordering::Relaxed) >> INDEX_BITS)
    }

    /// Its place in the arena.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        (self.born_and_index.load(Ordering::Relaxed) & INDEX) as u32
    }

    /// The generation of the entry that lives in it, for whoever holds its account.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn progress(&self) -> Stamp {
        Stamp(self.progress.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    pub(crate) fn state(&self) -> State {
        State::from_number(self.state.load(Ordering::Relaxed))
    }

    pub(crate) fn set_fd(&self, fd: u32) {
        self.fd_or_next.store(fd + 1, Ordering::Release);
    }

    pub(crate) fn set_obligation(&self, obligation: Obligation, now: Stamp) {
        if matches!(obligation, Obligation::ProgressWithin(_)) {
            self.touch(now);
        }
        self.obligation.store(obligation.encode(now), Ordering::Release);
    }

    #[inline]
    pub(crate) fn add_amount(&self, amount: u64) {
        self.amount.fetch_add(amount, Ordering::Release);
    }

    #[inline]
    pub(crate) fn sub_amount(&self, amount: u64) {
        self.amount.fetch_sub(amount, Ordering::Release);
    }

    /// One more poll. A task is polled by one thread at a time, so this needs no locked add.
    #[inline]
    pub(crate) fn count_poll(&self) {
        let polls = self.amount.load(Ordering::Relaxed);
        self.amount.store(polls.wrapping_add(1), Ordering::Release);
    }

    /// Puts a new label and returns the old one, which the caller frees.
    pub(crate) fn swap_label(&self, label: LabelWord) -> LabelWord {
        LabelWord(self.label.swap(label.0, Ordering::AcqRel))
    }

    /// Acquire: whoever follows the word to a text finds the text written.
    pub(crate) fn label(&self) -> LabelWord {
        LabelWord(self.label.load(Ordering::Acquire))
    }
}
