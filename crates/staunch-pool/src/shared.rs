//! What every handle, lease and task of a pool shares: where connections come from and go to.
//!
//! What is idle, and who waits, is in the [`Stock`]. Three guards carry what is neither idle nor
//! leased, so that no early return, cancellation or panic loses any of it:
//! [`Waiting`](crate::waiting) a turn in the line, [`Place`] the right to make a connection,
//! [`Floating`] a connection that is being checked. Dropping one gives it back.
//!
//! Everything that may take time (resets, goodbyes) is work for the pool's keeper
//! ([`keeper`](crate::keeper)); nothing is spawned from a drop.

use std::{
    collections::HashMap,
    future::poll_fn,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64},
    },
    task::Waker,
    time::Duration,
};

use staunch_ledger::{EntryId, Ledger, Seldom, Stamp, State};
use staunch_scope::Wait;
use staunch_stock::{Given, Grant, Limits, Settled, Stock};
use tokio::{sync::Notify, time::Instant};

use crate::{
    circuit::{Circuit, Refusal},
    connecting::Place,
    error::AcquireError,
    floating::Floating,
    manager::{Condition, Manager},
    options::PoolOptions,
    record::{Pooled, Record},
    status::{Counters, Destroyed, PoolStatus},
    waiting::{Refused, Waiting},
};

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) options: PoolOptions,
    pub(crate) ledger: Ledger,
    /// What a lease promises to be used within.
    pub(crate) patience: Duration,
    pub(crate) circuit: Mutex<Circuit>,
    pub(crate) counters: Counters,
    /// A connect has failed.
    pub(crate) unconnected: Seldom,
    /// When it was last observed that the pool is exhausted: milliseconds of the ledger's clock.
    pub(crate) exhausted_at: AtomicU64,
    /// Somebody makes connections ahead of need.
    pub(crate) is_filling: AtomicBool,
    /// There is work for the keeper.
    pub(crate) work: Notify,
    /// The scope of the keeper, and the line that made the pool.
    pub(crate) scope: EntryId,
    pub(crate) born_at: &'static Location<'static>,
    pub(crate) stock: Stock<Arc<Record<M>>, Instant>,
    records: Mutex<Records<M>>,
    /// `None` once the keeper is gone.
    tasks: Mutex<Option<Vec<Work<M>>>>,
}

/// The connections there are, wherever they are.
pub(crate) struct Records<M: Manager> {
    pub(crate) live: HashMap<u64, Weak<Record<M>>>,
    pub(crate) next: u64,
}

/// Work for the keeper. At most as much as there are connections, and as many again that end.
pub(crate) enum Work<M: Manager> {
    /// Reset or validate what came back, and give it to the next.
    Check(Floating<M>, Condition),
    /// Say goodbye.
    Close(Box<Pooled<M>>),
}

/// What an acquire has come to.
pub(crate) enum Claim<'s, M: Manager> {
    Ready(Arc<Record<M>>),
    /// For a new connection.
    Place(Place<'s, M>),
}

pub(crate) type Acquired<M> = Result<Arc<Record<M>>, AcquireError<<M as Manager>::Error>>;

impl<M: Manager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        options: PoolOptions,
        scope: EntryId,
        born_at: &'static Location<'static>,
    ) -> Self {
        let options = options.bounded();
        let limits = Limits {
            most: options.max_total,
            most_idle: options.max_idle,
            most_waiting: options.max_waiters,
            order: options.order,
        };
        Shared {
            manager,
            ledger: Ledger::current(),
            scope,
            born_at,
            patience: options.abandoned_timeout,
            circuit: Mutex::new(Circuit::new(options.backoff, options.backoff_max)),
            counters: Counters::default(),
            unconnected: Seldom::default(),
            exhausted_at: AtomicU64::new(0),
            is_filling: AtomicBool::new(false),
            work: Notify::new(),
            stock: Stock::new(limits),
            records: Mutex::new(Records { live: HashMap::new(), next: 0 }),
            tasks: Mutex::new(Some(Vec::new())),
            options,
        }
    }

    pub(crate) fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that needs no check, if there is one.
    #[inline]
    pub(crate) fn take_at_once(&self) -> Option<Arc<Record<M>>> {
        if self.options.test_on_borrow {
            return None;
        }
        self.stock.take()
    }

    /// A connection to lease, waiting for one, or making one, since `begun`. What is larger than
    /// a wait is in memory of its own.
    pub(crate) async fn acquire(self: &Arc<Self>, begun: Instant) -> Acquired<M> {
        match self.claim(begun).await? {
            Claim::Ready(record) => Ok(record),
            Claim::Place(place) => Box::pin(self.create(place, begun)).await,
        }
    }

    /// A connection to lease, or a place to make one in, waiting for it since `begun`.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        begun: Instant,
    ) -> Result<Claim<'_, M>, AcquireError<M::Error>> {
        let deadline = begun + self.options.acquire_timeout;
        Ok(match self.grant(begun, deadline).await? {
            Grant::Idle(record) if !self.options.test_on_borrow => Claim::Ready(record),
            Grant::Idle(record) => {
                let checking = Floating::new(record).check(Condition::Clean, true);
                match Box::pin(checking).await? {
                    Ok(good) => Claim::Ready(good.keep()),
                    // The turn is not lost.
                    Err(bad) => Claim::Place(bad.replace(self, Destroyed::Invalid)),
                }
            }
            Grant::Place => Claim::Place(Place::new(self)),
        })
    }

    /// A connection or a place, in one's turn.
    async fn grant(
        &self,
        begun: Instant,
        deadline: Instant,
    ) -> Result<Grant<Arc<Record<M>>>, AcquireError<M::Error>> {
        let pool = self.options.name;
        let mut waiting = Waiting::new(self);
        let mut wait = Wait::new();
        let asked = poll_fn(|cx| wait.poll(cx, State::Lease, |cx| waiting.poll(deadline, cx)));
        asked.await?.map_err(|refused| match refused {
            Refused::Full => AcquireError::TooManyWaiters { pool, limit: self.options.max_waiters },
            Refused::TimedOut => self.timed_out(begun.elapsed()),
            Refused::Closed => AcquireError::Closed { pool },
        })
    }

    /// The error of who has waited for so long in vain: the pool has all it may have, or the server
    /// refuses more.
    fn timed_out(&self, waited: Duration) -> AcquireError<M::Error> {
        let pool = self.options.name;
        let circuit = self.circuit();
        if circuit.is_open() {
            let Refusal { retry_in, last } = circuit.refusal(self.ledger.now());
            return AcquireError::Down { pool, retry_in, last };
        }
        drop(circuit);
        AcquireError::Exhausted(self.exhausted(waited))
    }

    /// Wakes those who have waited for too long. Whether there is a line to look at again.
    pub(crate) fn expire(&self) -> bool {
        let expired = self.stock.expire(&Instant::now());
        let is_line = expired.is_some();
        expired.into_iter().flatten().for_each(Waker::wake);
        is_line
    }

    /// A lease is over, which was used last at `used`: its connection goes back, or ends.
    #[inline]
    pub(crate) fn give_back(record: Arc<Record<M>>, used: Stamp) {
        let shared = &record.shared;
        let worn = shared.options.max_uses.is_some_and(|most| record.uses() >= most);
        match record.condition() {
            Condition::Broken => shared.destroy(&record, Destroyed::Broken),
            _ if worn || record.is_expired(used) => shared.destroy(&record, Destroyed::Expired),
            Condition::Clean if !shared.options.test_on_return => Shared::give(record, used),
            condition => Shared::have_checked(record, condition),
        }
    }

    #[cold]
    fn have_checked(record: Arc<Record<M>>, condition: Condition) {
        let shared = Arc::clone(&record.shared);
        shared.hand_to_keeper(Work::Check(Floating::new(record), condition));
    }

    /// Gives a good connection to the next in line, or keeps it; it was used last at `used`.
    #[inline]
    pub(crate) fn give(record: Arc<Record<M>>, used: Stamp) {
        record.set_idle_since(used);
        // Of the record, whose count nobody else touches now; the pool's is everybody's.
        let kept = Arc::clone(&record);
        let shared = &kept.shared;
        match shared.stock.give(record) {
            Given::Kept => {}
            Given::Handed(waker) => waker.wake(),
            Given::Surplus(record) => shared.close_connection(&record, Destroyed::Surplus),
            Given::Settled(settled) => shared.see_to(settled, Destroyed::Surplus),
        }
    }

    #[cold]
    fn see_to(&self, settled: Settled<Arc<Record<M>>>, why: Destroyed) {
        settled.woken.into_iter().for_each(Waker::wake);
        for record in settled.surplus {
            self.close_connection(&record, why);
        }
    }

    /// Ends a connection that is neither idle nor leased, and frees its place.
    pub(crate) fn destroy(&self, record: &Record<M>, why: Destroyed) {
        self.close_connection(record, why);
        self.give_place();
    }

    /// Ends the connection of a record whose place is free already.
    pub(crate) fn close_connection(&self, record: &Record<M>, why: Destroyed) {
        self.counters.destroyed(why);
        let connection = record.connection().take();
        match connection {
            Some(connection) => self.hand_to_keeper(Work::Close(connection)),
            None => record.kill(),
        }
    }

    /// A place is free. While nobody may connect it is of no use to those in line, who wait on for a
    /// connection that is lent; unless none is.
    pub(crate) fn give_place(&self) {
        let is_shut = self.circuit().is_shut(self.ledger.now());
        let first = if is_shut { self.stock.keep_place_back() } else { self.stock.give_place() };
        first.into_iter().for_each(Waker::wake);
    }

    /// Places that were kept back are for those in line: all when the server answers, one when it may
    /// be tried again.
    pub(crate) fn offer_places(&self) {
        let (is_down, is_shut) = {
            let circuit = self.circuit();
            (circuit.is_open(), circuit.is_shut(self.ledger.now()))
        };
        let most = match (is_down, is_shut) {
            (_, true) => 0,
            (true, false) => 1,
            (false, false) => self.options.max_total,
        };
        std::iter::from_fn(|| self.stock.offer_place()).take(most).for_each(Waker::wake);
    }

    /// Work for the keeper. When it is gone, or has its hands full, connections are dropped
    /// without a goodbye.
    fn hand_to_keeper(&self, work: Work<M>) {
        let most = 2 * self.options.max_total;
        let mut tasks = self.tasks();
        let Some(tasks_left) = tasks.as_mut().filter(|tasks| tasks.len() < most) else {
            drop(tasks); // what the work holds goes back through here
            drop(work);
            return;
        };
        tasks_left.push(work);
        drop(tasks);
        self.work.notify_one();
    }

    /// The work there is, for the keeper.
    pub(crate) fn take_work(&self) -> Vec<Work<M>> {
        self.tasks().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The keeper is gone: nobody works any more.
    pub(crate) fn retire(&self) {
        let left = self.tasks().take();
        drop(left);
    }

    fn tasks(&self) -> MutexGuard<'_, Option<Vec<Work<M>>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, Records<M>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections there are, idle, leased or in between.
    pub(crate) fn live(&self) -> Vec<Arc<Record<M>>> {
        self.records().live.values().filter_map(Weak::upgrade).collect()
    }

    /// A record is gone.
    pub(crate) fn forget(&self, key: u64) {
        self.records().live.remove(&key);
        if self.stock.is_closed() {
            self.work.notify_one(); // it may have been the last
        }
    }

    /// It is closed, and no connection is left.
    pub(crate) fn is_over(&self) -> bool {
        self.stock.is_closed() && self.records().live.is_empty()
    }

    /// A place for a connection made ahead of need, if there are fewer idle ones than `min_idle`.
    pub(crate) fn place_ahead(self: &Arc<Self>) -> Option<Place<'_, M>> {
        self.stock.take_place_ahead(self.options.min_idle).then(|| Place::new(self))
    }

    /// Nobody leases any more; what is idle ends.
    pub(crate) fn close(&self) {
        self.see_to(self.stock.close(), Destroyed::Closed);
        self.work.notify_one();
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let leased = self.live().iter().filter(|record| record.lease().is_some()).count();
        let count = self.stock.count();
        let mut status = PoolStatus {
            name: self.options.name,
            max_total: self.options.max_total,
            size: count.total,
            idle: count.idle,
            leased,
            waiters: count.waiting,
            acquired_at_once: count.taken,
            acquired_within: Default::default(),
            failed: 0,
            created: 0,
            destroyed: Destroyed::ALL.map(|why| (why, 0)),
            abandoned: Vec::new(),
            is_down: self.circuit().is_shut(self.ledger.now()),
        };
        self.counters.fill(&mut status);
        status
    }
}
