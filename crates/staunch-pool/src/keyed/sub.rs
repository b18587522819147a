//! A key's pool, who comes to it, and who waits.

use std::{
    future::{Future, poll_fn},
    ops::Deref,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use staunch_ledger::{Stamp, State};
use staunch_scope::{Cancelled, Wait};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::part::Part;
use crate::{manager::Manager, status::PoolStatus};

/// A key's pool, and who comes to it.
pub(super) struct Sub<M: Manager> {
    pub(super) part: Part<M>,
    /// To leases of this key.
    pub(super) rights: Arc<Semaphore>,
    visitors: AtomicUsize,
    pub(super) waiters: AtomicUsize,
    /// The number of the acquire that it was used by last.
    used: AtomicU64,
    /// When that was, in milliseconds of the ledger's clock.
    used_at: AtomicU64,
}

/// One who acquires from a key. As long as there is one, the key stays. They come only while the
/// map is locked.
pub(super) struct Visitor<M: Manager>(Arc<Sub<M>>);

impl<M: Manager> Sub<M> {
    pub(super) fn new(part: Part<M>, rights: usize) -> Sub<M> {
        Sub {
            part,
            rights: Arc::new(Semaphore::new(rights)),
            visitors: AtomicUsize::new(0),
            waiters: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            used_at: AtomicU64::new(0),
        }
    }

    /// The acquire of this number comes at this time. The map is locked.
    pub(super) fn visit(self: &Arc<Self>, number: u64, now: Stamp) -> Visitor<M> {
        self.used.store(number, Ordering::Relaxed);
        self.used_at.store(now.as_millis(), Ordering::Relaxed);
        self.visitors.fetch_add(1, Ordering::Relaxed);
        Visitor(Arc::clone(self))
    }

    /// Nobody acquires from it, or has one of its `rights`. While the map is locked, it stays so.
    pub(super) fn is_unused(&self, rights: usize) -> bool {
        // In this order: who acquires has the right before it leaves.
        self.visitors.load(Ordering::Acquire) == 0 && self.rights.available_permits() == rights
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn used_at(&self) -> Stamp {
        Stamp::default().plus(Duration::from_millis(self.used_at.load(Ordering::Relaxed)))
    }

    /// Of its pool, with those who wait before it.
    pub(super) fn status(&self) -> PoolStatus {
        let mut status = self.part.status();
        status.waiters += self.waiters.load(Ordering::Relaxed);
        status
    }
}

impl<M: Manager> Deref for Visitor<M> {
    type Target = Sub<M>;

    fn deref(&self) -> &Sub<M> {
        &self.0
    }
}

impl<M: Manager> Drop for Visitor<M> {
    fn drop(&mut self) {
        self.0.visitors.fetch_sub(1, Ordering::Release);
    }
}

/// One who wants a right; counted as long as it lives.
pub(super) struct Waiter<'s> {
    count: &'s AtomicUsize,
    /// How many there are with it.
    pub(super) number: usize,
}

impl Waiter<'_> {
    pub(super) fn new(count: &AtomicUsize) -> Waiter<'_> {
        Waiter { count, number: count.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A permit, if there is one that nobody waits for.
pub(super) fn at_once(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(permits).try_acquire_owned().ok()
}

/// A permit, in one's turn; `None` when there is none until `deadline`, or ever.
///
/// # Cancel safety
/// Cancel safe: nothing is lost but the turn.
pub(super) async fn in_turn(
    permits: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<Option<OwnedSemaphorePermit>, Cancelled> {
    let mut acquired = pin!(timeout_at(deadline, Arc::clone(permits).acquire_owned()));
    let mut wait = Wait::new();
    let acquired =
        poll_fn(|cx| wait.poll(cx, State::Lease, |cx| acquired.as_mut().poll(cx))).await?;
    Ok(acquired.ok().and_then(Result::ok))
}

/// Whether the running task has been asked to stop.
pub(super) async fn check_cancelled() -> Result<(), Cancelled> {
    let mut wait = Wait::new();
    let asked = poll_fn(|cx| match wait.poll_cancelled(cx) {
        Poll::Ready(cause) => Poll::Ready(Err(cause)),
        Poll::Pending => Poll::Ready(Ok(())),
    });
    asked.await
}
