//! The body of an answer, which has the lease of its connection until it is at its end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use staunch_ledger::State;
use staunch_scope::with_current_account;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    connection::{Coming, HttpConnection},
    error::BodyError,
    manager::{Http, Server},
    multiplex::Answer,
};
use crate::{keyed::KeyedOwnedInUse, lease_owned::OwnedInUse};

/// The body of an answer. It has the lease of its connection, which goes back at its end.
///
/// Dropped before its end, an HTTP/1 connection is closed, since whoever leased it next would read
/// the rest; nothing is read ahead to save it. An HTTP/2 stream is reset, and its connection goes
/// on. What is left of the request when the answer ends may be sent for `reset_timeout`; then it is the same. A body that nobody reads for `abandoned_timeout` is an abandoned lease, and revoked.
///
/// Trailers are its last frame.
#[derive(Debug)]
#[must_use = "an answer whose body is not read costs its connection"]
pub struct PooledBody {
    // In this order: the body goes before what it comes from.
    coming: Option<Coming>,
    held: Option<Held>,
    server: Arc<Server>,
    /// When it has taken too long: since the last poll that found nothing.
    stall: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

/// A leased connection.
#[derive(Debug)]
pub(super) enum Held {
    Pool(OwnedInUse<Http>),
    Keyed(KeyedOwnedInUse<Http>),
}

impl Held {
    pub(super) fn connection(&self) -> &HttpConnection {
        match self {
            Held::Pool(in_use) => in_use,
            Held::Keyed(in_use) => in_use,
        }
    }

    pub(super) fn connection_mut(&mut self) -> &mut HttpConnection {
        match self {
            Held::Pool(in_use) => in_use,
            Held::Keyed(in_use) => in_use,
        }
    }

    fn touch(&self) {
        match self {
            Held::Pool(in_use) => in_use.touch(),
            Held::Keyed(in_use) => in_use.touch(),
        }
    }

    /// The running task reads it, whoever sent the request.
    fn used_here(&self) {
        match self {
            Held::Pool(in_use) => in_use.used_here(),
            Held::Keyed(in_use) => in_use.used_here(),
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl PooledBody {
    pub(super) fn new(coming: Coming, held: Held) -> PooledBody {
        let server = Arc::clone(&held.connection().server);
        let is_over = coming.is_over();
        let mut body = PooledBody {
            coming: Some(coming),
            held: Some(held),
            server,
            stall: None,
            is_waiting: false,
        };
        if is_over {
            body.ends();
        }
        body
    }

    /// It is at its end: its connection goes back.
    fn ends(&mut self) {
        self.leave(Answer::end);
        if let Some(mut held) = self.held.take() {
            held.connection_mut().answered();
        }
    }

    /// It failed, or nobody wants it: so its connection is not as good as new.
    fn breaks(&mut self) {
        self.leave(Answer::cancel);
        self.held = None;
    }

    fn leave(&mut self, ends: impl FnOnce(&Answer)) {
        self.stall = None;
        match self.coming.take() {
            Some(Coming::Shared(answer)) => ends(&answer),
            own => drop(own),
        }
    }

    fn failed(&mut self, error: BodyError) -> Polled {
        self.breaks();
        Poll::Ready(Some(Err(error)))
    }

    fn address(&self) -> String {
        self.server.address.clone()
    }

    fn came(&mut self, frame: Frame<Bytes>) -> Polled {
        self.is_waiting = false;
        if let Some(held) = &self.held {
            held.touch();
        }
        if self.coming.as_ref().is_none_or(Coming::is_over) {
            self.ends();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Nothing has come.
    fn poll_stalled(&mut self, cx: &mut Poller<'_>) -> Polled {
        with_current_account(|task| task.set_state(State::Read));
        let limit = self.server.options.body_stall;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.is_waiting {
            self.is_waiting = true;
            if let Some(until) = Instant::now().checked_add(limit) {
                stall.as_mut().reset(until); // else further away than the clock can tell
            }
        }
        match stall.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let address = self.address();
                self.failed(BodyError::Stalled { address, limit })
            }
        }
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        self.breaks();
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Polled {
        let this = self.get_mut();
        if let Some(held) = &this.held {
            held.used_here();
        }
        let Some(coming) = &mut this.coming else { return Poll::Ready(None) };
        match coming.poll_frame(cx) {
            None => {
                let address = this.address();
                this.failed(BodyError::Revoked { address })
            }
            Some(Poll::Pending) => this.poll_stalled(cx),
            Some(Poll::Ready(None)) if coming.is_cut() => {
                let address = this.address();
                this.failed(BodyError::Reset { address })
            }
            Some(Poll::Ready(None)) => {
                this.ends();
                Poll::Ready(None)
            }
            Some(Poll::Ready(Some(Ok(frame)))) => this.came(frame),
            Some(Poll::Ready(Some(Err(source)))) => {
                let address = this.address();
                this.failed(BodyError::Cut { address, source })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.coming.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.coming.as_ref().map_or(SizeHint::with_exact(0), Coming::size_hint)
    }
}

impl Coming {
    /// `None`: it was taken away.
    fn poll_frame(
        &mut self,
        cx: &mut Poller<'_>,
    ) -> Option<Poll<Option<hyper::Result<Frame<Bytes>>>>> {
        match self {
            Coming::Own(incoming) => Some(Pin::new(incoming).poll_frame(cx)),
            Coming::Shared(answer) => {
                answer.with(Some(cx.waker()), |incoming| Pin::new(incoming).poll_frame(cx))
            }
        }
    }

    /// At its end: it has none. hyper says nothing of a stream that is reset with `NO_ERROR`, since that may
    /// follow on an end (RFC 9113, section 8.1); before it, the rest is missing.
    fn is_cut(&self) -> bool {
        matches!(self, Coming::Shared(_)) && !self.is_over()
    }

    fn is_over(&self) -> bool {
        match self {
            Coming::Own(incoming) => incoming.is_end_stream(),
            Coming::Shared(answer) => {
                answer.with(None, |incoming| incoming.is_end_stream()).unwrap_or(false)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Coming::Own(incoming) => incoming.size_hint(),
            Coming::Shared(answer) => {
                answer.with(None, |incoming| incoming.size_hint()).unwrap_or_default()
            }
        }
    }
}
