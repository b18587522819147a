//! Sends a request: leases, asks again if it is safe, and hands the lease to the answer's body.

use std::{future::Future, panic::Location};

use hyper::{Request, Response};

use super::{
    body::{Held, PooledBody},
    connection::Failed,
    error::HttpError,
    manager::Http,
    request::{self, RequestBody},
};
use crate::{
    keyed::{Key, KeyedLease, KeyedPool},
    lease::Lease,
    pool::Pool,
};

impl Pool<Http> {
    /// Sends a request, and waits for the head of its answer. The lease is the body's.
    ///
    /// The path is that of the request's URI; the server's name, if it is there, too.
    ///
    /// A server may close an idle connection just when a request is sent on it. One that was
    /// never sent, or that has heard nothing back, is idempotent, and has a body that can be sent
    /// again, is sent again, once, on a connection that was not used before.
    ///
    /// # Errors
    /// [`HttpError`]
    ///
    /// # Cancel safety
    /// Dropped before its end, the request is given up: an HTTP/1 connection is closed, an HTTP/2
    /// stream is reset. The server may have worked on it.
    ///
    /// # Examples
    /// See [`Http`].
    #[track_caller]
    pub fn send<B: Into<RequestBody>>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<PooledBody>, HttpError>> + Send + use<'_, B> {
        let (born_at, request) = (Location::caller(), request.map(Into::into));
        send(FromPool { pool: self, born_at }, self.options().max_idle, request)
    }
}

impl Pool<Http> {
    /// A connection for one request: the first half of [`send`](Self::send), for those to whom waiting for a
    /// connection and waiting for an answer are not the same.
    ///
    /// # Errors
    /// [`HttpError::Acquire`]
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    #[track_caller]
    pub fn open(&self) -> impl Future<Output = Result<Opened<'_>, HttpError>> + Send + use<'_> {
        let mut leases = FromPool { pool: self, born_at: Location::caller() };
        async move {
            let held = open(&mut leases, self.options().max_idle, false).await?;
            Ok(Opened { held, leases })
        }
    }
}

/// A connection for one request; made by [`Pool::open`].
#[derive(Debug)]
pub struct Opened<'p> {
    held: Held,
    leases: FromPool<'p>,
}

impl Opened<'_> {
    /// As [`Pool::send`], for those who have another server to try: a request that was not sent, or that
    /// may be sent twice, comes back with the error.
    ///
    /// # Errors
    /// [`NotSent`]
    ///
    /// # Cancel safety
    /// As [`Pool::send`].
    pub async fn try_send<B: Into<RequestBody>>(
        self,
        request: Request<B>,
    ) -> Result<Response<PooledBody>, Box<NotSent>> {
        let Opened { held, leases } = self;
        let max_idle = leases.pool.options().max_idle;
        let request = request.map(Into::into);
        match request::check(&request) {
            Ok(()) => send_on(held, leases, max_idle, request).await,
            Err(error) => Err(NotSent::of(error, None)),
        }
    }
}

/// A request has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct NotSent {
    /// Why.
    #[source]
    pub error: HttpError,
    /// The request, if it is safe to send it again: it was never sent, or nothing of an answer had come,
    /// it is idempotent, and its body can be had again.
    pub request: Option<Request<RequestBody>>,
}

impl<K: Key> KeyedPool<K, Http> {
    /// As [`Pool::send`], to the server of a key.
    ///
    /// # Errors
    /// [`HttpError`]
    ///
    /// # Cancel safety
    /// As [`Pool::send`].
    ///
    /// # Examples
    /// ```no_run
    /// use hyper::Request;
    /// use staunch_pool::{Http, KeyedPool, KeyedPoolOptions};
    /// use staunch_scope::{BoxError, Context, scope};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// scope(&Context::current(), |s| async move {
    ///     let scope = s.clone();
    ///     let make = move |address: &String| Http::tcp(&scope, address.as_str());
    ///     let upstreams = KeyedPool::new(&s, make, KeyedPoolOptions::default())?;
    ///     let request = Request::get("/health").body(())?;
    ///     let answer = upstreams.send(&"10.0.0.7:8080".to_owned(), request).await?;
    ///     println!("{}", answer.status());
    ///     Ok::<_, BoxError>(())
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn send<B: Into<RequestBody>>(
        &self,
        key: &K,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<PooledBody>, HttpError>> + Send + use<'_, K, B> {
        self.send_at(Location::caller(), key, request)
    }

    /// [`send`](Self::send) on behalf of somebody else's line: for clients, whose own line would
    /// say nothing.
    ///
    /// # Errors
    /// [`HttpError`]
    ///
    /// # Cancel safety
    /// As [`Pool::send`].
    pub fn send_at<B: Into<RequestBody>>(
        &self,
        born_at: &'static Location<'static>,
        key: &K,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<PooledBody>, HttpError>> + Send + use<'_, K, B> {
        let (key, request) = (key.clone(), request.map(Into::into));
        send(FromKey { pool: self, key, born_at }, self.options().per_key.max_idle, request)
    }
}

impl Lease<Http> {
    /// Sends a request on this lease's connection, which is the answer's body's from then on. It
    /// is not sent again if the connection turns out to be closed.
    ///
    /// # Errors
    /// [`HttpError`]
    ///
    /// # Cancel safety
    /// As [`Pool::send`].
    pub async fn send<B: Into<RequestBody>>(
        self,
        request: Request<B>,
    ) -> Result<Response<PooledBody>, HttpError> {
        once(Held::Pool(self.into_use()?), request.map(Into::into)).await
    }
}

impl KeyedLease<Http> {
    /// As [`Lease::send`].
    ///
    /// # Errors
    /// [`HttpError`]
    ///
    /// # Cancel safety
    /// As [`Pool::send`].
    pub async fn send<B: Into<RequestBody>>(
        self,
        request: Request<B>,
    ) -> Result<Response<PooledBody>, HttpError> {
        once(Held::Keyed(self.into_use()?), request.map(Into::into)).await
    }
}

/// Where connections come from.
trait Leases: Send {
    fn lease(&mut self) -> impl Future<Output = Result<Held, HttpError>> + Send;
}

#[derive(Debug)]
struct FromPool<'p> {
    pool: &'p Pool<Http>,
    born_at: &'static Location<'static>,
}

impl Leases for FromPool<'_> {
    async fn lease(&mut self) -> Result<Held, HttpError> {
        let lease = self.pool.acquire_at(self.born_at).await?;
        Ok(Held::Pool(lease.into_use()?))
    }
}

struct FromKey<'p, K: Key> {
    pool: &'p KeyedPool<K, Http>,
    key: K,
    born_at: &'static Location<'static>,
}

impl<K: Key> Leases for FromKey<'_, K> {
    async fn lease(&mut self) -> Result<Held, HttpError> {
        let lease = self.pool.acquire_at(&self.key, self.born_at).await?;
        Ok(Held::Keyed(lease.into_use()?))
    }
}

async fn once(
    held: Held,
    request: Request<RequestBody>,
) -> Result<Response<PooledBody>, HttpError> {
    request::check(&request)?;
    attempt(held, request).await.map_err(|failed| failed.error)
}

async fn send(
    mut leases: impl Leases,
    max_idle: usize,
    request: Request<RequestBody>,
) -> Result<Response<PooledBody>, HttpError> {
    request::check(&request)?;
    let held = open(&mut leases, max_idle, false).await?;
    send_on(held, leases, max_idle, request).await.map_err(|failed| failed.error)
}

async fn send_on(
    held: Held,
    mut leases: impl Leases,
    max_idle: usize,
    request: Request<RequestBody>,
) -> Result<Response<PooledBody>, Box<NotSent>> {
    let again = request::again(&request);
    let may_be_stale = held.connection().may_be_stale();
    let (error, request, was_sent) = match attempt(held, request).await {
        Ok(answer) => return Ok(answer),
        Err(failed) => {
            let was_sent = failed.unsent.is_none();
            let (error, request) = failed.again(again);
            (error, request, was_sent)
        }
    };
    let request = match request {
        Some(request) if may_be_stale || !was_sent => request,
        request => return Err(NotSent::of(error, request)),
    };
    tracing::debug!("sent again: {error}");
    // In memory of its own: it is rare.
    Box::pin(async move {
        let held = match open(&mut leases, max_idle, true).await {
            Ok(held) => held,
            Err(error) => return Err(NotSent::of(error, Some(request))),
        };
        let again = request::again(&request);
        attempt(held, request).await.map_err(|failed| {
            let (error, request) = failed.again(again);
            NotSent::of(error, request)
        })
    })
    .await
}

impl NotSent {
    fn of(error: HttpError, request: Option<Request<RequestBody>>) -> Box<NotSent> {
        Box::new(NotSent { error, request })
    }
}

impl Failed {
    /// The error, and the request if it may be sent again: `copy`, if it was sent.
    fn again(
        self,
        copy: Option<Request<RequestBody>>,
    ) -> (HttpError, Option<Request<RequestBody>>) {
        let copy = copy.filter(|_| self.is_unanswered);
        (self.error, self.unsent.or(copy))
    }
}

/// A leased connection that is not known to be closed, and not used before if it is to be `new`.
/// What was idle may all be closed, so one more is tried than there can be.
async fn open(leases: &mut impl Leases, max_idle: usize, new: bool) -> Result<Held, HttpError> {
    let mut held = leases.lease().await?;
    for _ in 0..=max_idle {
        let connection = held.connection_mut();
        let is_unfit = connection.is_closed() || (new && connection.is_worn());
        if !is_unfit {
            break;
        }
        connection.gives_up();
        drop(held);
        held = leases.lease().await?;
    }
    Ok(held)
}

async fn attempt(
    mut held: Held,
    request: Request<RequestBody>,
) -> Result<Response<PooledBody>, Failed> {
    let answer = held.connection_mut().exchange(request).await?;
    Ok(answer.map(|coming| PooledBody::new(coming, held)))
}
