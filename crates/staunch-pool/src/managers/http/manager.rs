//! Makes HTTP connections.

use std::{
    fmt,
    future::poll_fn,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use hyper::{
    client::conn::{http1, http2},
    rt::{Read, Write},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use staunch_net::{DialOptions, Dialer, HttpProxy, TlsTrust};
use staunch_scope::{Context, Scope};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};

use super::{
    connection::HttpConnection,
    error::ConnectHttpError,
    life::Life,
    multiplex::{Group, Limit},
    options::{HttpOptions, HttpProtocol},
};
use crate::{
    manager::{Condition, Manager},
    managers::driver::Drivers,
};

/// Makes connections to one HTTP server, for a [`Pool`](crate::Pool) or, with several servers, a
/// [`KeyedPool`](crate::KeyedPool).
///
/// A pooled connection is one request in flight: over HTTP/1 a connection, over HTTP/2 a stream of
/// one that others share. `max_total` bounds requests in flight, whatever is spoken.
///
/// What makes a connection into another is not for a pool: `CONNECT` and `Upgrade` are refused. So
/// is `Expect`: there is nobody to wait for the 100.
///
/// # Examples
/// ```no_run
/// use http_body_util::BodyExt;
/// use hyper::Request;
/// use staunch_pool::{Http, Pool, PoolOptions};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let pool = Pool::new(&s, Http::tcp(&s, "upstream:8080"), PoolOptions::default())?;
///     let answer = pool.send(Request::get("/health").body(())?).await?;
///     println!("{}: {:?}", answer.status(), answer.into_body().collect().await?.to_bytes());
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub struct Http {
    server: Arc<Server>,
    dialer: Dialer,
    drivers: Arc<Drivers>,
    group: Arc<Group>,
    /// Of those who might share a connection, one dials.
    turn: Semaphore,
    /// What a negotiation has led to: [`UNKNOWN`], [`HTTP1`] or [`HTTP2`].
    spoken: AtomicU8,
}

/// The most that is read ahead of an HTTP/1 answer whose body nobody takes, and the longest head of
/// one. hyper's own bound is 408 KiB, which each slow reader of a long body would hold.
const READ_MAX: usize = 64 << 10;

/// Streams that are begun before the server has said how many it takes. One that takes no more is
/// not told apart from one that has not spoken: its requests wait for each other.
const UNTIL_TOLD: usize = 1;

const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

/// Whom the connections lead to.
#[derive(Clone, Debug)]
pub(super) struct Server {
    target: Target,
    pub(super) address: String,
    /// What it is called, if a request does not say.
    pub(super) name: String,
    pub(super) proxy: Option<HttpProxy>,
    pub(super) options: HttpOptions,
}

#[derive(Clone, Debug)]
enum Target {
    Tcp,
    Tls { server_name: String, trust: TlsTrust },
    Unix(PathBuf),
}

impl Server {
    pub(super) fn is_secure(&self) -> bool {
        matches!(self.target, Target::Tls { .. })
    }

    /// The proxy that is sent the requests themselves.
    pub(super) fn relay(&self) -> Option<&HttpProxy> {
        self.proxy.as_ref().filter(|_| matches!(self.target, Target::Tcp))
    }

    /// What is spoken, as far as it is known before: to a relay HTTP/1, since HTTP/2 cannot be
    /// agreed on with it.
    fn protocol(&self) -> HttpProtocol {
        if self.relay().is_some() { HttpProtocol::Http1 } else { self.options.protocol }
    }
}

impl Http {
    /// Plain connections to `host:port`. The tasks of the connections are children of `scope`,
    /// born on the caller's line.
    #[track_caller]
    pub fn tcp<E: Send + 'static>(scope: &Scope<E>, address: impl Into<String>) -> Http {
        let address = address.into();
        Http::new(scope, Target::Tcp, address.clone(), address)
    }

    /// TLS connections to `host:port`, with a server that must prove to be `server_name`. What is
    /// spoken is agreed upon, if `trust` was made with protocols: `["h2", "http/1.1"]`.
    #[track_caller]
    pub fn tls<E: Send + 'static>(
        scope: &Scope<E>,
        address: impl Into<String>,
        server_name: impl Into<String>,
        trust: TlsTrust,
    ) -> Http {
        let (address, server_name) = (address.into(), server_name.into());
        let port = address.rsplit_once(':').map_or("443", |(_, port)| port);
        let name = match port {
            "443" => server_name.clone(),
            port => format!("{server_name}:{port}"),
        };
        Http::new(scope, Target::Tls { server_name, trust }, address, name)
    }

    /// Connections to a Unix socket. Requests that name no server go to `localhost`.
    #[track_caller]
    pub fn unix<E: Send + 'static>(scope: &Scope<E>, path: impl Into<PathBuf>) -> Http {
        let path = path.into();
        let address = format!("unix:{}", path.display());
        Http::new(scope, Target::Unix(path), address, "localhost".to_owned())
    }

    #[track_caller]
    fn new<E: Send + 'static>(
        scope: &Scope<E>,
        target: Target,
        address: String,
        name: String,
    ) -> Http {
        let options = HttpOptions::default();
        Http {
            server: Arc::new(Server { target, address, name, proxy: None, options }),
            dialer: Dialer::owned(scope, DialOptions::default()),
            drivers: Arc::new(Drivers::new(scope)),
            group: Arc::default(),
            turn: Semaphore::new(1),
            spoken: AtomicU8::new(UNKNOWN),
        }
    }

    /// How requests are sent.
    #[must_use]
    pub fn options(mut self, options: HttpOptions) -> Http {
        let server = Arc::unwrap_or_clone(self.server);
        self.server = Arc::new(Server { options, ..server });
        self
    }

    /// Whom to go through: a TLS connection by `CONNECT`, a plain one by sending the proxy whole
    /// requests (RFC 9112, section 3.2.2), in HTTP/1.1. A Unix socket is not affected.
    ///
    /// The proxy resolves the name. What it answers to a request is that request's answer, errors
    /// of its own included; a `CONNECT` that it refuses is an error.
    #[must_use]
    pub fn through(mut self, proxy: HttpProxy) -> Http {
        let server = Arc::unwrap_or_clone(self.server);
        self.server = Arc::new(Server { proxy: Some(proxy), ..server });
        self
    }

    /// How sockets are dialled, for instance watched within limits. They should belong to a scope,
    /// as by [`Dialer::owned`] or [`Dialer::watched`]: they outlive the task that dials them.
    #[must_use]
    pub fn dialer(mut self, dialer: Dialer) -> Http {
        self.dialer = dialer;
        self
    }

    /// Whether a connection may turn out to be one that others can share.
    fn may_share(&self) -> bool {
        match self.server.protocol() {
            HttpProtocol::Http1 => false,
            HttpProtocol::Http2 => true,
            HttpProtocol::Negotiated => {
                self.server.is_secure() && self.spoken.load(Ordering::Relaxed) != HTTP1
            }
        }
    }

    fn shared(&self) -> Option<HttpConnection> {
        let slot = self.group.slot(self.server.options.max_lifetime)?;
        Some(HttpConnection::http2(slot, &self.server))
    }

    async fn dial(&self) -> Result<HttpConnection, ConnectHttpError> {
        let (born_at, context) = (self.drivers.born_at, Context::current());
        let Server { target, address, proxy, .. } = &*self.server;
        let prior = self.server.protocol() == HttpProtocol::Http2;
        match target {
            Target::Tcp => {
                let socket = match proxy {
                    Some(proxy) => self.dialer.proxy_at(born_at, context, proxy).await?,
                    None => self.dialer.tcp_at(born_at, context, address.as_str()).await?,
                };
                self.speak(socket, prior).await
            }
            Target::Unix(path) => {
                let socket = self.dialer.unix_at(born_at, context, path).await?;
                self.speak(socket, prior).await
            }
            Target::Tls { server_name, trust } => {
                let peer = (server_name.clone(), trust.clone());
                let (dialer, address) = (&self.dialer, address.as_str());
                let socket = match proxy {
                    Some(proxy) => {
                        dialer.tls_through_at(born_at, context, proxy, address, peer).await?
                    }
                    None => dialer.tls_at(born_at, context, address, peer).await?,
                };
                let is_http2 = prior || self.is_http2(socket.alpn());
                self.speak(socket, is_http2).await
            }
        }
    }

    /// What was agreed on; it is remembered.
    fn is_http2(&self, alpn: Option<&[u8]>) -> bool {
        let negotiates = self.server.options.protocol == HttpProtocol::Negotiated;
        let is_http2 = negotiates && alpn == Some(b"h2");
        self.spoken.store(if is_http2 { HTTP2 } else { HTTP1 }, Ordering::Relaxed);
        is_http2
    }

    async fn speak<T>(&self, socket: T, http2: bool) -> Result<HttpConnection, ConnectHttpError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let life = Life::default();
        let socket = TokioIo::new(life.listens(socket));
        let spoken =
            if http2 { self.http2(socket, life).await } else { self.http1(socket, life).await };
        spoken.map_err(|source| ConnectHttpError::Handshake {
            address: self.server.address.clone(),
            source,
        })
    }

    async fn http1<T>(&self, socket: T, life: Life) -> hyper::Result<HttpConnection>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let handshake = http1::Builder::new().max_buf_size(READ_MAX).handshake(socket);
        let (sender, driver) = handshake.await?;
        life.tasks(&self.drivers).start(async {
            if let Err(error) = driver.await {
                tracing::debug!("http/1: {error}");
            }
        });
        Ok(HttpConnection::http1(sender, life, &self.server))
    }

    async fn http2<T>(&self, socket: T, life: Life) -> hyper::Result<HttpConnection>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let HttpOptions { max_concurrent_streams, ping_interval, ping_timeout, .. } =
            self.server.options;
        let tasks = life.tasks(&self.drivers);
        let (sender, mut driver) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(ping_interval)
            .keep_alive_timeout(ping_timeout)
            .keep_alive_while_idle(true)
            .initial_max_send_streams(UNTIL_TOLD)
            .handshake(socket)
            .await?;
        let limit = Arc::new(Limit::new(max_concurrent_streams));
        let known = Arc::clone(&limit);
        tasks.start(poll_fn(move |cx| {
            let polled = std::pin::Pin::new(&mut driver).poll(cx);
            let most = driver.current_max_send_streams();
            if most != UNTIL_TOLD {
                known.set(most);
            }
            polled.map(|ended| {
                if let Err(error) = ended {
                    tracing::debug!("http/2: {error}");
                }
            })
        }));
        let shared = self.group.add((sender, tasks.turn.clone()), life, limit);
        Ok(HttpConnection::http2(shared, &self.server))
    }

    fn closed(&self) -> ConnectHttpError {
        ConnectHttpError::Closed { address: self.server.address.clone() }
    }
}

impl Manager for Http {
    type Connection = HttpConnection;
    type Error = ConnectHttpError;

    /// A slot of a connection there is, or a new connection. Of those who might share it one dials
    /// while the others wait; if it gives up, the next one dials.
    async fn connect(&self) -> Result<HttpConnection, ConnectHttpError> {
        if !self.may_share() {
            return self.dial().await;
        }
        if let Some(shared) = self.shared() {
            return Ok(shared);
        }
        let turn = self.turn.acquire().await;
        if !self.may_share() {
            drop(turn); // nobody needs to wait for anybody
            return self.dial().await;
        }
        match self.shared() {
            Some(shared) => Ok(shared),
            None => self.dial().await,
        }
    }

    /// That it was not closed: HTTP has no question that every server answers, but HTTP/2
    /// connections are pinged all the time (`ping_interval`).
    async fn validate(&self, connection: &mut HttpConnection) -> Result<(), ConnectHttpError> {
        match connection.condition() {
            Condition::Broken => Err(self.closed()),
            _ => connection.ready().await.map_err(|_| self.closed()),
        }
    }

    fn is_local(&self, error: &ConnectHttpError) -> bool {
        matches!(error, ConnectHttpError::Dial(error) if error.is_local())
    }

    fn condition(&self, connection: &mut HttpConnection) -> Condition {
        connection.condition()
    }

    /// The answer has come to its end, but not everything was sent, or hyper has yet to say that
    /// it is done.
    async fn reset(&self, connection: &mut HttpConnection) -> Result<(), ConnectHttpError> {
        connection.ready().await.map_err(|_| self.closed())
    }

    async fn close(&self, connection: HttpConnection) {
        connection.close().await;
    }

    fn killer(&self, connection: &HttpConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        Some(connection.killer())
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("server", &self.server.address).finish_non_exhaustive()
    }
}
