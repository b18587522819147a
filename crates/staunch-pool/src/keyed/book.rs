//! Which keys there are, and what all of them together may have.

use std::{
    collections::HashMap,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicU64},
    time::Duration,
};

use staunch_ledger::{Ledger, Stamp};
use staunch_scope::{Scope, sleep_until};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    error::KeyedAcquireError,
    options::KeyedPoolOptions,
    part::{Denied, Part},
    pool::Key,
    rooms::{Leaving, MakeRoom, Rooms},
    seat::{Right, Seated},
    status::{KeyStatus, KeyedStatus},
    sub::{Sub, Visitor, Waiter, at_once, in_turn},
};
use crate::{
    error::{AcquireError, Exhausted},
    holders::{merge, observe},
    manager::Manager,
    options::PoolOptions,
    registry::{KeyReport, PoolReport, Watched},
    status::{Holder, PoolStatus},
};

type Make<K, M> = Box<dyn Fn(&K) -> M + Send + Sync>;
type Start<M> = Box<dyn Fn(M) -> Part<M> + Send + Sync>;
type Found<T, M> = Result<T, KeyedAcquireError<<M as Manager>::Error>>;

pub(super) struct Book<K: Key, M: Manager> {
    pub(super) options: KeyedPoolOptions,
    ledger: Ledger,
    /// The line that made the pool.
    born_at: &'static Location<'static>,
    /// When it was last observed that a key, or all of them, are exhausted.
    exhausted_at: AtomicU64,
    make: Make<K, M>,
    start: Start<M>,
    /// To leases of all keys together.
    rights: Arc<Semaphore>,
    most: usize,
    /// The pool is closed: for its keeper.
    is_over: Notify,
    map: Mutex<Map<K, M>>,
}

struct Map<K: Key, M: Manager> {
    subs: HashMap<K, Arc<Sub<M>>>,
    /// Acquires, ever.
    acquires: u64,
    /// What keys have done that have vanished.
    gone: PoolStatus,
    closed: bool,
}

impl<K: Key, M: Manager> Book<K, M> {
    pub(super) fn new<E: Send + 'static>(
        scope: &Scope<E>,
        born_at: &'static Location<'static>,
        make: Make<K, M>,
        options: KeyedPoolOptions,
    ) -> Arc<Book<K, M>> {
        let options = KeyedPoolOptions { per_key: options.per_key.bounded(), ..options };
        let PoolOptions { name, max_total, .. } = options.per_key;
        let all = options.max_keys.saturating_mul(max_total);
        let most = options.max_total.unwrap_or(all).min(Semaphore::MAX_PERMITS);
        let (scope, per_key) = (scope.clone(), options.per_key.clone());
        Arc::new_cyclic(|book: &Weak<Book<K, M>>| {
            let maker: Weak<dyn MakeRoom> = book.clone();
            let rooms = Arc::new(Rooms::new(most, maker));
            let start = move |manager| {
                let manager = Seated { manager, rooms: Arc::clone(&rooms) };
                Part::start(&scope, born_at, manager, per_key.clone())
            };
            let gone = PoolStatus::nothing(name, most);
            Book {
                options,
                ledger: Ledger::current(),
                born_at,
                exhausted_at: AtomicU64::new(0),
                make,
                start: Box::new(start),
                rights: Arc::new(Semaphore::new(most)),
                most,
                is_over: Notify::new(),
                map: Mutex::new(Map { subs: HashMap::new(), acquires: 0, gone, closed: false }),
            }
        })
    }

    fn map(&self) -> MutexGuard<'_, Map<K, M>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> &'static str {
        self.options.per_key.name
    }

    /// The key's pool, which is made if need be.
    pub(super) fn visit(&self, key: &K) -> Found<Visitor<M>, M> {
        if let Some(visitor) = self.known(&mut self.map(), key)? {
            return Ok(visitor);
        }
        let manager = (self.make)(key); // without the lock: it may take its time
        let mut map = self.map();
        if let Some(visitor) = self.known(&mut map, key)? {
            return Ok(visitor);
        }
        let gave_way = self.make_place(&mut map)?;
        let sub = Sub::new((self.start)(manager), self.options.per_key.max_total);
        map.subs.insert(key.clone(), Arc::new(sub));
        let visitor = self.known(&mut map, key);
        drop(map);
        drop(gave_way);
        visitor?.ok_or(AcquireError::Closed { pool: self.name() }.into())
    }

    /// The key's pool, if there is one; an error when there never will be.
    fn known(&self, map: &mut Map<K, M>, key: &K) -> Found<Option<Visitor<M>>, M> {
        if map.closed {
            return Err(AcquireError::Closed { pool: self.name() }.into());
        }
        map.acquires += 1;
        Ok(map.subs.get(key).map(|sub| sub.visit(map.acquires, self.ledger.now())))
    }

    /// A place for one more key: that of the one used longest ago, if there is no other and
    /// nobody has a lease of it.
    fn make_place(&self, map: &mut Map<K, M>) -> Found<Option<Arc<Sub<M>>>, M> {
        let limit = self.options.max_keys;
        if map.subs.len() < limit {
            return Ok(None);
        }
        let unused = map.subs.iter().filter(|(_, sub)| self.is_unused(sub));
        let oldest = unused.min_by_key(|(_, sub)| sub.used()).map(|(key, _)| key.clone());
        match oldest.and_then(|key| map.remove(&key)) {
            Some(sub) => Ok(Some(sub)),
            None => Err(KeyedAcquireError::TooManyKeys { pool: self.name(), limit }),
        }
    }

    /// Nobody has a lease of it or acquires from it. While the map is locked, it stays so.
    fn is_unused(&self, sub: &Sub<M>) -> bool {
        sub.is_unused(self.options.per_key.max_total)
    }

    /// Unused, and without a connection. One whose server is down is remembered until it may be
    /// tried again, or every acquire would try.
    fn is_empty(&self, sub: &Sub<M>, now: Stamp) -> bool {
        if !self.is_unused(sub) {
            return false;
        }
        let is_awaited =
            sub.part.has_failed() && now.since(sub.used_at()) < self.options.per_key.backoff_max;
        sub.part.status().size == 0 && !is_awaited
    }

    pub(super) fn remove_empty(&self) -> usize {
        let now = self.ledger.now();
        let mut map = self.map();
        let empty = map.subs.iter().filter(|(_, sub)| self.is_empty(sub, now));
        let empty: Vec<K> = empty.map(|(key, _)| key.clone()).collect();
        let removed: Vec<_> = empty.iter().filter_map(|key| map.remove(key)).collect();
        drop(map);
        removed.len()
    }

    /// The right to a lease of this key, in one's turn: first among those who want this key, so
    /// that they hold nothing that others wait for.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    pub(super) async fn right(&self, sub: &Sub<M>, begun: Instant) -> Found<Right, M> {
        if let Some(of_key) = at_once(&sub.rights)
            && let Some(of_all) = at_once(&self.rights)
        {
            return Ok(Right { _of_key: of_key, _of_all: of_all });
        }
        let PoolOptions { max_total, acquire_timeout, .. } = self.options.per_key;
        let deadline = begun + acquire_timeout;
        let _waiter = self.stand_in_line(sub)?;
        let Some(of_key) = in_turn(&sub.rights, deadline).await? else {
            let exhausted = self.exhausted(begun, max_total, sub.part.holders())?;
            return Err(AcquireError::Exhausted(exhausted).into());
        };
        let Some(of_all) = in_turn(&self.rights, deadline).await? else {
            let exhausted = self.exhausted(begun, self.most, self.holders())?;
            return Err(KeyedAcquireError::AllExhausted(exhausted));
        };
        Ok(Right { _of_key: of_key, _of_all: of_all })
    }

    /// Why there is no lease of a key, in words of all of them.
    pub(super) fn denied(
        &self,
        denied: Denied<M::Error>,
        begun: Instant,
    ) -> KeyedAcquireError<M::Error> {
        match denied {
            Denied::Key(error) => error.into(),
            Denied::NoRoom => match self.exhausted(begun, self.most, self.holders()) {
                Ok(exhausted) => KeyedAcquireError::AllExhausted(exhausted),
                Err(closed) => closed.into(),
            },
        }
    }

    /// What there is to say of it, on the ledger too now and then, unless the pool is closed.
    fn exhausted(
        &self,
        begun: Instant,
        max_total: usize,
        holders: Vec<Holder>,
    ) -> Result<Exhausted, AcquireError<M::Error>> {
        let pool = self.name();
        if self.map().closed {
            return Err(AcquireError::Closed { pool });
        }
        let exhausted = Exhausted { pool, waited: begun.elapsed(), max_total, holders };
        let pause = self.options.per_key.maintenance_interval;
        observe(&exhausted, self.ledger, &self.exhausted_at, pause, self.born_at);
        Ok(exhausted)
    }

    fn stand_in_line<'s>(&self, sub: &'s Sub<M>) -> Result<Waiter<'s>, AcquireError<M::Error>> {
        let PoolOptions { name: pool, max_waiters: limit, .. } = self.options.per_key;
        let waiter = Waiter::new(&sub.waiters);
        if waiter.number > limit {
            return Err(AcquireError::TooManyWaiters { pool, limit });
        }
        Ok(waiter)
    }

    /// Every key's pool, the one that was used longest ago first.
    pub(super) fn by_age(&self) -> Vec<Arc<Sub<M>>> {
        let mut subs: Vec<_> = self.map().subs.values().cloned().collect();
        subs.sort_by_key(|sub| sub.used());
        subs
    }

    /// Nobody leases any more; what is idle ends.
    pub(super) fn close(&self) {
        let mut map = self.map();
        map.closed = true;
        let keys: Vec<K> = map.subs.keys().cloned().collect();
        let removed: Vec<_> = keys.iter().filter_map(|key| map.remove(key)).collect();
        drop(map);
        drop(removed);
        self.rights.close();
        self.is_over.notify_one();
    }

    fn keys(&self) -> Vec<(String, Arc<Sub<M>>)> {
        let map = self.map();
        map.subs.iter().map(|(key, sub)| (key.to_string(), Arc::clone(sub))).collect()
    }

    fn sum<'s>(&self, keys: impl Iterator<Item = &'s PoolStatus>) -> PoolStatus {
        let mut sum = self.map().gone.clone();
        keys.for_each(|status| sum.add(status));
        sum
    }

    pub(super) fn status(&self) -> KeyedStatus {
        let status = |(key, sub): (_, Arc<Sub<M>>)| KeyStatus { key, status: sub.status() };
        let mut keys: Vec<KeyStatus> = self.keys().into_iter().map(status).collect();
        keys.sort_by(|one, other| one.key.cmp(&other.key));
        let sum = self.sum(keys.iter().map(|it| &it.status));
        KeyedStatus { name: self.name(), max_keys: self.options.max_keys, keys, sum }
    }

    pub(super) fn holders(&self) -> Vec<Holder> {
        merge(self.by_age().iter().flat_map(|sub| sub.part.holders()))
    }
}

/// Removes empty keys now and then, until the pool is closed or the task is asked to stop; then
/// closes it.
pub(super) async fn keep<K: Key, M: Manager>(book: Arc<Book<K, M>>) {
    const FINEST: Duration = Duration::from_millis(1);
    let _closes = Closes(&book);
    let rest = book.options.per_key.maintenance_interval.max(FINEST);
    loop {
        let goes_on = tokio::select! {
            biased;
            () = book.is_over.notified() => false,
            slept = sleep_until(Instant::now() + rest) => slept.is_ok(),
        };
        if !goes_on {
            return;
        }
        book.remove_empty();
    }
}

struct Closes<'b, K: Key, M: Manager>(&'b Book<K, M>);

impl<K: Key, M: Manager> Drop for Closes<'_, K, M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<K: Key, M: Manager> Map<K, M> {
    /// Removes a key. Its pool is closed now; what it has done stays counted.
    fn remove(&mut self, key: &K) -> Option<Arc<Sub<M>>> {
        let sub = self.subs.remove(key)?;
        sub.part.close();
        sub.rights.close();
        self.gone.add_done(&sub.part.status());
        Some(sub)
    }
}

impl<K: Key, M: Manager> MakeRoom for Book<K, M> {
    fn make_room(&self, leaving: Leaving) {
        let mut leaving = Some(leaving);
        self.by_age().iter().any(|sub| sub.part.end_an_idle_one(&mut leaving));
    }
}

impl<K: Key, M: Manager> Watched for Book<K, M> {
    fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn report(&self) -> PoolReport {
        let report = |(key, sub): (_, Arc<Sub<M>>)| {
            let (status, holders) = (sub.status(), sub.part.holders());
            KeyReport { key, status, holders }
        };
        let mut keys: Vec<KeyReport> = self.keys().into_iter().map(report).collect();
        keys.sort_by(|one, other| one.key.cmp(&other.key));
        let status = self.sum(keys.iter().map(|it| &it.status));
        let holders = merge(keys.iter().flat_map(|it| it.holders.iter().cloned()));
        PoolReport { status, holders, keys }
    }
}
