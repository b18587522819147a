//! The bodies of requests and answers.

use std::{
    error::Error,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use staunch_scope::{BoxError, Piece};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    exchange::{Breach, Exchange},
    unread::Unread,
};
use crate::limits::Allowance;

/// The body of a request; ends in an error beyond [`HttpLimits::body_bytes`](crate::HttpLimits::body_bytes), and in a
/// [`SlowBodyError`] beyond [`HttpLimits::body_time`](crate::HttpLimits::body_time). Bytes that are no
/// body are a [`MalformedBodyError`], and an end that is none a [`CutShortError`].
#[derive(Debug)]
pub struct RequestBody {
    /// Until it is dropped, if there is one.
    body: Option<Limited<Incoming>>,
    exchange: Exchange,
    /// Which of its connection's requests it belongs to: what becomes of it is nothing to the next ones.
    number: u32,
    time: Duration,
    /// Bytes a second, on average; 0: any.
    rate: u32,
    received: u64,
    /// From the first wait.
    wait: Option<Waiting>,
    /// Somebody has read of it, or waited for it.
    was_wanted: bool,
    end: Option<End>,
}

/// How a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

/// A body is waited for.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    due: Pin<Box<Sleep>>,
}

/// A request's body took too long to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlowBodyError {
    /// All of it.
    #[error("it did not arrive within {limit:?} (`body_time`)")]
    Time {
        /// The limit that was passed.
        limit: Duration,
    },
    /// What came of it.
    #[error(
        "of it came {received} bytes in {took:?}; at least {limit} a second must (`body_rate`)"
    )]
    Rate {
        /// Bytes that came.
        received: u64,
        /// Since it was first waited for.
        took: Duration,
        /// Bytes a second.
        limit: u32,
    },
}

/// What came is no body: a chunk of it is not what a chunk must be (RFC 9112, 7.1).
#[derive(Debug, thiserror::Error)]
#[error("it is malformed: {what}")]
pub struct MalformedBodyError {
    what: String,
    source: BoxError,
}

impl MalformedBodyError {
    /// `error`, as one of these if it is about bytes that are wrong, and not about some that are missing.
    fn of(error: BoxError) -> BoxError {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
        while let Some(error_of) = cause {
            if let Some(io) = error_of.downcast_ref::<io::Error>()
                && matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData)
            {
                let what = io.to_string().to_lowercase();
                return MalformedBodyError { what, source: error }.into();
            }
            cause = error_of.source();
        }
        error
    }
}

/// The client reset the stream of its request before the end of the body (RFC 9113, 5.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its stream was reset before its end")]
pub struct CutShortError;

/// A body that has just begun may be slower than its least rate for so long, as Kestrel has it: a
/// lost packet or two.
const RATE_GRACE: Duration = Duration::from_secs(5);

impl RequestBody {
    pub(super) fn new(body: Incoming, may: &Allowance, exchange: Exchange) -> RequestBody {
        exchange.set_receiving(!body.is_end_stream());
        exchange.set_open(!body.is_end_stream());
        RequestBody::of(Some(Limited::new(body, may.body_bytes)), may, exchange)
    }

    /// That of a request that has none.
    pub(super) fn empty(may: &Allowance, exchange: Exchange) -> RequestBody {
        RequestBody::of(None, may, exchange)
    }

    fn of(body: Option<Limited<Incoming>>, may: &Allowance, exchange: Exchange) -> RequestBody {
        let (time, rate) = (may.body_time, may.body_rate);
        let (number, wait, was_wanted, end) = (exchange.begun(), None, false, None);
        RequestBody { body, exchange, number, time, rate, received: 0, wait, was_wanted, end }
    }

    /// Its exchange, as long as that is at its request.
    fn current(&self) -> Option<&Exchange> {
        Some(&self.exchange).filter(|exchange| exchange.begun() == self.number)
    }

    /// Whether its end is none. hyper says nothing of a stream that is reset with `NO_ERROR`, since to a client
    /// that may follow on an end; a server has then heard of no end.
    fn is_cut(&self) -> bool {
        self.end.is_none() && self.exchange.is_of_stream() && !self.is_end_stream()
    }

    fn breaks(&self, breach: Breach) {
        if let Some(exchange) = self.current() {
            exchange.set_breach(breach);
        }
    }

    /// How long what has come so far may have taken.
    fn allowed(&self) -> Duration {
        let millis = (self.received * 1000).checked_div(u64::from(self.rate));
        millis
            .map_or(self.time, |millis| (RATE_GRACE + Duration::from_millis(millis)).min(self.time))
    }

    fn poll_due(&mut self, cx: &mut Poller<'_>) -> Poll<SlowBodyError> {
        let allowed = self.allowed();
        let wait = self.wait.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, due: Box::pin(sleep(allowed)) }
        });
        // The timer is set again only when it rings: bytes that come move its end all the time.
        loop {
            ready!(wait.due.as_mut().poll(cx));
            let end = wait.since + allowed;
            if end <= Instant::now() {
                break;
            }
            wait.due.as_mut().reset(end);
        }
        if allowed == self.time {
            return Poll::Ready(SlowBodyError::Time { limit: self.time });
        }
        let (received, took) = (self.received, wait.since.elapsed());
        Poll::Ready(SlowBodyError::Rate { received, took, limit: self.rate })
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
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.was_wanted = true;
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let slow = ready!(this.poll_due(cx));
            this.breaks(Breach::Slow);
            return Poll::Ready(Some(Err(slow.into())));
        };
        let frame = match frame {
            None if this.is_cut() => Some(Err(CutShortError.into())),
            frame => frame.map(|frame| frame.map_err(MalformedBodyError::of)),
        };
        match &frame {
            Some(Ok(frame)) => {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if frame.is_trailers() {
                    this.end = Some(End::Whole); // nobody has to ask for more
                }
            }
            Some(Err(error)) => {
                this.end = Some(End::Broken);
                if error.is::<LengthLimitError>() {
                    this.breaks(Breach::Large);
                }
            }
            None => _ = this.end.get_or_insert(End::Whole),
        }
        let is_over = this.is_end_stream() || this.end == Some(End::Whole);
        if let Some(exchange) = this.current() {
            exchange.set_receiving(!is_over && matches!(frame, Some(Ok(_))));
            exchange.set_open(!is_over);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let body = self.body.take().filter(|_| self.end != Some(End::Whole));
        let (was_wanted, is_broken) = (self.was_wanted, self.end == Some(End::Broken));
        let Some(exchange) = self.current() else { return };
        exchange.set_receiving(false); // nobody waits for more
        if let Some(body) = body {
            exchange.leave(Unread { body, was_wanted, is_broken });
        }
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer, which keeps `guard` until all of it is made or it is dropped. Making it
    /// is part of its request.
    pub(super) struct AnswerBody<B, G> {
        #[pin]
        body: B,
        _guard: G,
        piece: Piece,
        // Nothing of it is sent: to a `HEAD`, or for want of content.
        is_silent: bool,
    }
}

impl<B, G> AnswerBody<B, G> {
    pub(super) fn new(body: B, guard: G, piece: Piece, is_silent: bool) -> AnswerBody<B, G> {
        AnswerBody { body, _guard: guard, piece, is_silent }
    }
}

impl<B: Body, G> Body for AnswerBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if *this.is_silent {
            return Poll::Ready(None);
        }
        this.piece.poll(|| this.body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.is_silent || self.body.is_end_stream()
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
