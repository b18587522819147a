//! HTTP/2 connections, and the slots that requests have on them.
//!
//! **Invariant.** A connection is in the group as long as it has a slot, and takes no slot after
//! its last one has gone: both happen under the group's lock.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use std::task::Waker;

use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tokio_util::sync::CancellationToken;

use super::{life::Life, request::RequestBody};

/// The HTTP/2 connections of a manager.
#[derive(Debug, Default)]
pub(super) struct Group {
    connections: Mutex<Vec<Shared>>,
    next: AtomicUsize,
}

/// A connection, and how many slots of it are out.
#[derive(Debug)]
struct Shared {
    number: usize,
    sender: SendRequest<RequestBody>,
    life: Life,
    slots: usize,
    limit: Arc<Limit>,
}

/// How many streams a connection may have at a time.
#[derive(Debug)]
pub(super) struct Limit {
    ours: usize,
    /// The server's wish, as far as it is known.
    theirs: AtomicUsize,
}

impl Limit {
    pub(super) fn new(ours: usize) -> Limit {
        Limit { ours: ours.max(1), theirs: AtomicUsize::new(usize::MAX) }
    }

    /// The server says how many.
    pub(super) fn set(&self, theirs: usize) {
        self.theirs.store(theirs, Ordering::Relaxed);
    }

    fn most(&self) -> usize {
        self.ours.min(self.theirs.load(Ordering::Relaxed)).max(1)
    }
}

/// The right to one stream at a time on a connection.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) life: Life,
    pub(super) answer: Arc<Answer>,
    group: Arc<Group>,
    /// `None` once it has left.
    number: Option<usize>,
}

impl Group {
    fn connections(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot of a connection that lives and has room.
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let mut connections = self.connections();
        let mut live = connections.iter_mut();
        let shared = live.find(|it| it.is_live() && it.slots < it.limit.most())?;
        Some(shared.slot(self))
    }

    /// The first slot of a new connection.
    pub(super) fn add(
        self: &Arc<Self>,
        sender: SendRequest<RequestBody>,
        life: Life,
        limit: Arc<Limit>,
    ) -> Slot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut shared = Shared { number, sender, life, slots: 0, limit };
        let slot = shared.slot(self);
        self.connections().push(shared);
        slot
    }

    /// A slot goes. The connection, if it was the last.
    fn leave(&self, number: usize) -> Option<Shared> {
        let mut connections = self.connections();
        let at = connections.iter().position(|it| it.number == number)?;
        connections[at].slots -= 1;
        (connections[at].slots == 0).then(|| connections.swap_remove(at))
    }
}

impl Shared {
    fn is_live(&self) -> bool {
        !self.sender.is_closed() && !self.life.is_over()
    }

    fn slot(&mut self, group: &Arc<Group>) -> Slot {
        self.slots += 1;
        Slot {
            sender: self.sender.clone(),
            life: self.life.clone(),
            answer: Arc::default(),
            group: Arc::clone(group),
            number: Some(self.number),
        }
    }
}

impl Slot {
    /// Leaves; if it was the last, waits until its connection has said goodbye.
    ///
    /// # Cancel safety
    /// Dropped before, it ends the connection without.
    pub(super) async fn close(mut self) {
        let shared = self.number.take().and_then(|number| self.group.leave(number));
        drop(self);
        if let Some(Shared { life, sender, .. }) = shared {
            drop(sender); // which makes hyper say it
            life.ends().await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = self.number.take().and_then(|number| self.group.leave(number));
        if let Some(shared) = shared {
            shared.life.off();
        }
    }
}

/// The answer that comes on a stream, where the pool finds it if nobody reads it any more.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Before its head has come.
    pub(super) killed: CancellationToken,
    body: Mutex<Body>,
}

#[derive(Debug, Default)]
struct Body {
    incoming: Option<Incoming>,
    reader: Option<Waker>,
}

impl Answer {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, incoming: Incoming) {
        self.body().incoming = Some(incoming);
    }

    /// Lets somebody look at the body; `None` when it was taken away. `reader` hears of it.
    pub(super) fn with<T>(
        &self,
        reader: Option<&Waker>,
        look: impl FnOnce(&mut Incoming) -> T,
    ) -> Option<T> {
        let mut body = self.body();
        let looked = look(body.incoming.as_mut()?);
        if let Some(reader) = reader {
            body.reader.get_or_insert_with(|| reader.clone()).clone_from(reader);
        }
        Some(looked)
    }

    /// Ends the stream: the server hears that nobody wants the rest.
    pub(super) fn end(&self) {
        let Body { incoming, reader } = std::mem::take(&mut *self.body());
        drop(incoming);
        reader.into_iter().for_each(Waker::wake);
    }

    pub(super) fn kill(&self) {
        self.killed.cancel();
        self.end();
    }
}
