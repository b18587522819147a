//! The pool of one key. The only file here that knows what a pool is made of.

use std::{panic::Location, sync::Arc};

use staunch_scope::Scope;
use tokio::time::Instant;

use super::{
    rooms::Leaving,
    seat::{Seated, with_room},
};
use crate::{
    circuit::Refusal,
    connecting::Place,
    error::AcquireError,
    keeper,
    lease::Lease,
    manager::Manager,
    options::PoolOptions,
    record::Record,
    shared::{Acquired, Claim, Shared},
    status::{Destroyed, Holder, PoolStatus},
};

/// Closed when dropped.
pub(super) struct Part<M: Manager>(Arc<Shared<Seated<M>>>);

/// Why a key has no lease.
pub(super) enum Denied<E: std::error::Error + 'static> {
    /// There was no room for its connection among those of all keys.
    NoRoom,
    Key(AcquireError<E>),
}

impl<E: std::error::Error + 'static, T: Into<AcquireError<E>>> From<T> for Denied<E> {
    fn from(error: T) -> Self {
        Denied::Key(error.into())
    }
}

impl<M: Manager> Drop for Part<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

type Found<M> = Result<Arc<Record<Seated<M>>>, Denied<<M as Manager>::Error>>;

impl<M: Manager> Part<M> {
    /// Whether the last connect has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.0.circuit().is_open()
    }

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
        scope.spawn_daemon_at(born_at, async {
            keeping.await;
            Ok(())
        });
        Part(shared)
    }

    /// As [`Pool::acquire`](crate::Pool::acquire), for who has the right to it.
    pub(super) async fn acquire(
        &self,
        born_at: &'static Location<'static>,
        begun: Instant,
    ) -> Result<Lease<Seated<M>>, Denied<M::Error>> {
        if let Some(record) = self.0.take_at_once() {
            return Ok(Lease::new(record, born_at));
        }
        let acquired = self.find(begun).await;
        self.0.counters.waited(begun.elapsed(), acquired.is_ok());
        acquired.map(|record| Lease::new(record, born_at))
    }

    /// As [`Shared::acquire`]; but whoever makes a connection takes room for it first.
    async fn find(&self, begun: Instant) -> Found<M> {
        match self.0.claim(begun).await? {
            Claim::Ready(record) => Ok(record),
            Claim::Place(place) => Box::pin(self.create(place, begun)).await,
        }
    }

    /// Takes room, and makes a connection in it. Nobody gives way for a server that is down; and
    /// who waits for room in vain says nothing of the server.
    async fn create(&self, place: Place<'_, Seated<M>>, begun: Instant) -> Found<M> {
        let pool = self.0.options.name;
        let looked = self.0.circuit().look(self.0.ledger.now());
        if let Err(Refusal { retry_in, last }) = looked {
            return Err(AcquireError::Down { pool, retry_in, last }.into());
        }
        let rooms = &self.0.manager.rooms;
        let deadline = begun + self.0.options.acquire_timeout;
        let Some(room) = rooms.take(deadline).await? else {
            return Err(if self.0.stock.is_closed() {
                AcquireError::Closed { pool }.into()
            } else {
                Denied::NoRoom
            });
        };
        let created: Acquired<_> = with_room(room, self.0.create(place, begun)).await;
        Ok(created?)
    }

    /// An acquire has failed before it came here.
    pub(super) fn failed(&self, begun: Instant) {
        self.0.counters.waited(begun.elapsed(), false);
    }

    /// Ends the connection that has been idle for longest. Whether there was one; it has `leaving`
    /// then.
    pub(super) fn end_an_idle_one(&self, leaving: &mut Option<Leaving>) -> bool {
        let rooms = &self.0.manager.rooms;
        while let Some(oldest) = self.idle_for_longest() {
            let ended = self.0.stock.extract(|record, _| record.key == oldest);
            for record in &ended {
                if let Some(pooled) = record.connection().as_ref() {
                    let leaves = || leaving.take().unwrap_or_else(|| rooms.leaves());
                    pooled.connection.leave(leaves);
                }
                self.0.destroy(record, Destroyed::Closed);
            }
            if !ended.is_empty() {
                return true;
            }
            // Somebody was quicker, and has leased it.
        }
        false
    }

    fn idle_for_longest(&self) -> Option<u64> {
        let mut oldest = None;
        let none = self.0.stock.extract(|record, _| {
            let since = record.idle_since();
            if oldest.is_none_or(|(before, _)| since < before) {
                oldest = Some((since, record.key));
            }
            false
        });
        debug_assert!(none.is_empty(), "it only looks");
        oldest.map(|(_, key)| key)
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
