//! Load shedding for HTTP, as a `tower` layer.

mod body;
mod future;

use std::{
    fmt,
    panic::Location,
    sync::Arc,
    task::{Context as Poller, Poll},
};

use bytes::Bytes;
use http::{
    Method, Request, Response,
    header::{ACCEPT, HeaderMap, HeaderValue, UPGRADE},
    request::Parts,
};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{body::ShedBody, future::Shedding};
use crate::{Guard, Priority};

/// Asks a [`Guard`] for each request whether it may begin. One that may not is answered at once:
/// 503 with `Retry-After` (RFC 9110, 10.2.3 and 15.6.4). One that may counts as in flight until the
/// body of its answer has ended.
///
/// Errors are the inner service's alone. A request that upgrades its connection counts until its
/// answer's head is written, and no longer.
///
/// # Examples
/// ```
/// use staunch_guard::{Guard, Priority, Shed};
///
/// fn layer(guard: &Guard) -> Shed {
///     Shed::new(guard).priority(|request| match request.uri.path() {
///         "/healthz" => Priority::Critical,
///         "/checkout" => Priority::High,
///         path if path.starts_with("/report/") => Priority::Low,
///         _ => Priority::Normal,
///     })
/// }
/// // axum: `router.layer(layer(&guard))`
/// ```
#[derive(Clone)]
pub struct Shed {
    guard: Guard,
    choice: Arc<Choice>,
    born_at: &'static Location<'static>,
}

/// What is known of a request before it begins.
struct Choice {
    priority: Box<dyn Fn(&Parts) -> Priority + Send + Sync>,
    is_stream: Box<dyn Fn(&Parts) -> bool + Send + Sync>,
}

impl Shed {
    /// Every request is of [`Priority::Normal`]; [`is_stream`] says which are streams.
    #[track_caller]
    pub fn new(guard: &Guard) -> Shed {
        let choice =
            Choice { priority: Box::new(|_| Priority::Normal), is_stream: Box::new(is_stream) };
        Shed { guard: guard.clone(), choice: Arc::new(choice), born_at: Location::caller() }
    }

    /// The priority of a request, by its head. It is asked for every request: it must be quick. Do
    /// not let a client choose without proof.
    #[must_use]
    pub fn priority(self, priority: impl Fn(&Parts) -> Priority + Send + Sync + 'static) -> Shed {
        let is_stream = Arc::clone(&self.choice);
        let is_stream = Box::new(move |request: &Parts| (is_stream.is_stream)(request));
        let choice = Choice { priority: Box::new(priority), is_stream };
        Shed { choice: Arc::new(choice), ..self }
    }

    /// Which requests are for a stream, in place of [`is_stream`].
    #[must_use]
    pub fn streams(self, is_stream: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Shed {
        let priority = Arc::clone(&self.choice);
        let priority = Box::new(move |request: &Parts| (priority.priority)(request));
        let choice = Choice { priority, is_stream: Box::new(is_stream) };
        Shed { choice: Arc::new(choice), ..self }
    }
}

/// Whether a request is for a stream, as far as its head says so: it upgrades its connection,
/// connects through it (RFC 9110, 9.3.6; RFC 8441), or accepts an event stream. An upgrade to HTTP or
/// TLS is none: clients ask for that in passing, with requests like any other.
pub fn is_stream(request: &Parts) -> bool {
    let accepts = || request.headers.get(ACCEPT).is_some_and(|it| it == "text/event-stream");
    request.method == Method::CONNECT || leaves_http(&request.headers) || accepts()
}

/// Whether another protocol is asked for.
fn leaves_http(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    let mut protocols =
        lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    protocols.any(|protocol| !protocol.is_empty() && !is_http(protocol))
}

/// `h2c`, and whatever else is HTTP, perhaps within TLS (RFC 2817).
fn is_http(protocol: &[u8]) -> bool {
    let begins = |name: &[u8]| {
        protocol.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    };
    [&b"h2"[..], b"h3", b"http", b"tls"].into_iter().any(begins)
}

impl<S> Layer<S> for Shed {
    type Service = ShedService<S>;

    fn layer(&self, inner: S) -> ShedService<S> {
        ShedService { inner, shed: self.clone() }
    }
}

impl fmt::Debug for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shed").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// A service behind a guard; made by [`Shed`].
#[derive(Clone, Debug)]
pub struct ShedService<S> {
    inner: S,
    shed: Shed,
}

impl<S, A, B> Service<Request<A>> for ShedService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<ShedBody<B>>;
    type Error = S::Error;
    type Future = Shedding<S::Future>;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Shedding<S::Future> {
        let Shed { guard, choice, born_at } = &self.shed;
        let (parts, body) = request.into_parts();
        let (priority, is_stream) = ((choice.priority)(&parts), (choice.is_stream)(&parts));
        match guard.admit_at(priority, is_stream, born_at) {
            Ok(admission) => {
                let answer = self.inner.call(Request::from_parts(parts, body));
                Shedding::admitted(answer, admission)
            }
            Err(refused) => Shedding::refused(refused),
        }
    }
}
