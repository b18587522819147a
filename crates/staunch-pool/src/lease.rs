//! The right to use a connection.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::Arc,
};

use staunch_ledger::{Account, EntryId, Kind, Obligation};
use staunch_scope::current_task;

use crate::{
    error::Revoked,
    manager::Manager,
    record::{Pooled, Record},
    shared::Shared,
    status::Destroyed,
};

/// A leased connection; goes back to its pool when dropped.
///
/// It is on the ledger (kind `lease`) with the line that leased it and the task that has it, and
/// promises to be used: each [`connection`](Lease::connection) counts. A lease that is not used
/// for `abandoned_timeout` is abandoned; see [`PoolOptions`](crate::PoolOptions).
#[must_use = "a lease that is dropped at once was for nothing"]
pub struct Lease<M: Manager> {
    /// `None` once it has gone back.
    record: Option<Arc<Record<M>>>,
    account: Account,
    born_at: &'static Location<'static>,
}

/// A connection in use: given back to its lease when dropped.
#[must_use = "use it"]
pub struct InUse<'l, M: Manager> {
    lease: &'l Lease<M>,
    /// `None` once it is given back.
    pooled: Option<Box<Pooled<M>>>,
}

impl<M: Manager> Lease<M> {
    #[inline]
    pub(crate) fn new(record: Arc<Record<M>>, born_at: &'static Location<'static>) -> Lease<M> {
        let shared = &record.shared;
        let promise = Obligation::ProgressWithin(shared.patience);
        let account = shared.ledger.open_at(born_at, Kind::LEASE, promise, current_task());
        record.begin(account.id());
        Lease { record: Some(record), account, born_at }
    }

    /// The connection. Counts as use, when it is taken and when it is given back.
    ///
    /// # Errors
    /// [`Revoked`] when the lease was abandoned and its connection taken away.
    #[inline]
    pub fn connection(&mut self) -> Result<InUse<'_, M>, Revoked> {
        let pooled = self.take()?;
        Ok(InUse { lease: self, pooled: Some(pooled) })
    }

    /// Takes the connection out, for use.
    #[inline]
    pub(crate) fn take(&self) -> Result<Box<Pooled<M>>, Revoked> {
        let Some(record) = &self.record else { return Err(self.revoked()) };
        self.account.touch();
        let pooled = record.take();
        if record.lease() != Some(self.account.id()) {
            return Err(self.revoked()); // and the connection, if it was still there, goes
        }
        pooled.ok_or_else(|| self.revoked())
    }

    /// Puts it back after use.
    #[inline]
    pub(crate) fn put_back(&self, mut pooled: Box<Pooled<M>>) {
        self.account.touch();
        let Some(record) = &self.record else { return };
        let condition = record.shared.manager.condition(&mut pooled.connection);
        record.put_back(pooled, condition);
        if record.lease() != Some(self.account.id()) {
            // Revoked meanwhile: whoever did it found nothing to take.
            drop(record.take());
        }
    }

    /// Says that the lease is still wanted, for holders that use the connection by other ways.
    pub fn touch(&self) {
        self.account.touch();
        if let Some(record) = &self.record {
            record.used_here();
        }
    }

    /// The running task uses the connection, whoever took it.
    #[cfg(feature = "http")]
    pub(crate) fn used_here(&self) {
        if let Some(record) = &self.record {
            record.used_here();
        }
    }

    /// Ends the connection instead of giving it back, for instance after an error that the
    /// manager cannot see.
    pub fn destroy(mut self) {
        if let Some(record) = self.record.take()
            && record.end(self.account.id())
        {
            record.shared.destroy(&record, Destroyed::Broken);
        }
    }

    /// Its entry on the ledger.
    pub fn id(&self) -> EntryId {
        self.account.id()
    }

    /// Its account, for labels.
    pub fn account(&self) -> &Account {
        &self.account
    }

    #[cold]
    fn revoked(&self) -> Revoked {
        let held_for = self.account.ledger().now().since(self.account.born());
        Revoked { born_at: self.born_at, held_for }
    }
}

impl<M: Manager> Drop for Lease<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(record) = self.record.take()
            && record.end(self.account.id())
        {
            Shared::give_back(record, self.account.progress());
        }
    }
}

impl<M: Manager> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("account", &self.account).finish_non_exhaustive()
    }
}

pub(crate) const GIVEN_BACK: &str = "a connection in use is there until it is dropped";

impl<M: Manager> Deref for InUse<'_, M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.pooled.as_ref().expect(GIVEN_BACK).connection
    }
}

impl<M: Manager> DerefMut for InUse<'_, M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.pooled.as_mut().expect(GIVEN_BACK).connection
    }
}

impl<M: Manager> Drop for InUse<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            self.lease.put_back(pooled);
        }
    }
}

impl<M: Manager> fmt::Debug for InUse<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse").field("account", &self.lease.account).finish_non_exhaustive()
    }
}
