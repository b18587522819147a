//! Cells that never move and are never freed, handed out by one thread and given back by any.
//!
//! An arena belongs to a shard, and a shard to at most one thread at a time: its *owner*.
//! 1. Only the owner calls [`Arena::take`] and [`Arena::give_back`]; both touch `local` with
//!    plain (relaxed) loads and stores. Ownership passes with an acquire/release pair
//!    (`Shard::claim`), which orders them.
//! 2. Any thread may call [`Arena::give_back_remote`]: it pushes onto `remote`. Nobody pops a
//!    single cell from `remote`; the owner takes the whole list at once, so there is no ABA.
//! 3. A cell's `next` word means something only while the cell is on a free list.
//! 4. The first pages double in size, so that a small ledger costs 4 KiB; the others are equal,
//!    so that a large one holds little that it does not use. `used` is the high-water mark that
//!    readers scan up to.
//!
//! Memory is bounded by the most cells ever live at once, and by [`CAPACITY`].

use std::sync::OnceLock;

use crate::sync::{AtomicU32, Ordering};

/// The first page's cells. Small under loom, which tracks every atomic.
#[cfg(not(loom))]
const FIRST_PAGE: u32 = 64;
#[cfg(loom)]
const FIRST_PAGE: u32 = 1;

/// How many pages double before the large ones, all of one size, begin.
const DOUBLINGS: u32 = 6;
const LARGE_PAGE: u32 = FIRST_PAGE << DOUBLINGS;
const LARGE_PAGES: u32 = 255;
const PAGES: u32 = DOUBLINGS + LARGE_PAGES;

/// The most cells of one arena: 1 048 512, or 64 MiB of 64-byte slots.
pub(crate) const CAPACITY: u32 = LARGE_PAGE - FIRST_PAGE + LARGE_PAGES * LARGE_PAGE;

/// The end of a free list. No index: `CAPACITY` is far below.
const NIL: u32 = u32::MAX;

/// Something an arena can hold.
pub(crate) trait Cell {
    /// The cell at `index`, free.
    fn new(index: u32) -> Self;
    /// The link used while the cell is on a free list.
    fn next(&self) -> &AtomicU32;
}

pub(crate) struct Arena<C> {
    pages: [OnceLock<Box<[C]>>; PAGES as usize],
    local: AtomicU32,
    used: AtomicU32,
    remote: Padded<AtomicU32>,
}

/// On a cache line of its own: other threads write it.
#[repr(align(64))]
struct Padded<T>(T);

impl<C: Cell> Arena<C> {
    pub(crate) fn new() -> Self {
        Arena {
            pages: [const { OnceLock::new() }; PAGES as usize],
            local: AtomicU32::new(NIL),
            used: AtomicU32::new(0),
            remote: Padded(AtomicU32::new(NIL)),
        }
    }

    /// A cell nobody else has, and its index; `None` at capacity. Owner only.
    #[inline]
    pub(crate) fn take(&self) -> Option<(u32, &C)> {
        let mut head = self.local.load(Ordering::Relaxed);
        if head == NIL {
            head = self.take_all_remote();
            if head == NIL {
                return self.grow();
            }
        }
        let cell = self.cell(head);
        self.local.store(cell.next().load(Ordering::Relaxed), Ordering::Relaxed);
        Some((head, cell))
    }

    /// Gives back the cell at `index`. Owner only.
    #[inline]
    pub(crate) fn give_back(&self, index: u32, cell: &C) {
        cell.next().store(self.local.load(Ordering::Relaxed), Ordering::Relaxed);
        self.local.store(index, Ordering::Relaxed);
    }

    /// Gives back the cell at `index` from any thread.
    #[cold]
    pub(crate) fn give_back_remote(&self, index: u32, cell: &C) {
        let remote = &self.remote.0;
        let mut head = remote.load(Ordering::Relaxed);
        loop {
            cell.next().store(head, Ordering::Relaxed);
            // Release: the owner that takes the list sees the link, and everything its last
            // holder did to the cell.
            match remote.compare_exchange_weak(head, index, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn take_all_remote(&self) -> u32 {
        let remote = &self.remote.0;
        if remote.load(Ordering::Relaxed) == NIL {
            return NIL;
        }
        remote.swap(NIL, Ordering::Acquire)
    }

    #[cold]
    fn grow(&self) -> Option<(u32, &C)> {
        let index = self.used.load(Ordering::Relaxed);
        if index >= CAPACITY {
            return None;
        }
        let (page, offset) = locate(index);
        let length = LARGE_PAGE.min(FIRST_PAGE << (page as u32).min(DOUBLINGS));
        let page = self.pages[page].get_or_init(|| (index..index + length).map(C::new).collect());
        // Release: whoever reads the new mark finds the page.
        self.used.store(index + 1, Ordering::Release);
        Some((index, &page[offset]))
    }

    /// The cell at an index that `take` returned.
    #[inline]
    pub(crate) fn cell(&self, index: u32) -> &C {
        let (page, offset) = locate(index);
        &self.pages[page].get().expect("an index comes from `take`, which made its page")[offset]
    }

    /// Every cell handed out at least once, page by page.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u32, &C)> {
        let used = self.used.load(Ordering::Acquire);
        let pages = self.pages.iter().map_while(OnceLock::get);
        (0..used).zip(pages.flat_map(|page| page.iter()))
    }

    /// The high-water mark.
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Acquire)
    }
}

/// The page of an index, and its place there.
#[inline]
fn locate(index: u32) -> (usize, usize) {
    let shifted = index + FIRST_PAGE;
    if shifted < LARGE_PAGE {
        let page = shifted.ilog2() - FIRST_PAGE.ilog2();
        return (page as usize, (shifted - (FIRST_PAGE << page)) as usize);
    }
    let page = DOUBLINGS + shifted / LARGE_PAGE - 1;
    (page as usize, (shifted % LARGE_PAGE) as usize)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Link(AtomicU32);

    impl Cell for Link {
        fn new(_: u32) -> Self {
            Link(AtomicU32::new(NIL))
        }
        fn next(&self) -> &AtomicU32 {
            &self.0
        }
    }

    #[test]
    fn indices_map_onto_pages_without_gap_or_overlap() {
        let mut expected = (0, 0);
        for index in 0..20_000 {
            assert_eq!(locate(index), expected, "index {index}");
            expected.1 += 1;
            if expected.1 == (FIRST_PAGE as usize) << expected.0.min(DOUBLINGS as usize) {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(locate(CAPACITY - 1), (PAGES as usize - 1, LARGE_PAGE as usize - 1));
    }

    #[test]
    fn a_cell_given_back_is_the_next_taken_and_remote_ones_are_not_lost() {
        let arena = Arena::<Link>::new();
        let take = || arena.take().map(|(index, _)| index);
        let taken: Vec<u32> = (0..200).filter_map(|_| take()).collect();
        assert_eq!(taken, (0..200).collect::<Vec<_>>());
        arena.give_back(7, arena.cell(7));
        assert_eq!(take(), Some(7));
        arena.give_back_remote(3, arena.cell(3));
        arena.give_back_remote(9, arena.cell(9));
        let mut back = [take(), take()];
        back.sort_unstable();
        assert_eq!(back, [Some(3), Some(9)]);
        assert_eq!(take(), Some(200));
        assert_eq!(arena.used(), 201);
    }
}
