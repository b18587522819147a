//! The server: connections of a listener, answered by a service.
//!
//! Plain requests of HTTP/1.1 are answered here ([`quick`]); all others are hyper's, of which the first
//! bytes of a connection say whether it speaks HTTP/1 or HTTP/2 ([`sniff`]). It is between two things of
//! ours: a socket below ([`socket`]), which tells the watchdog what the connection waits for, and bodies
//! above ([`body`]), which have limits and keep what their memory counts for until it is sent.

pub(crate) mod alarm;
pub(crate) mod body;
mod call;
pub(crate) mod exchange;
#[cfg(feature = "files")]
pub(crate) mod files;
mod frames;
mod framing;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod handler;
mod head;
mod http1;
mod http2;
mod leftovers;
pub(crate) mod link;
mod quick;
#[cfg(feature = "files")]
mod range;
mod refusal;
pub(crate) mod refused;
mod request;
pub(crate) mod resting;
mod sniff;
pub(crate) mod socket;
mod taking;
mod turns;
mod unread;
pub(crate) mod upgrade;
pub mod wire;

use std::{convert::Infallible, future::Future, ops::Deref, panic::Location, pin::pin, sync::Arc};

use bytes::Bytes;
use hyper::{Request, Response, body::Body};
use staunch_net::{Listener, Served, TlsConfig};
use staunch_scope::{BoxError, Context};
use tokio::time::Instant;
use tower_service::Service;

use self::{
    body::RequestBody,
    exchange::Exchange,
    quick::{Quick, Turn},
    refused::{Hears, Refused},
    request::{Notes, Origin, Requests},
    resting::{Resting, take_turns},
    sniff::Version,
    socket::{Socket, Transport},
    wire::Alarm,
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
    hears: Hears,
}

impl Server {
    /// A server with these limits; those of its connections are the listener's.
    pub fn new(limits: HttpLimits) -> Server {
        Server { limits: Arc::new(limits), hears: Hears::default() }
    }

    /// The same server, which tells `hears` of each request that it refuses before `service` is asked: for
    /// logs and metrics. It is called where connections are served, and must not block.
    ///
    /// # Examples
    /// ```
    /// let server = staunch_http::Server::default().hear_refused(|refused| {
    ///     println!("{} for {:?}", refused.status, refused.peer);
    /// });
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn hear_refused(self, hears: impl Fn(&Refused<'_>) + Send + Sync + 'static) -> Server {
        Server { hears: Hears::new(hears), ..self }
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
        let site = self.site(Location::caller(), service);
        listener.serve(context, move |connection| site.clone().serve(connection))
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
        let site = self.site(Location::caller(), service);
        listener.serve_tls(context, tls, move |connection| site.clone().serve(connection))
    }

    /// Answers what the client of `resting` says, of which `heard` has come already, until nothing of it
    /// is in hand: then it rests again. A head of which that is a part must be whole by `head_due`; within
    /// `head_time`, if that is `None`. `None` when it has ended. For those who answer some requests by
    /// themselves, and hand over a connection whose next one they leave to this server.
    ///
    /// # Errors
    /// As [`serve`].
    ///
    /// # Cancel safety
    /// As [`serve`].
    #[track_caller]
    pub fn resume<'r, T, S, B>(
        &'r self,
        resting: Resting<T>,
        (heard, head_due): (&'r [u8], Option<Instant>),
        service: S,
    ) -> impl Future<Output = Result<Option<Resting<T>>, ServeHttpError>> + Send + use<'r, T, S, B>
    where
        T: Transport,
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (born_at, limits) = (Location::caller(), &*self.limits);
        let site = Site { born_at, limits, hears: self.hears.clone(), service };
        async move { site.work(resting, (heard, head_due)).await }
    }

    fn site<S>(
        &self,
        born_at: &'static Location<'static>,
        service: S,
    ) -> Arc<Site<Arc<HttpLimits>, S>> {
        let (limits, hears) = (Arc::clone(&self.limits), self.hears.clone());
        Arc::new(Site { born_at, limits, hears, service })
    }
}

/// Answers the requests of one connection with `service`, until the client leaves or the running
/// task is asked to stop.
///
/// A handler is dropped when its client leaves. While it works the watchdog lets the connection
/// be, and each poll of it counts as progress on the ledger; while it waits for the request's
/// body, or the client for the rest of an answer's body, the limits of the listener hold: `idle`
/// is the pause between two requests, `read_stall` one within a request. Its `message` is not for
/// HTTP: [`HttpLimits`] bound how long a request may take to come.
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
    let (born_at, hears) = (Location::caller(), Hears::default());
    Arc::new(Site { born_at, limits, hears, service }).serve(transport)
}

/// What the connections of one line have in common.
struct Site<L, S> {
    born_at: &'static Location<'static>,
    limits: L,
    hears: Hears,
    service: S,
}

impl<L, S, B> Site<L, S>
where
    L: Deref<Target = HttpLimits>,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// Answers the requests of one connection.
    fn serve<T: Transport>(
        self: Arc<Self>,
        transport: T,
    ) -> impl Future<Output = Result<(), ServeHttpError>> + Send
    where
        L: Send + Sync,
    {
        take_turns(transport, move |resting, heard| {
            let site = Arc::clone(&self);
            async move { site.work(resting, (heard.bytes(), None)).await }
        })
    }

    /// Answers them from the first word on, until there is nothing to do; `None` at the end.
    async fn work<T: Transport>(
        &self,
        resting: Resting<T>,
        heard: (&[u8], Option<Instant>),
    ) -> Result<Option<Resting<T>>, ServeHttpError> {
        let ledger = resting.transport.account().ledger();
        let origin = Origin::new(self.born_at, ledger, &self.limits, &self.hears);
        let requests = Requests::of(origin, &resting.transport);
        let alarm = pin!(Alarm::default());
        let quick = Quick::new(resting, heard, &requests, alarm);
        match quick.talk(&self.service).await? {
            Turn::Rests(resting) => Ok(Some(resting)),
            Turn::Other(resting, said, head_due) => {
                Box::pin(self.long(resting, (&said, head_due), &requests)).await
            }
            Turn::Ended => Ok(None),
        }
    }

    /// As [`work`](Site::work), by hyper.
    async fn long<T: Transport>(
        &self,
        resting: Resting<T>,
        (said, head_due): (&[u8], Option<Instant>),
        requests: &Requests<'_>,
    ) -> Result<Option<Resting<T>>, ServeHttpError> {
        let (transport, is_first) = (resting.transport, resting.begun == 0);
        let exchange = Exchange::after(resting.begun);
        let mut socket =
            Socket::new(transport, exchange.clone(), (self.limits.head_time, head_due), said);
        let version = if is_first { sniff::version(&mut socket).await } else { Version::Http1 };
        let ended = match version {
            Version::Http1 => loop {
                match http1::serve(socket, requests, &exchange, &self.service).await {
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                    Ok(Some(parked)) => match parked.rest() {
                        Err(said_more) => socket = said_more,
                        Ok(transport) => {
                            return Ok(Some(Resting { transport, begun: exchange.begun() }));
                        }
                    },
                }
            },
            Version::Http2 => {
                Box::pin(http2::serve(socket, requests, &exchange, self.service.clone())).await
            }
        };
        if let Some(status) = exchange.refused() {
            requests.refused(status, None);
        }
        note(&requests.notes(), &self.limits, &exchange, ended.as_ref().err());
        ended.map(|()| None).map_err(|error| ServeHttpError::new(error, &self.limits, &exchange))
    }
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
