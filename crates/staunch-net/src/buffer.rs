//! The buffers of a listener: taken when bytes arrive, given back when they are used up.
//!
//! All buffers have one size and are at most so many. Who finds none waits in line; a buffer
//! given back wakes the first. What was not needed for a while is given to the allocator
//! ([`BufferPool::trim`]), so a burst leaves nothing behind.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context as Poller, Poll, Waker},
};

use staunch_ledger::{Account, Kind, Ledger, Obligation};

use crate::window::Window;

/// A bounded pool of equal buffers; see the [module](self).
#[derive(Debug)]
pub(crate) struct BufferPool {
    size: usize,
    most: usize,
    born_at: &'static Location<'static>,
    /// Opened with the first buffer.
    account: OnceLock<Account>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    #[expect(clippy::vec_box, reason = "a buffer is one word, and moves without its memory")]
    free: Vec<Box<Chunk>>,
    /// Free and taken together.
    made: usize,
    /// The fewest free since the last trim: those were not needed.
    fewest_free: usize,
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

/// A buffer; goes back to its pool when dropped. One word: every task that reads has room for
/// it, while it waits too.
#[derive(Debug)]
pub(crate) struct Buffer(Option<Box<Chunk>>);

/// The memory of a buffer.
#[derive(Debug)]
struct Chunk {
    window: Window,
    /// Where it belongs while it is taken. `None` in the pool, which would own itself else.
    pool: Option<Arc<BufferPool>>,
}

/// A place in the line for a buffer; leaving it while it is one's turn passes the turn on.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    /// A pool of buffers of `size` bytes, `total` bytes in all, but at least one buffer.
    #[track_caller]
    pub(crate) fn new(size: usize, total: usize) -> BufferPool {
        BufferPool {
            born_at: Location::caller(),
            size,
            most: (total / size.max(1)).max(1),
            account: OnceLock::new(),
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self) -> &Account {
        let why = Obligation::Perpetual("the buffers of a listener or dialer");
        let open = || Ledger::current().open_at(self.born_at, Kind::BUFFER, why, None);
        self.account.get_or_init(open)
    }

    /// A buffer, or a place in the line, kept in `ticket`.
    pub(crate) fn poll_take(
        self: &Arc<Self>,
        ticket: &mut Option<Ticket>,
        cx: &mut Poller<'_>,
    ) -> Poll<Buffer> {
        let mut inner = self.lock();
        let free = inner.free.pop();
        if free.is_none() && inner.made == self.most {
            inner.stand_in_line(self, ticket, cx.waker());
            return Poll::Pending;
        }
        inner.taken(free.is_none());
        if let Some(ticket) = ticket {
            inner.leave_line(ticket.number);
            ticket.number = SERVED;
        }
        drop(inner);
        *ticket = None;
        let mut chunk = free.unwrap_or_else(|| {
            self.account().add_bytes(self.size as u64);
            Box::new(Chunk { window: Window::new(vec![0; self.size].into()), pool: None })
        });
        chunk.pool = Some(Arc::clone(self));
        Poll::Ready(Buffer(Some(chunk)))
    }

    fn give_back(&self, chunk: Box<Chunk>) {
        let mut inner = self.lock();
        inner.free.push(chunk);
        let first = inner.waiting.pop_front();
        drop(inner);
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    /// Whether somebody waits for a buffer.
    pub(crate) fn is_short(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Frees the buffers that were not needed since the last call.
    pub(crate) fn trim(&self) {
        let mut inner = self.lock();
        let unneeded = inner.fewest_free.min(inner.free.len());
        let keep = inner.free.len() - unneeded;
        let freed = inner.free.split_off(keep);
        inner.made -= freed.len();
        if inner.free.is_empty() {
            inner.free = Vec::new();
        }
        inner.fewest_free = inner.free.len();
        drop(inner);
        if !freed.is_empty() {
            self.account().sub_bytes((freed.len() * self.size) as u64);
        }
    }
}

/// The number of a ticket that is no longer in line.
const SERVED: u64 = 0;

impl Inner {
    /// A buffer was taken, or is about to be made.
    fn taken(&mut self, new: bool) {
        self.fewest_free = self.fewest_free.min(self.free.len());
        self.made += usize::from(new);
    }

    /// Whether it was still in line.
    fn leave_line(&mut self, ticket: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(number, _)| *number != ticket);
        self.waiting.len() < before
    }

    fn stand_in_line(
        &mut self,
        pool: &Arc<BufferPool>,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
    ) {
        let number = ticket.as_ref().map(|ticket| ticket.number);
        if let Some((_, known)) = self.waiting.iter_mut().find(|(known, _)| Some(*known) == number)
        {
            known.clone_from(waker);
            return;
        }
        if let Some(number) = number {
            // Woken, but somebody was quicker: to the front, the turn was ours.
            self.waiting.push_front((number, waker.clone()));
        } else {
            self.next_ticket += 1;
            self.waiting.push_back((self.next_ticket, waker.clone()));
            *ticket = Some(Ticket { number: self.next_ticket, pool: Arc::clone(pool) });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.number == SERVED {
            return;
        }
        let mut inner = self.pool.lock();
        let had_the_turn = !inner.leave_line(self.number);
        let next = if had_the_turn { inner.waiting.pop_front() } else { None };
        drop(inner);
        if let Some((_, waker)) = next {
            waker.wake();
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
        if let Some(pool) = chunk.pool.take() {
            pool.give_back(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
