//! How far the exchange of a request and its answer has come on a connection: known to the
//! handler, the request's body and the socket.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use http_body_util::Limited;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use staunch_scope::BoxError;

/// The state of the current exchange of one connection. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// A handler is at work.
    handling: AtomicBool,
    /// Some of the request's body has not been read.
    receiving: AtomicBool,
}

impl Exchange {
    /// A handler begins to work; it ends with the guard.
    pub(super) fn begin(&self) -> Handling {
        self.0.handling.store(true, Ordering::Relaxed);
        Handling(self.clone())
    }

    /// Whether the client can only wait for its answer.
    pub(super) fn is_answering(&self) -> bool {
        self.0.handling.load(Ordering::Relaxed) && !self.0.receiving.load(Ordering::Relaxed)
    }

    fn set_receiving(&self, receiving: bool) {
        self.0.receiving.store(receiving, Ordering::Relaxed);
    }
}

/// A handler is at work as long as this lives.
pub(super) struct Handling(Exchange);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.0.handling.store(false, Ordering::Relaxed);
    }
}

/// The body of a request; ends in an error beyond [`HttpLimits::body_bytes`].
///
/// [`HttpLimits::body_bytes`]: super::HttpLimits::body_bytes
#[derive(Debug)]
pub struct RequestBody {
    body: Limited<Incoming>,
    exchange: Exchange,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, limit: usize, exchange: Exchange) -> RequestBody {
        exchange.set_receiving(!body.is_end_stream());
        RequestBody { body: Limited::new(body, limit), exchange }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        this.exchange.set_receiving(!this.body.is_end_stream() && matches!(frame, Some(Ok(_))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.exchange.set_receiving(false); // nobody waits for more
    }
}
