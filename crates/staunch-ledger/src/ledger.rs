//! The ledger itself: shards, and a handle that is free to copy.
//!
//! The memory of a ledger is never freed: a handle is a `&'static` reference, so that an
//! account is 16 bytes, needs no reference count (two contended writes a birth), and no
//! `unsafe`. It is recycled instead: [`Ledger::new`] takes over the memory of a ledger whose
//! [`OwnedLedger`] was dropped and whose entries have all ended. The process holds as many
//! ledgers as were ever in use at once.

use std::{
    cell::Cell,
    fmt,
    ops::Deref,
    panic::Location,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    account::Account,
    canary,
    clock::{self, Stamp},
    kind::Kind,
    obligation::Obligation,
    observation::{Observation, Observations},
    shard::{self, MAX_SHARDS, Shard},
    site,
    slot::{Birth, Record, Slot},
};

/// The book of everything live: who holds it, since when, and on which line it was born.
///
/// A handle: copying it is free. Use [`Ledger::current`] in a library, so that a test which
/// runs on a ledger of its own ([`Ledger::new`]) sees what the library opens.
///
/// # Examples
/// ```
/// use staunch_ledger::{Kind, Ledger, Obligation};
///
/// let ledger = Ledger::new();
/// let listener = ledger.open(Kind::LISTENER, Obligation::Perpetual("serves until shutdown"));
/// let connection = listener.child(Kind::CONNECTION, Obligation::EndsWithParent);
/// drop(listener);
///
/// let snapshot = ledger.snapshot();
/// let (overdue, _detector) = snapshot.overdue();
/// assert_eq!(overdue[0].id(), connection.id());
/// println!("{} was born at {}", overdue[0].kind(), overdue[0].born_at());
/// ```
#[derive(Clone, Copy)]
pub struct Ledger {
    pub(crate) inner: &'static Inner,
}

/// A ledger of one's own, made by [`Ledger::new`]; dropping it gives its memory to the next.
#[derive(Debug)]
pub struct OwnedLedger(Ledger);

/// Names an entry. The id of a closed entry is not given again, until 2^31 later entries have
/// had the same slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(crate) u64);

pub(crate) const INDEX_BITS: u32 = 22;
const INDEX: u32 = (1 << INDEX_BITS) - 1;

pub(crate) struct Inner {
    shards: [OnceLock<&'static Shard>; MAX_SHARDS],
    /// The hand-driven clock, or [`REAL_CLOCK`].
    clock: AtomicU64,
    unrecorded: AtomicU64,
    observations: Mutex<Observations>,
}

const REAL_CLOCK: u64 = u64::MAX;

static GLOBAL: OnceLock<&'static Inner> = OnceLock::new();

/// Ledgers whose owner is gone, for the next [`Ledger::new`].
static RETIRED: Mutex<Vec<&'static Inner>> = Mutex::new(Vec::new());

thread_local! {
    static CURRENT: Cell<Option<&'static Inner>> = const { Cell::new(None) };
}

impl Ledger {
    /// The process's own ledger.
    pub fn global() -> Ledger {
        Ledger { inner: GLOBAL.get_or_init(Inner::leak) }
    }

    /// A ledger of one's own: tests run in parallel, each on its own.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the owner gives the memory back; handles are copies"
    )]
    pub fn new() -> OwnedLedger {
        let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = retired.iter().position(|inner| Ledger { inner }.live() == 0);
        let inner = settled.map(|at| retired.swap_remove(at));
        drop(retired);
        OwnedLedger(Ledger { inner: inner.map_or_else(Inner::leak, Inner::reuse) })
    }

    /// The ledger that this thread's work belongs to: the one entered last
    /// ([`Ledger::enter`]), else the global one.
    #[inline]
    pub fn current() -> Ledger {
        CURRENT.get().map_or_else(Ledger::global, |inner| Ledger { inner })
    }

    /// Makes this the current ledger of the thread until the guard is dropped.
    #[inline]
    pub fn enter(self) -> Entered {
        Entered { before: CURRENT.replace(Some(self.inner)), _not_send: std::marker::PhantomData }
    }

    /// Opens an entry, born on the caller's line. It ends when the account is dropped.
    #[track_caller]
    #[inline]
    pub fn open(self, kind: Kind, obligation: Obligation) -> Account {
        self.open_at(Location::caller(), kind, obligation, None)
    }

    /// Opens an entry for somebody else's line, below `parent`: for wrappers that cannot be
    /// `#[track_caller]`, such as asynchronous functions.
    #[inline]
    pub fn open_at(
        self,
        born_at: &'static Location<'static>,
        kind: Kind,
        obligation: Obligation,
        parent: Option<EntryId>,
    ) -> Account {
        self.open_flagged(born_at, kind, obligation, parent, 0)
    }

    #[inline]
    pub(crate) fn open_flagged(
        self,
        born_at: &'static Location<'static>,
        kind: Kind,
        obligation: Obligation,
        parent: Option<EntryId>,
        flags: u8,
    ) -> Account {
        let site = site::number(born_at);
        let now = self.now();
        let birth = Birth {
            kind,
            flags,
            site,
            parent: parent.filter(|id| id.is_recorded()).map_or(0, |id| id.0),
            now,
            obligation: obligation.encode(now),
        };
        let Some((shard, slot)) = shard::with_own(self.inner, |own| own.open(&birth)).flatten()
        else {
            return self.unrecorded_account();
        };
        let account = Account::new(shard, slot);
        site::born(site, || account.id());
        account
    }

    #[cold]
    fn unrecorded_account(self) -> Account {
        self.inner.unrecorded.fetch_add(1, Ordering::Relaxed);
        Account::unrecorded(self.inner.shard_or_new(0))
    }

    /// Births that found no room: more than 1024 threads at once, or one million live entries
    /// of one thread. They work, but nobody sees them; a report says how many there were.
    pub fn unrecorded(self) -> u64 {
        self.inner.unrecorded.load(Ordering::Relaxed)
    }

    /// The time on the ledger's clock.
    #[inline]
    pub fn now(self) -> Stamp {
        match self.inner.clock.load(Ordering::Relaxed) {
            REAL_CLOCK => clock::coarse(),
            by_hand => Stamp(by_hand),
        }
    }

    /// Stops the ledger's clock and moves it by hand: for tests of what time does.
    pub fn advance_clock(self, by: Duration) {
        let now = self.now().plus(by).as_millis();
        self.inner.clock.store(now, Ordering::Relaxed);
    }

    /// How many entries are live. Looks at every slot: about 1 ns each.
    pub fn live(self) -> usize {
        let mut live = 0;
        self.inner.for_each(|_, record, _| live += usize::from(!canary::is_hidden(&record)));
        live
    }

    /// How many entries of `kind` were ever born.
    pub fn births(self, kind: Kind) -> u64 {
        self.inner.shards().map(|shard| shard.births(usize::from(kind.0))).sum()
    }

    /// Whether the entry lives.
    pub fn is_live(self, id: EntryId) -> bool {
        self.inner.slot(id).is_some_and(|slot| slot.lives(id.generation()))
    }

    /// Notes that something happened which a person should know; see [`Observation`].
    pub fn observe(self, observation: Observation) {
        self.inner.observations().push(observation);
    }

    /// The latest observations, oldest first.
    pub fn observations(self) -> Vec<Observation> {
        self.inner.observations().recent()
    }

    /// How often each rule observed something since the ledger began.
    pub fn observation_counts(self) -> Vec<(&'static str, u64)> {
        self.inner.observations().counts()
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("live", &self.live()).finish_non_exhaustive()
    }
}

impl PartialEq for Ledger {
    fn eq(&self, other: &Ledger) -> bool {
        std::ptr::eq(self.inner, other.inner)
    }
}

impl Eq for Ledger {}

impl Deref for OwnedLedger {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0
    }
}

impl Drop for OwnedLedger {
    fn drop(&mut self) {
        if cfg!(loom) {
            return; // a model's atomics do not outlive its iteration
        }
        RETIRED.lock().unwrap_or_else(PoisonError::into_inner).push(self.0.inner);
    }
}

/// Made by [`Ledger::enter`]; dropping it restores the ledger that was current before.
#[must_use = "the ledger is current only as long as this lives"]
pub struct Entered {
    before: Option<&'static Inner>,
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

impl Inner {
    fn leak() -> &'static Inner {
        let inner: &'static Inner = Box::leak(Box::new(Inner {
            shards: [const { OnceLock::new() }; MAX_SHARDS],
            clock: AtomicU64::new(REAL_CLOCK),
            unrecorded: AtomicU64::new(0),
            observations: Mutex::new(Observations::default()),
        }));
        if cfg!(loom) {
            // Loom sees no order in `OnceLock`: its threads must find the shards made.
            for number in 0..MAX_SHARDS {
                inner.shard_or_new(number);
            }
        } else {
            canary::hide(Ledger { inner });
        }
        inner
    }

    /// Makes a retired ledger look new.
    fn reuse(inner: &'static Inner) -> &'static Inner {
        inner.clock.store(REAL_CLOCK, Ordering::Relaxed);
        inner.unrecorded.store(0, Ordering::Relaxed);
        inner.shards().for_each(Shard::forget_births);
        *inner.observations() = Observations::default();
        inner
    }

    fn observations(&self) -> MutexGuard<'_, Observations> {
        self.observations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shard_or_new(&'static self, number: usize) -> &'static Shard {
        self.shards[number].get_or_init(|| Box::leak(Box::new(Shard::new(self, number))))
    }

    pub(crate) fn shard(&self, number: usize) -> Option<&'static Shard> {
        self.shards.get(number)?.get().copied()
    }

    /// Shards are made in the order of their numbers.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &'static Shard> {
        self.shards.iter().map_while(|shard| shard.get().copied())
    }

    pub(crate) fn slot(&self, id: EntryId) -> Option<&'static Slot> {
        let shard = self.shard(id.shard())?;
        (id.index() < shard.slots.used()).then(|| shard.slots.cell(id.index()))
    }

    /// Every live entry. Neither stops nor wakes anybody; an entry that is opened or closed
    /// meanwhile may be seen or not.
    pub(crate) fn for_each(&self, mut f: impl FnMut(EntryId, Record, &'static Slot)) {
        for shard in self.shards() {
            for (index, slot) in shard.slots.cells() {
                if let Some(record) = slot.read() {
                    f(EntryId::new(record.generation, shard.number, index), record, slot);
                }
            }
        }
    }
}

impl EntryId {
    #[inline]
    pub(crate) fn new(generation: u32, shard: u32, index: u32) -> EntryId {
        EntryId(u64::from(generation) << 32 | u64::from(shard << INDEX_BITS | index & INDEX))
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the ledger had room for it: generation 0 was never alive.
    fn is_recorded(self) -> bool {
        self.generation() != 0
    }

    fn shard(self) -> usize {
        (self.0 as u32 >> INDEX_BITS) as usize
    }

    fn index(self) -> u32 {
        self.0 as u32 & INDEX
    }

    /// The number that [`EntryId::from_number`] takes back: for reports and filters.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The id of a number that [`EntryId::number`] gave.
    pub fn from_number(number: u64) -> EntryId {
        EntryId(number)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.shard(), self.index(), self.generation())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Packs a shard's number and an index for a label word; see [`unpack`].
pub(crate) fn pack(shard: u32, index: u32) -> u32 {
    shard << INDEX_BITS | index
}

/// The shard's number and the index of [`pack`].
pub(crate) fn unpack(packed: u32) -> (usize, u32) {
    ((packed >> INDEX_BITS) as usize, packed & INDEX)
}
