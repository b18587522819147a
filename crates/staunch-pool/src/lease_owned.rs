//! A connection in use that owns its lease.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use crate::{error::Revoked, lease::Lease, manager::Manager};

/// A connection in use, with its lease: for what outlives the function that leased it, such as a
/// body that is still being read. Dropped, it gives back both.
#[must_use = "use it"]
pub struct OwnedInUse<M: Manager> {
    lease: Lease<M>,
    /// `None` once it is given back.
    connection: Option<Box<M::Connection>>,
}

impl<M: Manager> Lease<M> {
    /// The connection, with its lease. Counts as use, when it is taken and when it is given back.
    ///
    /// # Errors
    /// [`Revoked`] when the lease was abandoned and its connection taken away.
    pub fn into_use(self) -> Result<OwnedInUse<M>, Revoked> {
        let Some(record) = &self.record else { return Err(self.revoked()) };
        self.account.touch();
        let connection = record.take();
        if record.lease() != Some(self.account.id()) {
            return Err(self.revoked()); // and the connection, if it was still there, goes
        }
        if connection.is_none() {
            return Err(self.revoked());
        }
        Ok(OwnedInUse { lease: self, connection })
    }
}

impl<M: Manager> OwnedInUse<M> {
    /// Says that the connection is still wanted.
    pub fn touch(&self) {
        self.lease.touch();
    }
}

const GIVEN_BACK: &str = "a connection in use is there until it is dropped";

impl<M: Manager> Deref for OwnedInUse<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        self.connection.as_deref().expect(GIVEN_BACK)
    }
}

impl<M: Manager> DerefMut for OwnedInUse<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        self.connection.as_deref_mut().expect(GIVEN_BACK)
    }
}

impl<M: Manager> Drop for OwnedInUse<M> {
    fn drop(&mut self) {
        self.lease.touch();
        let Some(record) = &self.lease.record else { return };
        let Some(mut connection) = self.connection.take() else { return };
        let condition = record.shared.manager.condition(&mut connection);
        record.put_back(connection, condition);
        if record.lease() != Some(self.lease.id()) {
            // Revoked meanwhile: whoever did it found nothing to take.
            drop(record.take());
        }
    }
}

impl<M: Manager> fmt::Debug for OwnedInUse<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedInUse").field("lease", &self.lease).finish_non_exhaustive()
    }
}
