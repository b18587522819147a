//! A pooled connection, and who has it.
//!
//! The record owns the connection, idle or leased; a lease is the right to use it. So a lease that
//! is forgotten, or kept in a static, can still be revoked: the record gives the connection up,
//! and the lease finds nothing.
//!
//! **Invariant.** Whoever changes `lease` from a lease's number to 0 decides what becomes of the
//! connection: the lease, by being dropped, or the pool, by revoking it. It happens once.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use staunch_ledger::{Account, EntryId, Stamp};
use staunch_scope::current_task;

use crate::{
    manager::{Condition, Manager},
    shared::Shared,
};

pub(crate) struct Record<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
    /// Its name among the pool's records.
    pub(crate) key: u64,
    pub(crate) expires: Option<Stamp>,
    uses: AtomicU32,
    /// Milliseconds of the ledger's clock.
    idle_since: AtomicU64,
    lease: AtomicU64,
    /// Somebody has the connection itself.
    in_use: AtomicBool,
    /// The task that used it last; 0 is none of ours.
    user: AtomicU64,
    /// In which condition the connection was when it was used last.
    condition: AtomicU8,
    connection: Mutex<Option<Box<Pooled<M>>>>,
    killer: Option<Box<dyn Fn() + Send + Sync>>,
    pulse: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// A connection and its entry on the ledger: they end together, also when a lease that will never
/// be dropped still has the record.
pub(crate) struct Pooled<M: Manager> {
    pub(crate) connection: M::Connection,
    pub(crate) _account: Account,
}

impl<M: Manager> Record<M> {
    pub(crate) fn new(
        shared: &Arc<Shared<M>>,
        key: u64,
        pooled: Pooled<M>,
        expires: Option<Stamp>,
    ) -> Record<M> {
        Record {
            key,
            expires,
            uses: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            lease: AtomicU64::new(0),
            in_use: AtomicBool::new(false),
            user: AtomicU64::new(0),
            condition: AtomicU8::new(Condition::Clean as u8),
            killer: shared.manager.killer(&pooled.connection),
            pulse: shared.manager.pulse(&pooled.connection),
            connection: Mutex::new(Some(Box::new(pooled))),
            shared: Arc::clone(shared),
        }
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Option<Box<Pooled<M>>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease begins. Nobody else has the record.
    #[inline]
    pub(crate) fn begin(&self, lease: EntryId) {
        self.uses.store(self.uses().saturating_add(1), Ordering::Relaxed);
        self.lease.store(lease.number(), Ordering::Release);
    }

    /// Ends the lease, unless that was done already. Whoever gets `true` decides what becomes of
    /// the connection.
    #[inline]
    pub(crate) fn end(&self, lease: EntryId) -> bool {
        let (from, to) = (lease.number(), 0);
        self.lease.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The lease that has it now.
    pub(crate) fn lease(&self) -> Option<EntryId> {
        let number = self.lease.load(Ordering::Acquire);
        (number != 0).then(|| EntryId::from_number(number))
    }

    /// Takes the connection out, for use.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<Pooled<M>>> {
        self.in_use.store(true, Ordering::Relaxed);
        self.used_here();
        self.connection().take()
    }

    /// The running task uses it.
    #[inline]
    pub(crate) fn used_here(&self) {
        self.user.store(current_task().map_or(0, EntryId::number), Ordering::Relaxed);
    }

    /// The task of ours that used it last.
    pub(crate) fn user(&self) -> Option<EntryId> {
        let number = self.user.load(Ordering::Relaxed);
        (number != 0).then(|| EntryId::from_number(number))
    }

    /// Whether the connection is at work for whoever uses it.
    pub(crate) fn is_busy(&self) -> bool {
        self.pulse.as_ref().is_some_and(|pulse| pulse())
    }

    /// Puts the connection back after use.
    #[inline]
    pub(crate) fn put_back(&self, connection: Box<Pooled<M>>, condition: Condition) {
        self.condition.store(condition as u8, Ordering::Relaxed);
        self.in_use.store(false, Ordering::Relaxed);
        *self.connection() = Some(connection);
    }

    /// In which condition the connection is that a lease gives back.
    pub(crate) fn condition(&self) -> Condition {
        match self.condition.load(Ordering::Relaxed) {
            _ if self.in_use.load(Ordering::Relaxed) => Condition::Broken, // it was never put back
            clean if clean == Condition::Clean as u8 => Condition::Clean,
            dirty if dirty == Condition::Dirty as u8 => Condition::Dirty,
            _ => Condition::Broken,
        }
    }

    /// It is as good as new.
    pub(crate) fn set_clean(&self) {
        self.condition.store(Condition::Clean as u8, Ordering::Relaxed);
    }

    pub(crate) fn uses(&self) -> u32 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(crate) fn set_idle_since(&self, now: Stamp) {
        self.idle_since.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Since when it has been idle.
    pub(crate) fn idle_since(&self) -> Stamp {
        Stamp::default().plus(Duration::from_millis(self.idle_since.load(Ordering::Relaxed)))
    }

    /// How long it has been idle.
    pub(crate) fn idle_for(&self, now: Stamp) -> Duration {
        now.since(self.idle_since())
    }

    pub(crate) fn is_expired(&self, now: Stamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Ends the connection while somebody is using it.
    pub(crate) fn kill(&self) {
        if let Some(kill) = &self.killer {
            kill();
        }
    }
}

impl<M: Manager> Drop for Record<M> {
    fn drop(&mut self) {
        self.shared.forget(self.key);
    }
}
