//! The server: connections of a listener, answered by a service.
//!
//! The first bytes of a connection say whether it speaks HTTP/1 or HTTP/2 ([`sniff`]). Both are
//! hyper's, between two things of ours: a socket below ([`socket`]), which tells the watchdog what
//! the connection waits for, and bodies above ([`body`]), which have limits and keep what their
//! memory counts for until it is sent.

pub(crate) mod body;
mod call;
pub(crate) mod exchange;
mod frames;
mod framing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod handler;
mod head;
mod http1;
mod http2;
mod refusal;
mod request;
mod sniff;
pub(crate) mod socket;
mod taking;
pub(crate) mod upgrade;

use std::{convert::Infallible, future::Future, panic::Location, sync::Arc};

use bytes::Bytes;
use hyper::{Request, Response, body::Body};
use staunch_net::{Listener, Served, TlsConfig};
use staunch_scope::{BoxError, Context};
use tower_service::Service;

use self::{
    body::RequestBody,
    exchange::Exchange,
    request::{Notes, Requests},
    sniff::Version,
    socket::{Socket, Transport},
};
use crate::{error::ServeHttpError, limits::HttpLimits};

/// Answers HTTP/1.1 and HTTP/2 with a bound on everything.
///
/// # Examples
/// ```no_run
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::Response;
/// use staunch_http::{Server, handler};
/// use staunch_net::{Listener, Served};
/// use staunch_scope::Context;
///
/// async fn hello(listener: Listener, context: &Context) -> Served {
///     let hello = handler(|_| async { Response::new(Full::new(Bytes::from("hello\n"))) });
///     Server::default().serve(listener, context, hello).await // or an axum router
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Server {
    limits: Arc<HttpLimits>,
}

impl Server {
    /// A server with these limits; those of its connections are the listener's.
    pub fn new(limits: HttpLimits) -> Server {
        Server { limits: Arc::new(limits) }
    }

    /// Accepts connections and answers their requests with `service`, until `context` is cancelled;
    /// then drains: see [`Listener::serve`], and for a connection [`serve`].
    ///
    /// # Cancel safety
    /// Dropping it closes the listener at once and leaves the connections the drain deadline.
    #[track_caller]
    pub fn serve<S, B>(
        &self,
        listener: Listener,
        context: &Context,
        service: S,
    ) -> impl Future<Output = Served> + use<S, B>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (limits, born_at) = (Arc::clone(&self.limits), Location::caller());
        listener.serve(context, move |connection| {
            let (limits, service) = (Arc::clone(&limits), service.clone());
            async move { serve_at(born_at, connection, &limits, service).await }
        })
    }

    /// [`serve`](Server::serve) over TLS. HTTP/2 is spoken with clients that choose it: offer `h2`
    /// and `http/1.1` in the configuration's ALPN.
    ///
    /// # Cancel safety
    /// As [`serve`](Server::serve).
    #[track_caller]
    pub fn serve_tls<S, B>(
        &self,
        listener: Listener,
        context: &Context,
        tls: &TlsConfig,
        service: S,
    ) -> impl Future<Output = Served> + use<S, B>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (limits, born_at) = (Arc::clone(&self.limits), Location::caller());
        listener.serve_tls(context, tls, move |connection| {
            let (limits, service) = (Arc::clone(&limits), service.clone());
            async move { serve_at(born_at, connection, &limits, service).await }
        })
    }
}

/// Answers the requests of one connection with `service`, until the client leaves or the running
/// task is asked to stop.
///
/// A handler is dropped when its client leaves. While it works the watchdog lets the connection
/// be, and each poll of it counts as progress on the ledger; while it waits for the request's
/// body, or the client for the rest of an answer's body, the limits of the listener hold: `idle`
/// is the pause between two requests, `read_stall` one within a request.
///
/// When the task is asked to stop, the answers in the making are finished, and the client is told
/// that there will be no others (`Connection: close`, GOAWAY). Handlers do not hear of it
/// ([`shield`](staunch_scope::shield)): they are dropped when the task is forced.
///
/// # Errors
/// [`ServeHttpError`], when the connection ended in the middle of something.
///
/// # Cancel safety
/// Dropping it closes the connection, in the middle of an answer if there is one.
#[track_caller]
pub fn serve<T, S, B>(
    transport: T,
    limits: &HttpLimits,
    service: S,
) -> impl Future<Output = Result<(), ServeHttpError>> + Send + use<'_, T, S, B>
where
    T: Transport,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    serve_at(Location::caller(), transport, limits, service)
}

/// [`serve`], for the requests of somebody else's line.
async fn serve_at<S, B>(
    born_at: &'static Location<'static>,
    transport: impl Transport,
    limits: &HttpLimits,
    service: S,
) -> Result<(), ServeHttpError>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let requests = Requests::new(born_at, transport.account(), limits);
    let exchange = Exchange::default();
    let mut socket = Socket::new(transport, exchange.clone(), limits.head_time);
    // Boxed: while nobody asks anything, the task holds the socket and no more.
    let ended = match sniff::version(&mut socket).await {
        None => Ok(()),
        Some(Version::Http1) => loop {
            match Box::pin(http1::serve(socket, &requests, &exchange, &service)).await {
                Ok(Some(parked)) => socket = parked,
                ended => break ended.map(drop),
            }
            if !sniff::hears(&mut socket).await {
                break Ok(());
            }
        },
        Some(Version::Http2) => Box::pin(http2::serve(socket, &requests, &exchange, service)).await,
    };
    note(&requests.notes(), limits, &exchange, ended.as_ref().err());
    ended.map_err(|error| ServeHttpError::new(error, limits, &exchange))
}

/// Notes what the connection had to be ended for, if it had.
fn note(notes: &Notes, limits: &HttpLimits, exchange: &Exchange, error: Option<&hyper::Error>) {
    if exchange.was_late() {
        let limit = limits.head_time;
        notes.observe("head-time", format!("no whole request head within {limit:?} (`head_time`)"));
    }
    if let Some(ambiguity) = exchange.ambiguity() {
        notes.observe("ambiguous-request", format!("refused: {}", ambiguity.text()));
    }
    if exchange.is_flooded() {
        let limit = limits.control_frames;
        let what = "more frames that bring nothing than";
        notes.observe("http2-flood", format!("{what} {limit} a second (`control_frames`)"));
    } else if let Some(error) = error.and_then(http2::excess) {
        notes.observe("http2-flood", error.to_string());
    }
}
