//! A thread's part of a ledger, and which thread has which.
//!
//! A thread *claims* a shard of a ledger on its first birth there and keeps it until the thread
//! ends; then the next thread that needs one claims it, with all that still lives in it. So
//! births need no lock and no contended line, and shards are as many as threads were ever
//! alive at once.

use std::{cell::Cell, cell::RefCell};

use crate::{
    arena::Arena,
    kind::MAX_KINDS,
    label::LabelCell,
    ledger::Inner,
    slot::{Birth, HIDDEN, Slot},
    sync::{AtomicBool, AtomicU64, Ordering},
};

/// The most threads that can give birth on one ledger at a time (10 bits of an entry's id).
#[cfg(not(loom))]
pub(crate) const MAX_SHARDS: usize = 1024;
#[cfg(loom)]
pub(crate) const MAX_SHARDS: usize = 4;

pub(crate) struct Shard {
    pub(crate) ledger: &'static Inner,
    pub(crate) number: u32,
    pub(crate) slots: Arena<Slot>,
    pub(crate) labels: Arena<LabelCell>,
    claimed: AtomicBool,
    /// Births by kind; written by the owner only.
    births: Box<[AtomicU64]>,
}

crate::sync::thread_local! {
    /// The shard this thread used last: nearly always the one it uses next.
    static HOT: Cell<Option<&'static Shard>> = const { Cell::new(None) };

    /// Every shard this thread has claimed, one a ledger.
    static CLAIMS: Claims = const { Claims(RefCell::new(Vec::new())) };
}

/// Gives its shards back when the thread ends.
struct Claims(RefCell<Vec<&'static Shard>>);

impl Drop for Claims {
    fn drop(&mut self) {
        let _ = HOT.try_with(|hot| hot.set(None));
        for shard in self.0.get_mut().drain(..) {
            shard.release();
        }
    }
}

impl Shard {
    pub(crate) fn new(ledger: &'static Inner, number: usize) -> Shard {
        let kinds = if cfg!(loom) { 1 } else { MAX_KINDS };
        Shard {
            ledger,
            number: number as u32,
            slots: Arena::new(),
            labels: Arena::new(),
            claimed: AtomicBool::new(false),
            births: (0..kinds).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether this thread is the shard's owner, as far as it can tell at once. A wrong `false`
    /// only costs the owner a detour over the remote free list.
    #[inline]
    pub(crate) fn is_hot(&self) -> bool {
        HOT.with(|hot| hot.get().is_some_and(|hot| std::ptr::eq(hot, self)))
    }

    /// Opens an entry; `None` when the arena is full. Owner only.
    #[inline]
    pub(crate) fn open(&'static self, birth: &Birth) -> Option<(&'static Shard, &'static Slot)> {
        let (_, slot) = self.slots.take()?;
        slot.open(birth);
        if birth.flags & HIDDEN == 0 {
            self.count_birth(usize::from(birth.kind.0));
        }
        Some((self, slot))
    }

    /// Counts a birth. Owner only.
    #[inline]
    fn count_birth(&self, kind: usize) {
        if cfg!(loom) {
            return;
        }
        let count = &self.births[kind];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Entries of a kind ever born here.
    pub(crate) fn births(&self, kind: usize) -> u64 {
        self.births.get(kind).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// As if nothing had been born here: the ledger is about to begin anew.
    pub(crate) fn forget_births(&self) {
        self.births.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Acquire: what the last owner did to the free lists is seen.
    fn claim(&self) -> bool {
        self.claimed.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn release(&self) {
        self.claimed.store(false, Ordering::Release);
    }
}

/// Runs `f` on this thread's shard of `ledger`; `None` when more threads than
/// [`MAX_SHARDS`] want one.
#[inline]
pub(crate) fn with_own<R>(
    ledger: &'static Inner,
    f: impl FnOnce(&'static Shard) -> R,
) -> Option<R> {
    let own = match HOT.with(Cell::get) {
        Some(hot) if std::ptr::eq(hot.ledger, ledger) => Own::Kept(hot),
        _ => look_up(ledger)?,
    };
    Some(f(own.shard())) // the one place that calls it: it is inlined
}

/// A shard that belongs to this thread.
enum Own {
    Kept(&'static Shard),
    /// As long as this lives.
    Borrowed(&'static Shard),
}

impl Own {
    #[inline]
    fn shard(&self) -> &'static Shard {
        let (Own::Kept(shard) | Own::Borrowed(shard)) = self;
        shard
    }
}

impl Drop for Own {
    #[inline]
    fn drop(&mut self) {
        if let Own::Borrowed(shard) = self {
            shard.release();
        }
    }
}

#[cold]
fn look_up(ledger: &'static Inner) -> Option<Own> {
    let claimed = CLAIMS.try_with(|claims| {
        let mut claims = claims.0.borrow_mut();
        let known = claims.iter().find(|shard| std::ptr::eq(shard.ledger, ledger));
        let shard = if let Some(shard) = known {
            *shard
        } else {
            let shard = claim(ledger)?;
            claims.push(shard);
            shard
        };
        HOT.with(|hot| hot.set(Some(shard)));
        Some(shard)
    });
    match claimed {
        Ok(shard) => shard.map(Own::Kept),
        // The thread is ending and its claims are gone.
        Err(_) => claim(ledger).map(Own::Borrowed),
    }
}

fn claim(ledger: &'static Inner) -> Option<&'static Shard> {
    (0..MAX_SHARDS).map(|number| ledger.shard_or_new(number)).find(|shard| shard.claim())
}
