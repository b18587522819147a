//! The buffers of a listener: taken when bytes arrive, given back when they are used up.
//!
//! All buffers have one size and are at most so many. Free ones lie on shelves, one for each
//! worker thread, so that two workers do not write the same line of memory for each message; a
//! worker whose shelf is empty takes from the others. Who finds none anywhere waits in line; a
//! buffer given back wakes the first. What was not needed for a while is given to the allocator
//! ([`BufferPool::trim`]), so a burst leaves nothing behind.
//!
//! **Invariant.** Whoever stands in line has looked at every shelf after joining it, and whoever
//! puts a buffer on a shelf looks at the line after that. Both go through the shelf's lock, so one
//! of them sees the other.

use std::{
    cell::Cell,
    collections::VecDeque,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as Poller, Poll, Waker},
};

use staunch_ledger::{Account, Kind, Ledger, Obligation};

use crate::window::Window;

/// A bounded pool of equal buffers; see the [module](self).
#[derive(Debug)]
pub(crate) struct BufferPool {
    shelves: Box<[Arc<Shelf>]>,
    common: Arc<Common>,
}

/// The free buffers of a worker thread, on a cache line of their own.
#[derive(Debug)]
#[repr(align(64))]
struct Shelf {
    free: Mutex<Free>,
    common: Arc<Common>,
}

#[derive(Debug, Default)]
struct Free {
    #[expect(clippy::vec_box, reason = "a buffer is one word, and moves without its memory")]
    chunks: Vec<Box<Chunk>>,
    /// The fewest since the last trim: those were not needed.
    fewest: usize,
}

/// What the shelves share, and touch only when buffers are made, freed or missing.
#[derive(Debug)]
struct Common {
    size: usize,
    most: usize,
    born_at: &'static Location<'static>,
    /// Opened with the first buffer.
    account: OnceLock<Account>,
    /// Free and taken together.
    made: AtomicUsize,
    /// How many stand in line.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

/// A buffer; goes back to its shelf when dropped. One word: every task that reads has room for
/// it, while it waits too.
#[derive(Debug)]
pub(crate) struct Buffer(Option<Box<Chunk>>);

/// The memory of a buffer.
#[derive(Debug)]
struct Chunk {
    window: Window,
    /// Where it belongs while it is taken. `None` on the shelf, which would own itself else.
    home: Option<Arc<Shelf>>,
}

/// A place in the line for a buffer; leaving it while it is one's turn passes the turn on.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    common: Arc<Common>,
}

/// More workers than this share shelves.
const MOST_SHELVES: usize = 16;

impl BufferPool {
    /// A pool of buffers of `size` bytes, `total` bytes in all, but at least one buffer.
    #[track_caller]
    pub(crate) fn new(size: usize, total: usize) -> BufferPool {
        let common = Arc::new(Common {
            size,
            most: (total / size.max(1)).max(1),
            born_at: Location::caller(),
            account: OnceLock::new(),
            made: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
        });
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let shelf = || Arc::new(Shelf { free: Mutex::default(), common: Arc::clone(&common) });
        let shelves = (0..workers.min(MOST_SHELVES)).map(|_| shelf()).collect();
        BufferPool { shelves, common }
    }

    /// The shelf of this thread.
    fn own(&self) -> &Arc<Shelf> {
        &self.shelves[thread_number() % self.shelves.len()]
    }

    /// A buffer, or a place in the line, kept in `ticket`.
    #[inline]
    pub(crate) fn poll_take(
        &self,
        ticket: &mut Option<Ticket>,
        cx: &mut Poller<'_>,
    ) -> Poll<Buffer> {
        let own = self.own();
        let free = own.pop().or_else(|| self.find(own));
        let Some(mut chunk) = free.or_else(|| self.stand_in_line(ticket, cx.waker())) else {
            return Poll::Pending;
        };
        if let Some(mut ticket) = ticket.take() {
            self.common.leave_line(ticket.number);
            ticket.number = SERVED;
        }
        chunk.home = Some(Arc::clone(own));
        Poll::Ready(Buffer(Some(chunk)))
    }

    /// A buffer of another shelf, or a new one.
    #[cold]
    fn find(&self, own: &Arc<Shelf>) -> Option<Box<Chunk>> {
        self.others(own).find_map(|shelf| shelf.pop()).or_else(|| self.common.make())
    }

    fn others<'p>(&'p self, own: &'p Arc<Shelf>) -> impl Iterator<Item = &'p Arc<Shelf>> {
        self.shelves.iter().filter(move |shelf| !Arc::ptr_eq(shelf, own))
    }

    /// Stands in line, or stays there; and looks once more, since a buffer may have come back
    /// meanwhile.
    #[cold]
    fn stand_in_line(&self, ticket: &mut Option<Ticket>, waker: &Waker) -> Option<Box<Chunk>> {
        let number = self.common.join_line(ticket.as_ref().map(|ticket| ticket.number), waker);
        if ticket.is_none() {
            *ticket = Some(Ticket { number, common: Arc::clone(&self.common) });
        }
        self.shelves.iter().find_map(|shelf| shelf.pop())
    }

    /// Whether somebody waits for a buffer.
    pub(crate) fn is_short(&self) -> bool {
        self.common.waiting.load(Ordering::Relaxed) > 0
    }

    /// Frees the buffers that were not needed since the last call.
    pub(crate) fn trim(&self) {
        let freed: usize = self.shelves.iter().map(|shelf| shelf.trim()).sum();
        if freed > 0 {
            self.common.made.fetch_sub(freed, Ordering::Relaxed);
            if let Some(account) = self.common.account.get() {
                account.sub_bytes((freed * self.common.size) as u64);
            }
        }
    }
}

/// Numbers the threads that take buffers.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(next));
            next
        })
    })
}

impl Shelf {
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn pop(&self) -> Option<Box<Chunk>> {
        let mut free = self.free();
        let chunk = free.chunks.pop();
        free.fewest = free.fewest.min(free.chunks.len());
        chunk
    }

    #[inline]
    fn push(&self, chunk: Box<Chunk>) {
        self.free().chunks.push(chunk);
        if self.common.waiting.load(Ordering::SeqCst) > 0 {
            self.common.wake_first();
        }
    }

    /// Frees what was not needed since the last call; how many there were.
    fn trim(&self) -> usize {
        let mut free = self.free();
        let keep = free.chunks.len() - free.fewest.min(free.chunks.len());
        let freed = free.chunks.split_off(keep);
        if free.chunks.is_empty() {
            free.chunks = Vec::new();
        }
        free.fewest = free.chunks.len();
        drop(free);
        freed.len()
    }
}

impl Common {
    /// A new buffer, if there may be one more.
    fn make(&self) -> Option<Box<Chunk>> {
        let one_more = |made| (made < self.most).then_some(made + 1);
        self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let why = Obligation::Perpetual("the buffers of a listener or dialer");
        let open = || Ledger::current().open_at(self.born_at, Kind::BUFFER, why, None);
        self.account.get_or_init(open).add_bytes(self.size as u64);
        Some(Box::new(Chunk { window: Window::new(vec![0; self.size].into()), home: None }))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the line, or stays in it with another waker; the number of the ticket.
    fn join_line(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let mut line = self.line();
        if let Some((number, known)) =
            line.waiting.iter_mut().find(|(known, _)| Some(*known) == number)
        {
            known.clone_from(waker);
            return *number;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if let Some(number) = number {
            // Woken, but somebody was quicker: to the front, the turn was ours.
            line.waiting.push_front((number, waker.clone()));
            return number;
        }
        line.next_ticket += 1;
        let number = line.next_ticket;
        line.waiting.push_back((number, waker.clone()));
        number
    }

    /// Whether it was still in line.
    fn leave_line(&self, ticket: u64) -> bool {
        let mut line = self.line();
        let before = line.waiting.len();
        line.waiting.retain(|(number, _)| *number != ticket);
        let was_there = line.waiting.len() < before;
        self.waiting.fetch_sub(usize::from(was_there), Ordering::SeqCst);
        was_there
    }

    #[cold]
    fn wake_first(&self) {
        let first = {
            let mut line = self.line();
            let first = line.waiting.pop_front();
            self.waiting.fetch_sub(usize::from(first.is_some()), Ordering::SeqCst);
            first
        };
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }
}

/// The number of a ticket that is no longer in line.
const SERVED: u64 = 0;

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.number != SERVED && !self.common.leave_line(self.number) {
            self.common.wake_first(); // it had the turn
        }
    }
}

const HAS_CHUNK: &str = "a buffer has its chunk until it is dropped";

impl Deref for Buffer {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.0.as_ref().expect(HAS_CHUNK).window
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Window {
        &mut self.0.as_mut().expect(HAS_CHUNK).window
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(mut chunk) = self.0.take() else { return };
        chunk.window.clear();
        if let Some(home) = chunk.home.take() {
            home.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
