//! The bodies of requests and answers.

use std::{
    pin::Pin,
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Limited;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use staunch_scope::BoxError;
use tokio::time::{Sleep, sleep};

use super::exchange::Exchange;
use crate::limits::HttpLimits;

/// The body of a request; ends in an error beyond [`HttpLimits::body_bytes`], and in a
/// [`SlowBodyError`] beyond [`HttpLimits::body_time`].
#[derive(Debug)]
pub struct RequestBody {
    body: Limited<Incoming>,
    exchange: Exchange,
    time: Duration,
    /// From the first wait.
    due: Option<Pin<Box<Sleep>>>,
}

/// A request's body took too long to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not arrive within {limit:?}")]
pub struct SlowBodyError {
    limit: Duration,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, limits: &HttpLimits, exchange: Exchange) -> RequestBody {
        exchange.set_receiving(!body.is_end_stream());
        let body = Limited::new(body, limits.body_bytes);
        RequestBody { body, exchange, time: limits.body_time, due: None }
    }

    fn poll_due(&mut self, cx: &mut Poller<'_>) -> Poll<SlowBodyError> {
        let limit = self.time;
        let due = self.due.get_or_insert_with(|| Box::pin(sleep(limit)));
        due.as_mut().poll(cx).map(|()| SlowBodyError { limit })
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
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return this.poll_due(cx).map(|slow| Some(Err(slow.into())));
        };
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

pin_project_lite::pin_project! {
    /// The body of an answer, which keeps `guard` until all of it is made or it is dropped.
    pub(super) struct AnswerBody<B, G> {
        #[pin]
        body: B,
        _guard: G,
    }
}

impl<B, G> AnswerBody<B, G> {
    pub(super) fn new(body: B, guard: G) -> AnswerBody<B, G> {
        AnswerBody { body, _guard: guard }
    }
}

impl<B: Body, G> Body for AnswerBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The same bytes, which keep `guard` until they have been sent or are dropped. A body is dropped
/// when it has handed over its bytes; a slow client has yet to take them.
///
/// # Examples
/// ```
/// use staunch_http::keep_until_sent;
/// let guard = std::sync::Arc::new(());
/// let body = keep_until_sent("a page", std::sync::Arc::clone(&guard));
/// assert_eq!(std::sync::Arc::strong_count(&guard), 2);
/// drop(body);
/// assert_eq!(std::sync::Arc::strong_count(&guard), 1);
/// ```
pub fn keep_until_sent<B, G>(bytes: B, guard: G) -> Bytes
where
    B: AsRef<[u8]> + Send + 'static,
    G: Send + 'static,
{
    Bytes::from_owner(Kept { bytes, _guard: guard })
}

/// Dropped from top to bottom: the memory first.
struct Kept<B, G> {
    bytes: B,
    _guard: G,
}

impl<B: AsRef<[u8]>, G> AsRef<[u8]> for Kept<B, G> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
