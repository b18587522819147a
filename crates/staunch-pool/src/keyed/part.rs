//! The pool of one key. The only file here that knows what a pool is made of.

use std::{panic::Location, sync::Arc};

use staunch_scope::Scope;
use tokio::time::Instant;

use super::seat::Seated;
use crate::{
    error::AcquireError,
    keeper,
    lease::Lease,
    manager::Manager,
    options::PoolOptions,
    shared::Shared,
    status::{Destroyed, Holder, PoolStatus},
};

/// Closed when dropped.
pub(super) struct Part<M: Manager>(Arc<Shared<Seated<M>>>);

impl<M: Manager> Drop for Part<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: Manager> Part<M> {
    /// A pool that belongs to `scope`, born on the line that made the keyed one. It is in no
    /// report but that one's.
    pub(super) fn start<E: Send + 'static>(
        scope: &Scope<E>,
        born_at: &'static Location<'static>,
        manager: Seated<M>,
        options: PoolOptions,
    ) -> Part<M> {
        let shared = Arc::new(Shared::new(manager, options, scope.id(), born_at));
        let keeping = keeper::keep(Arc::clone(&shared));
        scope.spawn_at(born_at, async {
            keeping.await;
            Ok(())
        });
        Part(shared)
    }

    /// As [`Pool::acquire`](crate::Pool::acquire).
    pub(super) async fn acquire(
        &self,
        born_at: &'static Location<'static>,
        begun: Instant,
    ) -> Result<Lease<Seated<M>>, AcquireError<M::Error>> {
        if let Some(record) = self.0.take_at_once() {
            return Ok(Lease::new(record, born_at));
        }
        let acquired = self.0.acquire(begun).await;
        self.0.counters.waited(begun.elapsed(), acquired.is_ok());
        acquired.map(|record| Lease::new(record, born_at))
    }

    /// An acquire has failed before it came here.
    pub(super) fn failed(&self, begun: Instant) {
        self.0.counters.waited(begun.elapsed(), false);
    }

    /// Ends the connection that has been idle for longest. Whether there was one.
    pub(super) fn end_an_idle_one(&self) -> bool {
        let mut is_first = true;
        let ended = self.0.stock.extract(|_, _| std::mem::replace(&mut is_first, false));
        for record in &ended {
            self.0.destroy(record, Destroyed::Closed);
        }
        !ended.is_empty()
    }

    /// What is idle ends, and nobody leases any more.
    pub(super) fn close(&self) {
        self.0.close();
    }

    pub(super) fn status(&self) -> PoolStatus {
        self.0.status()
    }

    pub(super) fn holders(&self) -> Vec<Holder> {
        self.0.holders()
    }
}
