//! The right to use a connection of a key.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use staunch_ledger::{Account, EntryId};

use super::seat::{Occupied, Right, Seated};
use crate::{
    error::Revoked,
    lease::{InUse, Lease},
    lease_owned::OwnedInUse,
    manager::Manager,
};

/// A leased connection of a [`KeyedPool`](crate::KeyedPool); goes back when dropped. It is on the
/// ledger and promises to be used as a [`Lease`] does.
#[must_use = "a lease that is dropped at once was for nothing"]
pub struct KeyedLease<M: Manager> {
    // In this order: when the next one gets the right, the connection is back already.
    lease: Lease<Seated<M>>,
    right: Option<Occupied>,
}

/// A connection in use: given back to its lease when dropped.
#[must_use = "use it"]
pub struct KeyedInUse<'l, M: Manager>(InUse<'l, Seated<M>>);

/// A connection in use, with its lease; gives back both when dropped.
#[must_use = "use it"]
pub struct KeyedOwnedInUse<M: Manager> {
    // In this order, as above.
    in_use: OwnedInUse<Seated<M>>,
    _right: Option<Occupied>,
}

impl<M: Manager> KeyedLease<M> {
    /// Puts the right where the end of the connection finds it too.
    pub(super) fn new(mut lease: Lease<Seated<M>>, right: Right) -> KeyedLease<M> {
        let id = lease.id();
        let right = lease.connection().ok().map(|in_use| in_use.occupy(id, right));
        KeyedLease { lease, right }
    }

    /// The connection. Counts as use, when it is taken and when it is given back.
    ///
    /// # Errors
    /// [`Revoked`] when the lease was abandoned and its connection taken away.
    pub fn connection(&mut self) -> Result<KeyedInUse<'_, M>, Revoked> {
        self.lease.connection().map(KeyedInUse)
    }

    /// The connection, with its lease: for what outlives the function that leased it.
    ///
    /// # Errors
    /// [`Revoked`] when the lease was abandoned and its connection taken away.
    pub fn into_use(self) -> Result<KeyedOwnedInUse<M>, Revoked> {
        let KeyedLease { lease, right } = self;
        Ok(KeyedOwnedInUse { in_use: lease.into_use()?, _right: right })
    }

    /// Says that the lease is still wanted.
    pub fn touch(&self) {
        self.lease.touch();
    }

    /// Ends the connection instead of giving it back.
    pub fn destroy(self) {
        self.lease.destroy();
    }

    /// Its entry on the ledger.
    pub fn id(&self) -> EntryId {
        self.lease.id()
    }

    /// Its account, for labels.
    pub fn account(&self) -> &Account {
        self.lease.account()
    }
}

impl<M: Manager> KeyedOwnedInUse<M> {
    /// Says that the connection is still wanted.
    pub fn touch(&self) {
        self.in_use.touch();
    }

    /// The running task uses it, whoever took it.
    #[cfg(feature = "http")]
    pub(crate) fn used_here(&self) {
        self.in_use.used_here();
    }
}

impl<M: Manager> fmt::Debug for KeyedLease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLease").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl<M: Manager> Deref for KeyedInUse<'_, M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.0.connection
    }
}

impl<M: Manager> DerefMut for KeyedInUse<'_, M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.0.connection
    }
}

impl<M: Manager> fmt::Debug for KeyedInUse<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedInUse").field(&self.0).finish()
    }
}

impl<M: Manager> Deref for KeyedOwnedInUse<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.in_use.connection
    }
}

impl<M: Manager> DerefMut for KeyedOwnedInUse<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.in_use.connection
    }
}

impl<M: Manager> fmt::Debug for KeyedOwnedInUse<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedOwnedInUse").field(&self.in_use).finish()
    }
}
