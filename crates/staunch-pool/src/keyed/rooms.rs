//! Room for the connections of all keys, and who gives way when there is none.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use staunch_ledger::State;
use staunch_scope::{Cancelled, Wait};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// Ends an idle connection of some key, if there is one; it is leaving then.
pub(super) trait MakeRoom: Send + Sync {
    fn make_room(&self, leaving: Leaving);
}

/// Room for the connections of all keys.
pub(super) struct Rooms {
    free: Arc<Semaphore>,
    maker: Weak<dyn MakeRoom>,
    /// Those who want one.
    waiting: AtomicUsize,
    leaving: Arc<AtomicUsize>,
}

/// Room for one connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    // In this order: who sees that nobody is leaving finds the room.
    _permit: OwnedSemaphorePermit,
    /// Once its connection has begun to end.
    leaving: Option<Leaving>,
}

/// A connection that is about to end; counted as long as this lives.
#[derive(Debug)]
pub(super) struct Leaving(Arc<AtomicUsize>);

impl Rooms {
    pub(super) fn new(most: usize, maker: Weak<dyn MakeRoom>) -> Rooms {
        let (free, leaving) = (Arc::new(Semaphore::new(most)), Arc::default());
        Rooms { free, maker, waiting: AtomicUsize::new(0), leaving }
    }

    /// Room for one, in one's turn; `None` when there is none until `deadline`, or ever. Somebody's
    /// idle connection gives way if need be; it has room until it has said goodbye.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    pub(super) async fn take(&self, deadline: Instant) -> Result<Option<Room>, Cancelled> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Some(Room { _permit: permit, leaving: None }));
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.waiting);
        let mut taken = pin!(self.wait(deadline));
        let mut wait = Wait::new();
        poll_fn(|cx| wait.poll(cx, State::Lease, |cx| taken.as_mut().poll(cx))).await
    }

    async fn wait(&self, deadline: Instant) -> Option<Room> {
        /// None was idle perhaps, but one was on its way there.
        const AGAIN: Duration = Duration::from_millis(20);
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            let maker = self.maker.upgrade()?;
            if let Some(leaving) = self.one_more_leaves() {
                maker.make_room(leaving);
            }
            drop(maker);
            let again = deadline.min(Instant::now() + AGAIN);
            if let Ok(permit) = timeout_at(again, permit.as_mut()).await {
                return Some(Room { _permit: permit.ok()?, leaving: None });
            }
            if again == deadline {
                return None;
            }
        }
    }

    /// Somebody has to leave, unless as many do as there are who wait.
    fn one_more_leaves(&self) -> Option<Leaving> {
        let waiting = self.waiting.load(Ordering::SeqCst);
        let (set, seen) = (Ordering::SeqCst, Ordering::SeqCst);
        let one_more = |leaving| (leaving < waiting).then_some(leaving + 1);
        let counted = self.leaving.fetch_update(set, seen, one_more);
        counted.is_ok().then(|| Leaving(Arc::clone(&self.leaving)))
    }

    /// Somebody leaves, whether others wait or not.
    pub(super) fn leaves(&self) -> Leaving {
        self.leaving.fetch_add(1, Ordering::SeqCst);
        Leaving(Arc::clone(&self.leaving))
    }
}

impl Room {
    /// Its connection is about to end.
    pub(super) fn leave(&mut self, leaving: impl FnOnce() -> Leaving) {
        self.leaving.get_or_insert_with(leaving);
    }
}

struct Counted<'c>(&'c AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
