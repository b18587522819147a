//! HTTP/2 connections, and the slots that requests have on them.
//!
//! **Invariant.** A connection is in the group as long as it has a slot, and takes no slot after
//! its last one has gone: both happen under the group's lock.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use std::{task::Waker, time::Duration};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http2::SendRequest},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    life::Life,
    request::RequestBody,
    upload::{Turn, Upload, Uploaded},
};

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
    born: Instant,
    sender: SendRequest<Uploaded>,
    turn: Turn,
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
    pub(super) sender: SendRequest<Uploaded>,
    turn: Turn,
    life: Life,
    pub(super) answer: Arc<Answer>,
    born: Instant,
    group: Arc<Group>,
    /// `None` once it has left.
    number: Option<usize>,
}

impl Group {
    fn connections(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot of a connection that lives, has room and is not too old.
    pub(super) fn slot(self: &Arc<Self>, max_lifetime: Option<Duration>) -> Option<Slot> {
        let mut connections = self.connections();
        let mut live = connections.iter_mut();
        let is_young = |it: &Shared| !is_old(it.born, max_lifetime);
        let shared = live.find(|it| it.is_live() && is_young(it) && it.slots < it.limit.most())?;
        Some(shared.slot(self))
    }

    /// The first slot of a new connection.
    pub(super) fn add(
        self: &Arc<Self>,
        (sender, turn): (SendRequest<Uploaded>, Turn),
        life: Life,
        limit: Arc<Limit>,
    ) -> Slot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut shared =
            Shared { number, born: Instant::now(), sender, turn, life, slots: 0, limit };
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

/// Whether a connection gets no more requests.
fn is_old(born: Instant, max_lifetime: Option<Duration>) -> bool {
    max_lifetime.is_some_and(|most| born.elapsed() >= most)
}

impl Shared {
    fn is_live(&self) -> bool {
        !self.sender.is_closed() && !self.life.is_over()
    }

    fn slot(&mut self, group: &Arc<Group>) -> Slot {
        self.slots += 1;
        Slot {
            sender: self.sender.clone(),
            turn: self.turn.clone(),
            life: self.life.clone(),
            answer: Arc::default(),
            born: self.born,
            group: Arc::clone(group),
            number: Some(self.number),
        }
    }
}

impl Slot {
    /// Sends a request; its answer's head. The body's upload is known to [`Answer`] from here on.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Uploaded>>>> + use<>
    {
        let request = request.map(|body| Uploaded::new(body, &self.turn));
        self.answer.asked(request.body().upload());
        self.sender.try_send_request(request)
    }

    /// Whether no request can be sent on it any more: its connection has ended, or has lived for so long.
    pub(super) fn is_over(&self, max_lifetime: Option<Duration>) -> bool {
        self.sender.is_closed() || self.life.is_over() || is_old(self.born, max_lifetime)
    }

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
        self.answer.end_upload();
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
    /// What is sent for it.
    upload: Option<Upload>,
}

impl Answer {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request goes out, whose body is `upload`.
    pub(super) fn asked(&self, upload: Option<&Upload>) {
        self.body().upload = upload.cloned();
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

    /// It is at its end, or nobody wants the rest.
    pub(super) fn end(&self) {
        let mut body = self.body();
        let (incoming, reader) = (body.incoming.take(), body.reader.take());
        drop(body);
        drop(incoming);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Nobody wants the rest, so neither has the server to have the rest of the request. What it hears is that the
    /// stream is reset.
    pub(super) fn cancel(&self) {
        self.end();
        self.end_upload();
    }

    /// Nobody wants the answer, so nobody needs the rest of the request.
    pub(super) fn end_upload(&self) {
        let upload = self.upload();
        upload.iter().for_each(Upload::stop);
    }

    /// The body of its request, while that is on its way.
    pub(super) fn upload(&self) -> Option<Upload> {
        self.body().upload.clone().filter(|upload| !upload.is_over())
    }

    pub(super) fn kill(&self) {
        self.killed.cancel();
        self.cancel();
    }
}
