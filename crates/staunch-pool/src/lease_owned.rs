//! A connection in use that owns its lease.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use crate::{
    error::Revoked,
    lease::{GIVEN_BACK, Lease},
    manager::Manager,
    record::Pooled,
};

/// A connection in use, with its lease: for what outlives the function that leased it, such as a
/// body that is still being read. Dropped, it gives back both.
#[must_use = "use it"]
pub struct OwnedInUse<M: Manager> {
    lease: Lease<M>,
    /// `None` once it is given back.
    pooled: Option<Box<Pooled<M>>>,
}

impl<M: Manager> Lease<M> {
    /// The connection, with its lease. Counts as use, when it is taken and when it is given back.
    ///
    /// # Errors
    /// [`Revoked`] when the lease was abandoned and its connection taken away.
    pub fn into_use(self) -> Result<OwnedInUse<M>, Revoked> {
        let pooled = self.take()?;
        Ok(OwnedInUse { lease: self, pooled: Some(pooled) })
    }
}

impl<M: Manager> OwnedInUse<M> {
    /// Says that the connection is still wanted.
    pub fn touch(&self) {
        self.lease.touch();
    }

    /// The running task uses it, whoever took it.
    #[cfg(feature = "http")]
    pub(crate) fn used_here(&self) {
        self.lease.used_here();
    }
}

impl<M: Manager> Deref for OwnedInUse<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.pooled.as_ref().expect(GIVEN_BACK).connection
    }
}

impl<M: Manager> DerefMut for OwnedInUse<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.pooled.as_mut().expect(GIVEN_BACK).connection
    }
}

impl<M: Manager> Drop for OwnedInUse<M> {
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            self.lease.put_back(pooled);
        }
    }
}

impl<M: Manager> fmt::Debug for OwnedInUse<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedInUse").field("lease", &self.lease).finish_non_exhaustive()
    }
}
