//! Whether an HTTP/2 client takes what there is for it.
//!
//! The watchdog below sees whether a connection takes bytes. A client can do so, and yet give one
//! stream, or all of them, no window: then its answer, and what its handler keeps for it, would stay
//! for as long as the client says PING. So answers are handed over in pieces, and
//! - while more of an answer is to come, its request knows when it could hand over the last piece. If
//!   that is too long ago it ends, and so does its stream (RST_STREAM);
//! - when the request is over, h2 has the last pieces: two at most, of which the second may take twice
//!   as long. Each says when it goes, to the count of the connection, which is cut when one has been
//!   there for longer.
//!
//! Neither counts the time in which the socket takes nothing more: that is not for want of a window, and
//! the watchdog sees it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response,
    body::{Body, Frame, SizeHint},
};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::{body::keep_until_sent, exchange::Exchange};

/// How one client takes what there is for it.
#[derive(Clone, Debug)]
pub(super) struct Taking(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    exchange: Exchange,
    /// A piece that is not taken within it is too long there.
    limit: Duration,
    /// A piece has at most so many bytes.
    piece: usize,
    /// Pieces that h2 has, by the period of `limit` in which they were handed over.
    pieces: [AtomicU32; PERIODS],
    now: AtomicU32,
    /// The stream that is about to be started.
    next: Mutex<Option<Progress>>,
}

/// At the end of a period a piece of that before the last is at least two periods old.
const PERIODS: usize = 4;

impl Taking {
    pub(super) fn new(exchange: Exchange, limit: Duration, piece: usize) -> Taking {
        let (pieces, now) = (Default::default(), AtomicU32::new(0));
        let (piece, next) = (piece.max(1), Mutex::new(None));
        Taking(Arc::new(Counts { exchange, limit, piece, pieces, now, next }))
    }

    /// The answer that `answering` makes, taken piece by piece. hyper is about to start its stream.
    pub(super) fn taken<F>(&self, answering: F) -> Taken<F> {
        let progress = Progress::default();
        *self.next() = Some(progress.clone());
        Taken { answering, taking: self.clone(), progress }
    }

    /// What hyper starts now, which ends when the client takes nothing of its answer.
    pub(super) fn watched<F>(&self, stream: F) -> Watched<F> {
        let progress = self.next().take();
        Watched { stream, taking: self.clone(), progress, last: None, due: None }
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handed_over(&self, bytes: Bytes) -> Bytes {
        let period = self.0.now.load(Ordering::Relaxed);
        self.0.count(period).fetch_add(1, Ordering::Relaxed);
        keep_until_sent(bytes, Piece { taking: self.clone(), period })
    }

    /// Whether h2 has anything.
    fn is_some(&self) -> bool {
        self.0.pieces.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// A period has passed; whether a piece has been there for two of them.
    fn is_stalled(&self) -> bool {
        let period = self.0.now.fetch_add(1, Ordering::Relaxed);
        self.0.count(period.wrapping_sub(2)).load(Ordering::Relaxed) > 0
    }
}

impl Counts {
    fn count(&self, period: u32) -> &AtomicU32 {
        let [a, b, c, d] = &self.pieces;
        [a, b, c, d][period as usize % PERIODS]
    }
}

/// What h2 has.
struct Piece {
    taking: Taking,
    period: u32,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.taking.0.count(self.period).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks after the pieces that h2 has.
#[derive(Default)]
pub(super) struct Lookout {
    due: Option<Pin<Box<Sleep>>>,
    /// How often the socket had taken nothing more.
    blocked: u32,
}

impl Lookout {
    /// Ready when the client has not taken one of them for too long.
    pub(super) fn poll(&mut self, taking: &Taking, cx: &mut Poller<'_>) -> Poll<()> {
        if !taking.is_some() {
            self.due = None;
            return Poll::Pending;
        }
        let period = taking.0.limit;
        loop {
            let due = self.due.get_or_insert_with(|| Box::pin(sleep(period)));
            ready!(due.as_mut().poll(cx));
            due.as_mut().reset(Instant::now() + period);
            let blocked = taking.0.exchange.blocked();
            if taking.is_stalled() && blocked == Some(self.blocked) {
                return Poll::Ready(());
            }
            self.blocked = blocked.unwrap_or(self.blocked);
        }
    }
}

/// How far an answer has come.
#[derive(Clone, Debug, Default)]
struct Progress(Arc<Step>);

#[derive(Debug, Default)]
struct Step {
    /// Pieces that were asked for.
    asked: AtomicU32,
    /// The last was handed over: the client is waited for, not the handler.
    is_handed_over: AtomicBool,
}

pin_project! {
    /// What hyper would spawn, as long as the client takes what it makes.
    pub(super) struct Watched<F> {
        #[pin]
        stream: F,
        taking: Taking,
        progress: Option<Progress>,
        // What was seen when the timer was set.
        last: Option<(u32, Option<u32>)>,
        due: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Watched<F> {
    /// What the client had for taking a piece.
    pub(super) fn limit(&self) -> Duration {
        self.taking.0.limit
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    /// Whether it came to its end.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<bool> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        let Some(Progress(step)) = this.progress else { return Poll::Pending };
        if !step.is_handed_over.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let Counts { limit, exchange, .. } = &*this.taking.0;
        let now = Some((step.asked.load(Ordering::Relaxed), exchange.blocked()));
        let due = this.due.get_or_insert_with(|| {
            *this.last = now;
            Box::pin(sleep(*limit))
        });
        loop {
            ready!(due.as_mut().poll(cx));
            if *this.last == now && now.is_some_and(|(_, blocked)| blocked.is_some()) {
                return Poll::Ready(false);
            }
            *this.last = now;
            due.as_mut().reset(Instant::now() + *limit);
        }
    }
}

pin_project! {
    /// An answer in the making that is taken piece by piece.
    pub(super) struct Taken<F> {
        #[pin]
        answering: F,
        taking: Taking,
        progress: Progress,
    }
}

impl<F, B, E> Future for Taken<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Pieces<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answering.poll(cx))?;
        let (taking, progress) = (this.taking.clone(), this.progress.clone());
        Poll::Ready(Ok(answer.map(|body| Pieces { body, rest: Bytes::new(), taking, progress })))
    }
}

pin_project! {
    /// The body of an answer, in pieces.
    pub(super) struct Pieces<B> {
        #[pin]
        body: B,
        // Of what the body has made.
        rest: Bytes,
        taking: Taking,
        progress: Progress,
    }
}

impl<B: Body<Data = Bytes>> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Progress(step) = this.progress;
        step.asked.fetch_add(1, Ordering::Relaxed);
        if this.rest.is_empty() {
            step.is_handed_over.store(false, Ordering::Relaxed);
            match ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        step.is_handed_over.store(true, Ordering::Relaxed);
        let most = this.taking.0.piece.min(this.rest.len());
        let piece = this.rest.split_to(most);
        let piece = if piece.is_empty() { piece } else { this.taking.handed_over(piece) };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
