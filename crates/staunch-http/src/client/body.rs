//! The body of an answer, on its way in.

use std::{
    fmt,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use staunch_scope::{Cancelled, Context};
use tokio::time::Instant;
use url::Url;

use super::{
    counts::Flight,
    decode::{Coded, Failure},
    drain::Drain,
    error::ReadAnswerError,
    origin::shown,
};

/// The body of an answer. It has a connection until it was read to its end; dropped before, it is
/// drained within bounds ([`DrainOptions`](crate::DrainOptions)), or its connection is closed.
#[must_use = "an answer whose body is not read may cost its connection"]
pub struct AnswerBody {
    body: Option<Coded>,
    is_shared: bool,
    born_at: &'static Location<'static>,
    drain: Arc<Drain>,
    url: String,
    wanted: Wanted,
    /// Ready when it is not wanted any more.
    unwanted: Option<Pin<Box<dyn Future<Output = Cancelled> + Send + Sync>>>,
    /// Bytes that may be read yet.
    left: u64,
    limit: u64,
}

/// For how long it is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) context: Context,
    pub(super) limit: Duration,
    pub(super) until: Option<Instant>,
    /// The request that it is the answer of.
    pub(super) flight: Option<Arc<Flight>>,
}

impl Wanted {
    /// Whether it is the request's own time that is over.
    pub(super) fn is_late(&self, cause: Cancelled) -> bool {
        let is_over = self.until.is_some_and(|until| until <= Instant::now());
        cause == Cancelled::DeadlineExceeded && is_over
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, ReadAnswerError>>>;

impl AnswerBody {
    pub(super) fn new(
        body: Coded,
        is_shared: bool,
        born_at: &'static Location<'static>,
        drain: &Arc<Drain>,
        url: &Url,
    ) -> AnswerBody {
        let drain = Arc::clone(drain);
        let context = Context::current();
        AnswerBody {
            body: (!body.is_over()).then_some(body),
            is_shared,
            born_at,
            drain,
            url: shown(url),
            wanted: Wanted { context, limit: Duration::MAX, until: None, flight: None },
            unwanted: None,
            left: u64::MAX,
            limit: u64::MAX,
        }
    }

    pub(super) fn within(mut self, wanted: Wanted, limit: u64) -> AnswerBody {
        self.wanted = wanted;
        if self.body.is_none() {
            self.wanted.flight = None;
        }
        self.limited(limit)
    }

    /// Reads no more than `limit` bytes from here on.
    pub(super) fn limited(mut self, limit: u64) -> AnswerBody {
        (self.left, self.limit) = (limit, limit);
        self
    }

    /// The next piece as it came; `None` at the end. All together are at most
    /// [`max_body`](crate::ClientOptions::max_body).
    ///
    /// # Errors
    /// [`ReadAnswerError`]; the connection is closed then.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ReadAnswerError> {
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await;
            match frame.transpose()?.map(Frame::into_data) {
                None => return Ok(None),
                Some(Ok(data)) if !data.is_empty() => return Ok(Some(data)),
                Some(_) => {} // trailers
            }
        }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn born_at(&self) -> &'static Location<'static> {
        self.born_at
    }

    /// Time until it is not wanted any more.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.wanted.context.remaining()
    }

    /// The client itself does not want it: drained as any, but nobody's fault.
    pub(super) fn forsake(mut self) {
        if let Some(body) = self.body.take() {
            self.drain.forsaken(body.into_rest(), self.is_shared);
        }
    }

    /// What is left is not worth a connection.
    fn fails(&mut self, error: ReadAnswerError) -> Polled {
        self.gives_up();
        Poll::Ready(Some(Err(error)))
    }

    /// Nothing is done to save its connection.
    pub(super) fn gives_up(&mut self) {
        self.wanted.flight = None;
        if let Some(body) = self.body.take() {
            self.drain.given_up(body.into_rest(), self.is_shared);
        }
    }

    /// That it is too large, if that is known before it comes.
    pub(super) fn check(&mut self) -> Result<(), ReadAnswerError> {
        if self.size_hint().lower() <= self.left {
            return Ok(());
        }
        self.gives_up();
        Err(ReadAnswerError::TooLarge { url: self.url(), limit: self.limit })
    }

    fn poll_unwanted(&mut self, cx: &mut Poller<'_>) -> Poll<ReadAnswerError> {
        let context = &self.wanted.context;
        let unwanted = self.unwanted.get_or_insert_with(|| {
            let context = context.clone();
            Box::pin(async move { context.cancelled().await })
        });
        let Poll::Ready(cause) = unwanted.as_mut().poll(cx) else { return Poll::Pending };
        self.unwanted = None;
        let (url, limit) = (self.url(), self.wanted.limit);
        Poll::Ready(if self.wanted.is_late(cause) {
            ReadAnswerError::TimedOut { url, limit }
        } else {
            ReadAnswerError::Cancelled { url, cause }
        })
    }

    fn came(&mut self, frame: Frame<Bytes>) -> Polled {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = self.left.checked_sub(length) else {
            let (url, limit) = (self.url(), self.limit);
            return self.fails(ReadAnswerError::TooLarge { url, limit });
        };
        self.left = left;
        if self.body.as_ref().is_some_and(Coded::is_over) {
            self.ends();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn ends(&mut self) {
        self.body = None;
        self.wanted.flight = None;
        self.unwanted = None;
        self.drain.read();
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ReadAnswerError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Polled {
        let this = self.get_mut();
        if this.body.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(error) = this.poll_unwanted(cx) {
            return this.fails(error);
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match body.poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.ends();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => this.came(frame),
            Poll::Ready(Some(Err(Failure::Body(error)))) => this.fails(error.into()),
            Poll::Ready(Some(Err(Failure::Coding { coding, source }))) => {
                let url = this.url();
                this.fails(ReadAnswerError::Coding { url, coding, source })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Coded::size_hint)
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.wanted.context.is_cancelled() {
            self.drain.given_up(body.into_rest(), self.is_shared);
        } else if self.is_shared {
            self.drain.reset(body.into_rest(), self.born_at);
        } else {
            self.drain.dropped(body.into_rest(), self.born_at);
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody")
            .field("url", &self.url)
            .field("is_over", &self.body.is_none())
            .finish_non_exhaustive()
    }
}
