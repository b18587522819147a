//! What a connection of a keyed pool carries: its room, and the right of whoever leases it.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::manager::{Condition, Manager};

/// The right to lease a connection: one of a key's, and one of all keys'.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) _of_key: OwnedSemaphorePermit,
    pub(super) _of_all: OwnedSemaphorePermit,
}

/// Where a leased connection keeps its right.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Option<Right>>);

impl Seat {
    pub(super) fn occupy(&self, right: Right) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(right);
    }

    /// The lease is over, or its connection is. The second time there is nothing to give back.
    pub(super) fn vacate(&self) {
        let right = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(right);
    }
}

/// Ends an idle connection of some key, if there is one.
pub(super) trait MakeRoom: Send + Sync {
    fn make_room(&self) -> bool;
}

/// Room for the connections of all keys.
pub(super) struct Rooms {
    pub(super) free: Arc<Semaphore>,
    pub(super) maker: Weak<dyn MakeRoom>,
}

impl Rooms {
    /// Room for one. Somebody's idle connection gives way if there is none; it has room until it
    /// has said goodbye.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        /// None was idle perhaps, but one was on its way there.
        const AGAIN: Duration = Duration::from_millis(20);
        let free = Arc::clone(&self.free);
        if let Ok(room) = Arc::clone(&free).try_acquire_owned() {
            return Some(room);
        }
        let mut room = pin!(free.acquire_owned());
        loop {
            self.maker.upgrade()?.make_room();
            if let Ok(room) = timeout(AGAIN, room.as_mut()).await {
                return room.ok();
            }
        }
    }
}

/// A manager whose connections have seats.
pub(crate) struct Seated<M> {
    pub(super) manager: M,
    pub(super) rooms: Arc<Rooms>,
}

/// A connection with a seat.
pub(crate) struct SeatedConnection<C> {
    pub(super) connection: C,
    pub(super) seat: Vacated,
    room: Option<OwnedSemaphorePermit>,
}

/// A seat, vacated when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Vacated(pub(super) Arc<Seat>);

impl Drop for Vacated {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

impl<M: Manager> Manager for Seated<M> {
    type Connection = SeatedConnection<M::Connection>;
    type Error = M::Error;

    async fn connect(&self) -> Result<Self::Connection, M::Error> {
        let room = self.rooms.take().await; // `None`: the pool is closed, and the lease refused
        let connection = self.manager.connect().await?;
        Ok(SeatedConnection { connection, seat: Vacated::default(), room })
    }

    fn validate(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), M::Error>> + Send {
        self.manager.validate(&mut connection.connection)
    }

    fn condition(&self, connection: &mut Self::Connection) -> Condition {
        self.manager.condition(&mut connection.connection)
    }

    fn reset(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), M::Error>> + Send {
        self.manager.reset(&mut connection.connection)
    }

    async fn close(&self, connection: Self::Connection) {
        let SeatedConnection { connection, seat, room } = connection;
        drop(seat); // who waits for the lease need not wait for the goodbye
        self.manager.close(connection).await;
        drop(room);
    }

    fn killer(&self, connection: &Self::Connection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let kill = self.manager.killer(&connection.connection);
        let seat = Arc::clone(&connection.seat.0);
        Some(Box::new(move || {
            if let Some(kill) = &kill {
                kill();
            }
            seat.vacate(); // whoever uses it may never come back
        }))
    }
}
