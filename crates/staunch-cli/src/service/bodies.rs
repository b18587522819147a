//! The memory of all request bodies together: bounded, and on the ledger.

use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use staunch_http::keep_until_sent;
use staunch_ledger::{Account, EntryId, Kind, Ledger, Obligation};
use staunch_scope::current_task;

/// How many more bytes bodies may take. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Bodies(Arc<AtomicUsize>);

/// There is no room for more of a body.
#[derive(Debug)]
pub(crate) struct NoRoomError;

impl Bodies {
    /// At most `bytes` at a time.
    pub(crate) fn new(bytes: usize) -> Bodies {
        Bodies(Arc::new(AtomicUsize::new(bytes)))
    }

    /// An empty body, which will grow to `most` bytes at the most.
    #[track_caller]
    pub(crate) fn open(&self, most: usize) -> HeldBody {
        self.open_for(most, current_task(), Location::caller())
    }

    fn open_for(
        &self,
        most: usize,
        owner: Option<EntryId>,
        born_at: &'static Location<'static>,
    ) -> HeldBody {
        let ledger = Ledger::current();
        let account = ledger.open_at(born_at, Kind::BODY, Obligation::EndsWithParent, owner);
        let held = Held { bytes: 0, bodies: self.clone(), account };
        HeldBody { bytes: Vec::new(), most, held }
    }

    fn take(&self, bytes: usize) -> Result<(), NoRoomError> {
        let take = |left: usize| left.checked_sub(bytes);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(NoRoomError),
        }
    }
}

/// A body on its way in. Dropped from top to bottom: the memory first.
#[derive(Debug)]
pub(crate) struct HeldBody {
    bytes: Vec<u8>,
    most: usize,
    held: Held,
}

/// What a body takes of the room, given back when dropped.
#[derive(Debug)]
struct Held {
    bytes: usize,
    bodies: Bodies,
    account: Account,
}

impl HeldBody {
    /// Copies what has come: a piece of one byte may keep a buffer of many.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), NoRoomError> {
        let needed = self.bytes.len() + piece.len();
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let capacity_after = needed.max((capacity * 2).min(self.most));
            self.held.grow(capacity_after - capacity)?;
            self.bytes.reserve_exact(capacity_after - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        self.held.account.touch();
        Ok(())
    }

    /// The body for an answer. It gives its room back when it is sent: that takes as long as its connection
    /// gives a slow client, also when the request is over.
    pub(crate) fn into_answer(self) -> Bytes {
        self.held.account.set_obligation(Obligation::Perpetual("until its connection has sent it"));
        keep_until_sent(self.bytes, self.held)
    }
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), NoRoomError> {
        self.bodies.take(bytes)?;
        self.bytes += bytes;
        self.account.add_bytes(bytes as u64);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use staunch_ledger::Entry;

    use super::*;

    #[test]
    fn bodies_share_their_room_until_they_are_sent() {
        let owned = Ledger::new();
        let _entered = owned.enter();
        let bodies = Bodies::new(100);
        let request = owned.open(Kind::REQUEST, Obligation::EndsWithParent);
        let mut first = bodies.open_for(80, Some(request.id()), Location::caller());
        first.push(&[0; 30]).unwrap();
        first.push(&[0; 10]).unwrap();
        let held: u64 = owned.snapshot().entries().iter().map(Entry::bytes).sum();
        assert_eq!(held, 60, "twice as much as before, so that growing costs little");
        let mut second = bodies.open_for(80, Some(request.id()), Location::caller());
        assert!(second.push(&[0; 50]).is_err(), "more than is left");
        second.push(&[0; 40]).unwrap();
        let answer = first.into_answer();
        assert_eq!((answer.len(), owned.live()), (40, 3));
        assert!(second.push(&[0; 20]).is_err(), "an answer is held until it is sent");
        drop(request);
        let seen = owned.snapshot();
        let [late] = &seen.overdue().0[..] else { panic!("{seen:?}") };
        assert_eq!(late.bytes(), 40, "the one whose request is over, and which is no answer");
        drop(answer);
        second.push(&[0; 20]).unwrap();
        drop(second);
        assert_eq!((owned.live(), bodies.0.load(Ordering::Relaxed)), (0, 100));
    }
}
