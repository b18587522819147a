//! HTTP/1 (RFC 9110, RFC 9112): one request after the other.
//!
//! Between two requests hyper keeps its buffers and its state: ten kilobytes for a client that may
//! never ask again. So a connection that has been idle for a while is *parked*: hyper is told to
//! end, the end does not reach the socket, and the next bytes are hyper's first on a connection
//! that is new to it. Not one whose client has ever asked for another protocol (`Upgrade`).

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::EXPECT,
    server::conn::http1::{self, Parts},
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use staunch_scope::{BoxError, Context};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, Sleep, sleep},
};
use tower_service::Service;

use super::{
    body::RequestBody,
    call::{Answered, answer},
    exchange::Exchange,
    request::Requests,
    socket::{Socket, Transport},
    unread::Settled,
    upgrade::{Finding, Next},
};
use crate::limits::HttpLimits;

/// hyper can hold no less.
const HEAD_BYTES_MIN: usize = 8 << 10;

/// Answers requests until the connection ends, or has been idle for so long that it is parked: then
/// its socket comes back.
pub(super) async fn serve<T, S, B>(
    socket: Socket<T>,
    requests: &Requests<'_>,
    exchange: &Exchange,
    service: &S,
) -> Result<Option<Socket<T>>, hyper::Error>
where
    T: Transport,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    let limits = requests.limits();
    let (context, next) = (Context::current(), Next::default());
    let service = service_fn(|request: Request<Incoming>| {
        let handling = exchange.begin();
        let is_expecting = request.headers().contains_key(EXPECT);
        let asked = request.extensions().get::<OnUpgrade>().cloned();
        let answer = answer(service.clone(), request, requests, exchange.clone());
        let is_last = exchange.begun() >= limits.requests || context.is_cancelled();
        let answered = Answered::new(answer, handling);
        let settled = Settled::new(answered, exchange.clone(), is_expecting);
        Finding::new(settled, (&next, exchange, asked), is_last)
    });
    let mut connection =
        builder(limits).serve_connection(TokioIo::new(socket), service).with_upgrades();
    let mut idle = Idle::new(limits.park_after);
    let mut stop = pin!(context.cancelled());
    let mut is_stopping = false;
    poll_fn(|cx| {
        // Before it hears of a stop: hyper would close what it has not read yet.
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(ended);
        }
        if !is_stopping && stop.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
            return Pin::new(&mut connection).poll(cx);
        }
        if is_stopping || next.is_declined() {
            return Poll::Pending;
        }
        ready!(idle.poll(exchange, cx));
        if !exchange.park() {
            return idle.poll_again(cx);
        }
        Pin::new(&mut connection).graceful_shutdown();
        Pin::new(&mut connection).poll(cx)
    })
    .await?;
    if exchange.is_parked() {
        exchange.unpark();
        let parked = connection.into_parts().map(unparked);
        return Ok(parked.filter(|socket| !socket.is_in_message()));
    }
    match connection.into_parts() {
        Some(parts) if exchange.is_cut_short() => parts.io.into_inner().linger().await,
        Some(_) => {} // hyper has ended it
        None if next.is_declined() => {
            if let Some(socket) = next.declined::<Socket<T>>().await {
                end(socket, exchange).await;
            }
        }
        None => {
            exchange.upgrade();
            if let Some(speaking) = next.take() {
                speaking.await;
            }
        }
    }
    Ok(None)
}

/// Ends a connection as hyper does, when that has not.
async fn end<T: Transport>(mut socket: Socket<T>, exchange: &Exchange) {
    if exchange.is_cut_short() {
        socket.linger().await;
    } else {
        let _ = socket.shutdown().await; // the client may have gone meanwhile
    }
}

/// The socket, with what hyper has read and not understood.
fn unparked<T: Transport, S>(parts: Parts<TokioIo<Socket<T>>, S>) -> Socket<T> {
    let mut socket = parts.io.into_inner();
    socket.unread(parts.read_buf);
    socket
}

/// How long a connection has been idle. One timer at a time, however many requests there are.
struct Idle {
    after: Duration,
    /// The count of requests when the timer was set.
    timer: Option<(u32, Pin<Box<Sleep>>)>,
}

impl Idle {
    fn new(after: Duration) -> Idle {
        Idle { after, timer: None }
    }

    /// Ready when there was no request for so long.
    fn poll(&mut self, exchange: &Exchange, cx: &mut Poller<'_>) -> Poll<()> {
        let Some(now) = exchange.idle_since() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| (now, Box::pin(sleep(self.after))));
        while timer.1.as_mut().poll(cx).is_ready() {
            if timer.0 == now {
                return Poll::Ready(());
            }
            timer.0 = now;
            timer.1.as_mut().reset(Instant::now() + self.after);
        }
        Poll::Pending
    }

    /// The same once more, from now on: somebody has still the body of the last request.
    fn poll_again<R>(&mut self, cx: &mut Poller<'_>) -> Poll<R> {
        if let Some((_, timer)) = &mut self.timer {
            timer.as_mut().reset(Instant::now() + self.after);
            let _ = timer.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

fn builder(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    let head_bytes = limits.head_bytes.max(HEAD_BYTES_MIN);
    builder
        .header_read_timeout(None) // the socket has the clock
        .max_headers(limits.headers)
        .max_header_size(head_bytes)
        .max_buf_size(head_bytes);
    builder
}
