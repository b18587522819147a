//! What a connection of a keyed pool carries: its room, and the right of whoever leases it.

use std::{
    cell::Cell,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use staunch_ledger::EntryId;
use tokio::sync::OwnedSemaphorePermit;

use super::rooms::{Leaving, Room, Rooms};
use crate::manager::{Condition, Manager};

/// The right to lease a connection: one of a key's, and one of all keys'.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) _of_key: OwnedSemaphorePermit,
    pub(super) _of_all: OwnedSemaphorePermit,
}

/// Where a connection keeps its room and, while it is leased, the right to that. Whoever ends the
/// connection empties it, wherever the connection itself may be: the lease, or what is in use of
/// it, may have been forgotten.
#[derive(Debug)]
pub(super) struct Seat(Mutex<Content>);

#[derive(Debug)]
struct Content {
    room: Option<Room>,
    /// Of this lease.
    right: Option<(EntryId, Right)>,
    /// The connection has ended, or is about to.
    is_over: bool,
}

impl Seat {
    fn new(room: Option<Room>) -> Seat {
        Seat(Mutex::new(Content { room, right: None, is_over: false }))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease begins. The one before it may not have said yet that it is over.
    pub(super) fn occupy(&self, lease: EntryId, right: Right) {
        let mut content = self.content();
        let unneeded = if content.is_over {
            Some((lease, right)) // revoked already
        } else {
            content.right.replace((lease, right))
        };
        drop(content);
        drop(unneeded);
    }

    /// A lease is over. The connection may have ended first, or be another's by now; then there is
    /// nothing to give back.
    fn vacate(&self, lease: EntryId) {
        let right = self.content().right.take_if(|(owner, _)| *owner == lease);
        drop(right);
    }

    /// The connection is about to end. Its right is free; its room is once it has ended.
    fn leave(&self, leaving: impl FnOnce() -> Leaving) {
        let mut content = self.content();
        content.is_over = true;
        if let Some(room) = &mut content.room {
            room.leave(leaving);
        }
        let right = content.right.take();
        drop(content);
        drop(right);
    }

    /// The connection has ended.
    fn end(&self) {
        let mut content = self.content();
        content.is_over = true;
        let left = (content.right.take(), content.room.take());
        drop(content);
        drop(left);
    }
}

/// A lease's claim to its seat, given up when this is dropped.
#[derive(Debug)]
pub(super) struct Occupied {
    seat: Arc<Seat>,
    lease: EntryId,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.seat.vacate(self.lease);
    }
}

/// A connection's own seat, which ends with it.
struct Owned(Arc<Seat>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.end();
    }
}

tokio::task_local! {
    /// Room for the connection that this task is about to make.
    static ROOM: Cell<Option<Room>>;
}

/// Runs `connecting`, whose connection has this room.
pub(super) async fn with_room<T>(room: Room, connecting: impl Future<Output = T>) -> T {
    ROOM.scope(Cell::new(Some(room)), connecting).await
}

/// A manager whose connections have seats.
pub(crate) struct Seated<M> {
    pub(super) manager: M,
    pub(super) rooms: Arc<Rooms>,
}

/// A connection with a seat.
pub(crate) struct SeatedConnection<C> {
    // In this order: the room is free once the connection has ended.
    pub(super) connection: C,
    seat: Owned,
}

impl<C> SeatedConnection<C> {
    /// A lease begins, by this right.
    pub(super) fn occupy(&self, lease: EntryId, right: Right) -> Occupied {
        self.seat.0.occupy(lease, right);
        Occupied { seat: Arc::clone(&self.seat.0), lease }
    }

    /// It is about to end.
    pub(super) fn leave(&self, leaving: impl FnOnce() -> Leaving) {
        self.seat.0.leave(leaving);
    }
}

impl<M: Manager> Manager for Seated<M> {
    type Connection = SeatedConnection<M::Connection>;
    type Error = M::Error;

    /// In the room that was taken for it: who waits for room does not wait for the server.
    async fn connect(&self) -> Result<Self::Connection, M::Error> {
        let room = ROOM.try_with(Cell::take).ok().flatten();
        debug_assert!(room.is_some(), "only acquires make connections");
        let connection = self.manager.connect().await?;
        Ok(SeatedConnection { connection, seat: Owned(Arc::new(Seat::new(room))) })
    }

    fn is_local(&self, error: &M::Error) -> bool {
        self.manager.is_local(error)
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
        let SeatedConnection { connection, seat } = connection;
        seat.0.leave(|| self.rooms.leaves()); // who waits for the lease need not wait for the goodbye
        self.manager.close(connection).await;
        drop(seat);
    }

    fn killer(&self, connection: &Self::Connection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let kill = self.manager.killer(&connection.connection);
        let seat = Arc::clone(&connection.seat.0);
        Some(Box::new(move || {
            if let Some(kill) = &kill {
                kill();
            }
            seat.end(); // whoever uses it may never come back
        }))
    }

    fn pulse(&self, connection: &Self::Connection) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        self.manager.pulse(&connection.connection)
    }
}
