//! HTTP/2 (RFC 9113): many requests at a time, each a child of the connection.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response, body::Body, rt::Executor, server::conn::http2, service::service_fn,
};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use staunch_scope::{BoxError, Context, Isolate, Scope, ScopeBuilder, shield};
use tower_service::Service;

use super::{
    body::RequestBody,
    call::{Answered, answer},
    exchange::Exchange,
    request::Requests,
    socket::{Socket, Transport},
};
use crate::limits::HttpLimits;

/// Bytes that a client may send on one stream, and on all together, before they are read: what a
/// link of 100 Mbit/s holds at 20 ms, and four streams of it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Streams that a client has reset before they were taken up. Beyond it the connection ends (rapid
/// reset, CVE-2023-44487).
const RESETS: usize = 20;

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
    socket.multiplex();
    let scope = ScopeBuilder::<Infallible>::new(&Context::current().without_cancel())
        .policy(Isolate)
        .grace(Duration::ZERO);
    let begun = AtomicU32::new(0);
    let is_full = || begun.load(Ordering::Relaxed) >= requests.limits().requests;
    let ended = scope.run(async |scope| {
        let service = service_fn(|request| {
            begun.fetch_add(1, Ordering::Relaxed);
            let stream = exchange.open_stream();
            let answer = answer(service.clone(), request, requests, Exchange::default());
            Answered::new(answer, stream)
        });
        let builder = builder(requests.limits(), Children(scope.clone()));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let mut stop = pin!(context.cancelled());
        let mut is_stopping = false;
        let ended = poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            if is_stopping || polled.is_ready() {
                return polled;
            }
            if !is_full() && stop.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
            connection.as_mut().poll(cx)
        })
        .await;
        scope.stop(); // whose client has left
        Ok(ended)
    });
    // Shielded: its requests do not hear of the end, and it is not over before they are.
    shield(ended).await.result.unwrap_or(Ok(()))
}

fn builder(limits: &HttpLimits, children: Children) -> http2::Builder<Children> {
    let mut builder = http2::Builder::new(children);
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(head_bytes)
        .max_send_buf_size(limits.stream_buffer)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Starts what hyper would spawn as a child of the connection.
#[derive(Clone)]
struct Children(Scope<Infallible>);

impl<F> Executor<F> for Children
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn_named("request", Child { stream });
    }
}

pin_project! {
    /// What hyper would spawn. By hand: an `async` block would hold it twice.
    struct Child<F> {
        #[pin]
        stream: F,
    }
}

impl<F: Future<Output = ()>> Future for Child<F> {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        self.project().stream.poll(cx).map(Ok)
    }
}
