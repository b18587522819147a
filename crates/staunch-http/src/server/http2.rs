//! HTTP/2 (RFC 9113): many requests at a time, each a child of the connection.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    ops::RangeInclusive,
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response,
    body::{Body, Incoming},
    rt::Executor,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use staunch_scope::{BoxError, Context, Isolate, ScopeBuilder, Wait, shield};
use tower_service::Service;

use super::{
    body::RequestBody,
    call::{Answered, answer},
    exchange::Exchange,
    leftovers::{Leftovers, Lingering},
    request::{Notes, Requests},
    socket::{Socket, Transport},
    taking::{Lookout, Taking, Watched},
    turns::{Queue, Turns},
};
use crate::limits::HttpLimits;

pub(super) async fn serve<S, B>(
    mut socket: Socket<impl Transport>,
    requests: &Requests<'_>,
    exchange: &Exchange,
    service: S,
) -> Result<(), hyper::Error>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let context = Context::current();
    socket.multiplex(requests.limits());
    let scope =
        ScopeBuilder::<Infallible>::new(&Context::current().without_cancel()).policy(Isolate);
    let limits = requests.limits();
    let taking = Taking::new(exchange.clone(), limits.stream_stall, limits.stream_buffer);
    let leftovers = Leftovers::default();
    let begun = AtomicU32::new(0);
    let is_full = || begun.load(Ordering::Relaxed) >= limits.requests;
    let ended = scope.run(async |scope| {
        let service = service_fn(|request: Request<Incoming>| {
            let is_head = request.method() == Method::HEAD;
            begun.fetch_add(1, Ordering::Relaxed);
            let stream = exchange.open_stream();
            let answer =
                answer(service.clone(), request, requests, Exchange::of_stream(&leftovers));
            taking.taken(Answered::new(answer, stream).over_http2(is_head))
        });
        let turns = Turns::new(scope.clone());
        let children =
            Children { taking: taking.clone(), notes: requests.notes(), queue: turns.queue() };
        let builder = builder(limits, children);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let mut stop = pin!(context.cancelled());
        let (mut is_stopping, mut lookout) = (false, Lookout::default());
        let mut lingering = Lingering::default();
        let ended = poll_fn(|cx| {
            lingering.poll(&leftovers, is_stopping, cx);
            let mut polled = connection.as_mut().poll(cx);
            if polled.is_pending() && turns.begin() {
                polled = connection.as_mut().poll(cx); // sends their answers
                turns.begin_soon(cx);
            }
            if polled.is_pending() && lookout.poll(&taking, cx).is_ready() {
                requests.notes().stalled(limits.stream_stall, "the connection was cut");
                return Poll::Ready(Ok(()));
            }
            if is_stopping || polled.is_ready() {
                return polled;
            }
            if !is_full() && stop.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
            let polled = connection.as_mut().poll(cx);
            turns.begin_soon(cx);
            polled
        })
        .await;
        scope.stop(); // its client has left: see `Child`
        turns.begin(); // those that have not begun hear it, too
        Ok(ended)
    });
    // Shielded: its requests do not hear of the end, and it is not over before they are.
    shield(ended).await.result.unwrap_or(Ok(()))
}

/// No PING is sent to see whether the client is there: a request has its time, what is sent to it the
/// watchdog, and what waits for it `idle`.
fn builder(limits: &HttpLimits, children: Children) -> http2::Builder<Children> {
    const FRAME_BYTES: RangeInclusive<u32> = 16 << 10..=(1 << 24) - 1; // RFC 9113, 4.2
    let mut builder = http2::Builder::new(children);
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(head_bytes)
        .max_send_buf_size(limits.stream_buffer)
        .max_pending_accept_reset_streams(limits.resets)
        .max_local_error_reset_streams(limits.resets)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.frame_bytes.clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end()));
    builder
}

/// What h2 had enough of, if that is why the connection ended: resets, or a head that did not end.
pub(super) fn excess(error: &hyper::Error) -> Option<&h2::Error> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    let is_ours = error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    is_ours.then_some(error)
}

/// Starts what hyper would spawn as a child of the connection.
#[derive(Clone)]
struct Children {
    taking: Taking,
    notes: Notes,
    queue: Queue,
}

impl<F> Executor<F> for Children
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (stream, notes) = (self.taking.watched(stream), self.notes);
        self.queue.add(Child { left: Wait::new(), stream, notes });
    }
}

pin_project! {
    /// What hyper would spawn. By hand: an `async` block would hold it twice.
    ///
    /// It is asked to stop when its connection is gone, and by nobody else: then it ends at once, and
    /// is not forced. What its handler's own scopes shield has their grace.
    struct Child<F> {
        left: Wait,
        #[pin]
        stream: Watched<F>,
        notes: Notes,
    }
}

impl<F: Future<Output = ()>> Future for Child<F> {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.left.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !ready!(this.stream.as_mut().poll(cx)) {
            this.notes.stalled(this.stream.limit(), "the stream was reset");
        }
        Poll::Ready(Ok(()))
    }
}
