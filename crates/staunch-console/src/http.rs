//! One HTTP/1 connection (RFC 9110, RFC 9112), served by hyper with a bound on everything.
//!
//! [`serve`] answers the requests of one connection one after the other. A head or body that is
//! too large or too slow, and a peer that stops reading or says no more, all end in an error,
//! never in a wait without end: the first here, the others by the watchdog of the connection's
//! listener, whose `idle` is the pause between two requests and whose `read_stall` is one within
//! a request. When the task is asked to stop, the answer in the making is finished
//! and the connection closes after it (`Connection: close`).

mod body;
mod exchange;
mod socket;

use std::{error::Error, future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONNECTION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use staunch_scope::{BoxError, Context};

use self::{body::AnswerBody, exchange::Exchange, socket::Socket};

pub use self::{
    body::{RequestBody, SlowBodyError, keep_until_sent},
    socket::Transport,
};

/// What a request may cost before it is understood.
///
/// # Examples
/// ```
/// use staunch_console::http::HttpLimits;
/// let limits = HttpLimits { body_bytes: 0, ..HttpLimits::default() };
/// assert_eq!(limits.headers, 64);
/// ```
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Time for a whole request head, from its first byte. Default 20 s: a head is one packet or
    /// two, which may be lost several times. A pause before it is the listener's
    /// `Limits::idle`.
    pub head_time: Duration,
    /// Bytes of a request head. Default 16 KiB: browsers stay below 8 KiB, and one buffer of
    /// the listener holds it. At least 8 KiB, which hyper needs to read at all.
    pub head_bytes: usize,
    /// Headers of a request. Default 64: twice what a browser behind two proxies sends.
    pub headers: usize,
    /// Bytes of a request body. Default 1 MiB.
    pub body_bytes: usize,
    /// Time for a whole request body, from when its handler first waits for it. Default 60 s:
    /// the largest at 17 KiB a second, which every mobile link does.
    pub body_time: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            head_time: Duration::from_secs(20),
            head_bytes: 16 << 10,
            headers: 64,
            body_bytes: 1 << 20,
            body_time: Duration::from_mins(1),
        }
    }
}

/// hyper can hold no less.
const HEAD_BYTES_MIN: usize = 8 << 10;

/// A connection ended in the middle of something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeHttpError {
    /// The client was too slow.
    #[error("no whole request head within {limit:?} (`head_time`)")]
    HeadTime {
        /// The limit that was passed.
        limit: Duration,
    },
    /// The client does not speak HTTP/1, or its request is over a limit; it was told so.
    #[error("the request was refused: {0}")]
    Refused(hyper::Error),
    /// The client left before its answer was written.
    #[error("the client left before its answer was written")]
    ClientLeft,
    /// Reading or writing failed; the watchdog's reason if it was its doing.
    #[error("the connection broke: {}", deepest(.0))]
    Broken(hyper::Error),
}

impl ServeHttpError {
    fn new(error: hyper::Error, limits: &HttpLimits, exchange: &Exchange) -> ServeHttpError {
        if exchange.was_late() {
            ServeHttpError::HeadTime { limit: limits.head_time }
        } else if error.is_parse() {
            ServeHttpError::Refused(error)
        } else if error.is_incomplete_message() {
            ServeHttpError::ClientLeft
        } else {
            ServeHttpError::Broken(error)
        }
    }
}

/// The first cause of an error.
fn deepest(error: &hyper::Error) -> &dyn Error {
    let mut deepest: &(dyn Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
}

/// Answers the requests of one connection with `handler`, until the client leaves or the
/// running task is asked to stop.
///
/// A handler is dropped when its client leaves. While it works the watchdog lets the connection
/// be, and each poll of it counts as progress on the ledger; while it waits for the request's
/// body, or the client for the rest of an answer's body, the limits of the listener hold.
///
/// # Errors
/// [`ServeHttpError`], when the connection ended in the middle of something.
///
/// # Cancel safety
/// Dropping it closes the connection, in the middle of an answer if there is one.
///
/// # Examples
/// ```no_run
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::Response;
/// use staunch_console::http::{self, HttpLimits};
/// use staunch_net::{Listener, Served};
/// use staunch_scope::Context;
///
/// async fn hello(listener: Listener, context: &Context) -> Served {
///     let limits = Arc::new(HttpLimits::default());
///     let handler = |_request| async { Response::new(Full::new(Bytes::from("hello\n"))) };
///     listener
///         .serve(context, move |connection| {
///             let limits = Arc::clone(&limits);
///             async move { http::serve(connection, &limits, handler).await }
///         })
///         .await
/// }
/// ```
pub async fn serve<H, F, B>(
    transport: impl Transport,
    limits: &HttpLimits,
    handler: H,
) -> Result<(), ServeHttpError>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let context = Context::current();
    let exchange = Exchange::default();
    let socket = Socket::new(transport, exchange.clone(), limits.head_time);
    let service = service_fn(|request| {
        let handling = exchange.begin();
        let answer = within(limits, request, &exchange).map(&handler);
        let exchange = exchange.clone();
        async move {
            let _handling = handling;
            let answer = match answer {
                Ok(answer) => answer.await.map(Either::Left),
                Err(refusal) => (*refusal).map(Either::Right),
            };
            Ok::<_, std::convert::Infallible>(answer.map(|body| AnswerBody::new(body, exchange)))
        }
    });
    let connection = builder(limits).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = context.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|error| ServeHttpError::new(error, limits, &exchange))
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

/// The request with its body limited; a refusal when it announces more.
fn within(
    limits: &HttpLimits,
    request: Request<Incoming>,
    exchange: &Exchange,
) -> Result<Request<RequestBody>, Box<Response<Full<Bytes>>>> {
    let announced = request.body().size_hint().lower();
    if announced <= limits.body_bytes as u64 {
        return Ok(request.map(|body| RequestBody::new(body, limits, exchange.clone())));
    }
    let text = format!(
        "The request announces a body of {announced} bytes; at most {} are taken.\n",
        limits.body_bytes
    );
    let mut refusal = Response::new(Full::new(Bytes::from(text)));
    *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    let headers = refusal.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close")); // its body was not read
    Err(Box::new(refusal))
}
