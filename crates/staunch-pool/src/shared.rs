//! What every handle, lease and task of a pool shares: where connections come from and go to.
//!
//! Three guards carry what is neither idle nor leased, so that no early return, cancellation or
//! panic loses any of it: [`Waiting`] a turn in the line, [`Place`] the right to make a
//! connection, [`Floating`] a connection that is being checked. Dropping one gives it back.
//!
//! Everything that may take time (resets, goodbyes) is work for the pool's keeper
//! ([`keeper`](crate::keeper)); nothing is spawned from a drop.

use std::{
    collections::HashMap,
    future::poll_fn,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context as Poller, Poll, Waker},
    time::Duration,
};

use staunch_ledger::{EntryId, Kind, Ledger, Obligation, Stamp, State};
use staunch_scope::Wait;
use tokio::{sync::Notify, time::Instant};

use crate::{
    circuit::{Circuit, Refusal},
    core::{Ask, Core, Given, Grant},
    error::{AcquireError, Exhausted},
    manager::{Condition, Manager},
    options::PoolOptions,
    record::Record,
    status::{Counters, Destroyed, Holder, PoolStatus},
};

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) options: PoolOptions,
    pub(crate) ledger: Ledger,
    /// What a lease promises to be used within.
    pub(crate) patience: Duration,
    pub(crate) circuit: Mutex<Circuit>,
    pub(crate) counters: Counters,
    /// There is work for the keeper.
    pub(crate) work: Notify,
    /// The scope of the keeper.
    scope: EntryId,
    desk: Mutex<Desk<M>>,
    records: Mutex<Records<M>>,
    /// `None` once the keeper is gone.
    tasks: Mutex<Option<Vec<Work<M>>>>,
}

/// What one lock covers: an acquire and a release take it once each.
struct Desk<M: Manager> {
    core: Core<Arc<Record<M>>>,
    acquired_at_once: u64,
}

struct Records<M: Manager> {
    live: HashMap<u64, Weak<Record<M>>>,
    next: u64,
}

/// Work for the keeper. At most as much as there are connections, and as many again that end.
pub(crate) enum Work<M: Manager> {
    /// Reset or validate what came back, and give it to the next.
    Check(Floating<M>, Condition),
    /// Say goodbye.
    Close(Box<M::Connection>),
}

type Acquired<M> = Result<Arc<Record<M>>, AcquireError<<M as Manager>::Error>>;

impl<M: Manager> Shared<M> {
    pub(crate) fn new(manager: M, options: PoolOptions, ledger: Ledger, scope: EntryId) -> Self {
        let PoolOptions { max_total, max_idle, max_waiters, order, .. } = options;
        let core = Core::new(max_total, max_idle, max_waiters, order);
        Shared {
            manager,
            ledger,
            scope,
            patience: options.abandoned_timeout,
            circuit: Mutex::new(Circuit::new(options.backoff, options.backoff_max)),
            counters: Counters::default(),
            work: Notify::new(),
            desk: Mutex::new(Desk { core, acquired_at_once: 0 }),
            records: Mutex::new(Records { live: HashMap::new(), next: 0 }),
            tasks: Mutex::new(Some(Vec::new())),
            options,
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk<M>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut desk = self.desk();
        let record = desk.core.take_idle()?;
        desk.acquired_at_once += 1;
        Some(record)
    }

    /// A connection to lease, waiting for one, or making one, since `begun`. What is larger than
    /// a wait is in memory of its own.
    pub(crate) async fn acquire(self: &Arc<Self>, begun: Instant) -> Acquired<M> {
        let deadline = begun + self.options.acquire_timeout;
        loop {
            match self.grant(begun, deadline).await? {
                Grant::Idle(record) if !self.options.test_on_borrow => return Ok(record),
                Grant::Idle(record) => {
                    if let Some(record) = Box::pin(self.ready(record)).await {
                        return Ok(record);
                    }
                }
                Grant::Place => return Box::pin(self.create(Place::new(self), deadline)).await,
            }
        }
    }

    /// A connection or a place, in one's turn.
    async fn grant(
        &self,
        begun: Instant,
        deadline: Instant,
    ) -> Result<Grant<Arc<Record<M>>>, AcquireError<M::Error>> {
        let pool = self.options.name;
        let mut waiting = Waiting { shared: self, ticket: None };
        let mut wait = Wait::new();
        let asked = poll_fn(|cx| wait.poll(cx, State::Lease, |cx| waiting.poll(deadline, cx)));
        match asked.await? {
            Ask::Granted(grant) => Ok(grant),
            Ask::Full => {
                Err(AcquireError::TooManyWaiters { pool, limit: self.options.max_waiters })
            }
            Ask::TimedOut => Err(AcquireError::Exhausted(self.exhausted(begun.elapsed()))),
            Ask::Closed => Err(AcquireError::Closed { pool }),
        }
    }

    /// Wakes those who have waited for too long. Whether there is a line to look at again.
    pub(crate) fn expire(&self) -> bool {
        let expired = self.desk().core.expire(Instant::now());
        let is_line = expired.is_some();
        expired.into_iter().flatten().for_each(Waker::wake);
        is_line
    }

    /// An idle connection that answers; `None` when it had to be ended.
    async fn ready(&self, record: Arc<Record<M>>) -> Option<Arc<Record<M>>> {
        Floating::new(record).checked(Condition::Clean, true).await
    }

    /// Makes a connection in a place.
    pub(crate) async fn create(
        self: &Arc<Self>,
        place: Place<'_, M>,
        deadline: Instant,
    ) -> Acquired<M> {
        let pool = self.options.name;
        let attempt = Attempt::begin(self).map_err(|refusal| AcquireError::Down {
            pool,
            retry_in: refusal.retry_in,
            last: refusal.last,
        })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = self.options.connect_timeout.min(left);
        let connected = tokio::time::timeout(limit, self.manager.connect()).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => {
                attempt.failed(source.to_string());
                return Err(AcquireError::Connect { pool, source });
            }
            Err(_) => {
                attempt.failed(format!("no connection within {limit:?}"));
                return Err(AcquireError::ConnectTimedOut { pool, limit });
            }
        };
        attempt.succeeded();
        let floating = Floating::new(self.record(connection, place));
        if !self.options.test_on_create {
            return Ok(floating.keep());
        }
        floating.checked(Condition::Clean, true).await.ok_or_else(|| {
            let (retry_in, last) = (Duration::ZERO, "a new connection did not answer".to_owned());
            AcquireError::Down { pool, retry_in, last }
        })
    }

    /// A new connection's record, which takes over the place.
    fn record(self: &Arc<Self>, connection: M::Connection, place: Place<'_, M>) -> Arc<Record<M>> {
        self.counters.created();
        let mut records = self.records();
        records.next += 1;
        let key = records.next;
        let kind = Kind::user("pooled").unwrap_or(Kind::OTHER);
        let promise = Obligation::EndsWithParent;
        let account = self.ledger.open_at(Location::caller(), kind, promise, Some(self.scope));
        account.label(self.options.name);
        let expires = self.expiry(key);
        let record = Arc::new(Record::new(self, key, connection, expires, account));
        records.live.insert(key, Arc::downgrade(&record));
        drop(records);
        place.taken();
        record
    }

    /// When the connection of this number has lived long enough: `max_lifetime`, give or take up
    /// to a tenth.
    fn expiry(&self, key: u64) -> Option<Stamp> {
        let lifetime = self.options.max_lifetime?;
        // Neighbours come to lie far apart (Fibonacci hashing).
        let share = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let tenth = lifetime / 10;
        let jitter = tenth.mul_f64(share as f64 / f64::from(u32::MAX) * 2.0);
        Some(self.ledger.now().plus(lifetime.saturating_sub(tenth).saturating_add(jitter)))
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
        let given = kept.shared.desk().core.give(record);
        match given {
            Given::Kept => {}
            Given::Handed(waker) => waker.wake(),
            Given::Surplus(record, waker) => {
                waker.into_iter().for_each(Waker::wake);
                record.shared.close_connection(&record, Destroyed::Surplus);
            }
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
        match record.connection().take() {
            Some(connection) => self.hand_to_keeper(Work::Close(connection)),
            None => record.kill(),
        }
    }

    pub(crate) fn give_place(&self) {
        let waker = self.desk().core.give_place();
        waker.into_iter().for_each(Waker::wake);
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

    fn records(&self) -> MutexGuard<'_, Records<M>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections there are, idle, leased or in between.
    pub(crate) fn live(&self) -> Vec<Arc<Record<M>>> {
        self.records().live.values().filter_map(Weak::upgrade).collect()
    }

    /// A record is gone.
    pub(crate) fn forget(&self, key: u64) {
        self.records().live.remove(&key);
    }

    /// Idle connections for which `take` says so, told how many are idle still. Their places are
    /// the caller's.
    pub(crate) fn extract(
        &self,
        mut take: impl FnMut(&Record<M>, usize) -> bool,
    ) -> Vec<Arc<Record<M>>> {
        self.desk().core.extract(|record, left| take(record, left))
    }

    /// A place for a connection made ahead of need, if there are fewer idle ones than `min_idle`.
    pub(crate) fn place_ahead(self: &Arc<Self>) -> Option<Place<'_, M>> {
        let mut desk = self.desk();
        let wanted = desk.core.idle() < self.options.min_idle && desk.core.take_place();
        drop(desk);
        wanted.then(|| Place::new(self))
    }

    /// Nobody leases any more; what is idle ends.
    pub(crate) fn close(&self) {
        let (idle, waiting) = self.desk().core.close();
        waiting.into_iter().for_each(Waker::wake);
        for record in idle {
            self.close_connection(&record, Destroyed::Closed);
        }
        self.work.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.desk().core.is_closed()
    }

    fn exhausted(&self, waited: Duration) -> Exhausted {
        let PoolOptions { name, max_total, .. } = self.options;
        Exhausted { pool: name, waited, max_total, holders: self.holders() }
    }

    /// Who has leases, those with the most first.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        for record in self.live() {
            let Some(entry) = record.lease().and_then(|lease| self.ledger.entry(lease)) else {
                continue;
            };
            let (oldest, unused_for) = (entry.age(), entry.without_progress());
            match holders.iter_mut().find(|holder| holder.born_at == entry.born_at()) {
                Some(holder) => {
                    holder.count += 1;
                    holder.oldest = holder.oldest.max(oldest);
                    holder.unused_for = holder.unused_for.max(unused_for);
                }
                None => {
                    holders.push(Holder { born_at: entry.born_at(), count: 1, oldest, unused_for });
                }
            }
        }
        holders.sort_by_key(|holder| std::cmp::Reverse((holder.count, holder.oldest)));
        holders
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let leased = self.live().iter().filter(|record| record.lease().is_some()).count();
        let desk = self.desk();
        let mut status = PoolStatus {
            name: self.options.name,
            max_total: self.options.max_total,
            size: desk.core.total(),
            idle: desk.core.idle(),
            leased,
            waiters: desk.core.waiting(),
            acquired_at_once: desk.acquired_at_once,
            acquired_within: Default::default(),
            failed: 0,
            created: 0,
            destroyed: Destroyed::ALL.map(|why| (why, 0)),
            is_down: false,
        };
        drop(desk);
        status.is_down = self.circuit().is_open();
        self.counters.fill(&mut status);
        status
    }
}

/// A turn in the line; leaving it gives back what was granted meanwhile.
struct Waiting<'s, M: Manager> {
    shared: &'s Shared<M>,
    ticket: Option<u64>,
}

impl<M: Manager> Waiting<'_, M> {
    fn poll(&mut self, deadline: Instant, cx: &mut Poller<'_>) -> Poll<Ask<Arc<Record<M>>>> {
        let mut desk = self.shared.desk();
        if let Some(ticket) = self.ticket {
            let Ok(ask) = desk.core.collect(ticket, cx.waker()) else { return Poll::Pending };
            self.ticket = None;
            return Poll::Ready(ask);
        }
        match desk.core.ask() {
            Ask::Full => {}
            ask => return Poll::Ready(ask),
        }
        let Some(ticket) = desk.core.stand_in_line(cx.waker(), deadline) else {
            return Poll::Ready(Ask::Full);
        };
        drop(desk);
        self.ticket = Some(ticket.number);
        if ticket.begins {
            self.shared.work.notify_one();
        }
        Poll::Pending
    }
}

impl<M: Manager> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let granted = self.shared.desk().core.leave_line(ticket);
        match granted {
            None => {}
            Some(Grant::Idle(record)) => Shared::give(record, self.shared.ledger.now()),
            Some(Grant::Place) => self.shared.give_place(),
        }
    }
}

/// The right to make a connection, counted already.
pub(crate) struct Place<'s, M: Manager> {
    shared: &'s Shared<M>,
    is_taken: bool,
}

impl<'s, M: Manager> Place<'s, M> {
    fn new(shared: &'s Shared<M>) -> Place<'s, M> {
        Place { shared, is_taken: false }
    }

    /// There is a connection in it.
    fn taken(mut self) {
        self.is_taken = true;
    }
}

impl<M: Manager> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if !self.is_taken {
            self.shared.give_place();
        }
    }
}

/// A connect that the circuit allowed, and must hear of.
struct Attempt<'s, M: Manager> {
    shared: &'s Shared<M>,
    is_over: bool,
}

impl<'s, M: Manager> Attempt<'s, M> {
    fn begin(shared: &'s Shared<M>) -> Result<Attempt<'s, M>, Refusal> {
        shared.circuit().ask(shared.ledger.now())?;
        Ok(Attempt { shared, is_over: false })
    }

    fn succeeded(mut self) {
        self.is_over = true;
        self.shared.circuit().succeeded();
    }

    fn failed(mut self, why: String) {
        self.is_over = true;
        tracing::warn!(pool = self.shared.options.name, "cannot connect: {why}");
        self.shared.circuit().failed(self.shared.ledger.now(), why);
    }
}

impl<M: Manager> Drop for Attempt<'_, M> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.circuit().gave_up();
        }
    }
}

/// A connection that is neither idle nor leased, such as one that is being validated. Dropped, it
/// is destroyed: nobody knows in what condition it is.
pub(crate) struct Floating<M: Manager>(Option<Arc<Record<M>>>);

const FLOATS: &str = "a floating connection has its record until it lands";

impl<M: Manager> Floating<M> {
    pub(crate) fn new(record: Arc<Record<M>>) -> Floating<M> {
        Floating(Some(record))
    }

    pub(crate) fn record(&self) -> &Arc<Record<M>> {
        self.0.as_ref().expect(FLOATS)
    }

    /// It is good.
    pub(crate) fn keep(mut self) -> Arc<Record<M>> {
        self.0.take().expect(FLOATS)
    }

    /// It is to end.
    pub(crate) fn end(mut self, why: Destroyed) {
        if let Some(record) = self.0.take() {
            record.shared.destroy(&record, why);
        }
    }

    /// Resets it if it is dirty, validates it if that is wanted; `None` when it failed.
    pub(crate) async fn checked(
        self,
        condition: Condition,
        validate: bool,
    ) -> Option<Arc<Record<M>>> {
        let record = self.record();
        let shared = Arc::clone(&record.shared);
        let Some(mut connection) = record.connection().take() else {
            self.end(Destroyed::Broken);
            return None;
        };
        let PoolOptions { reset_timeout, validation_timeout, .. } = shared.options;
        let check = async {
            if condition == Condition::Dirty {
                let reset = shared.manager.reset(&mut connection);
                tokio::time::timeout(reset_timeout, reset).await.ok()?.ok()?;
            }
            if validate {
                let validate = shared.manager.validate(&mut connection);
                tokio::time::timeout(validation_timeout, validate).await.ok()?.ok()?;
            }
            Some(())
        };
        let good = check.await;
        *self.record().connection() = Some(connection);
        self.record().set_clean();
        if good.is_none() {
            self.end(Destroyed::Invalid);
            return None;
        }
        Some(self.keep())
    }
}

impl<M: Manager> Drop for Floating<M> {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.shared.destroy(&record, Destroyed::Invalid);
        }
    }
}
