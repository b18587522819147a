//! A server for a test, and clients.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    Request, Response,
    client::conn::{http1, http2},
};
use staunch::{BoxError, Context, Scope, scope};
use staunch_http::{HttpLimits, RequestBody, Server};
use staunch_ledger::{Entry, Kind, Ledger, State};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use tower_service::Service;

pub(crate) const SOON: Duration = Duration::from_millis(300);

pub(crate) type Answer = Response<Full<Bytes>>;

/// Runs a server while `client` does; how many connections it accepted, and how many it cut.
pub(crate) async fn with_server<S, B>(
    http: HttpLimits,
    limits: Limits,
    service: S,
    client: impl AsyncFnOnce(SocketAddr, &Scope<BoxError>),
) -> (u64, usize)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), limits).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let served = scope(&Context::current(), |s| async move {
        let (context, cancel) = Context::current().with_cancel();
        let server = Server::new(http);
        let served = s.fork(async move { Ok(server.serve(listener, &context, service).await) });
        client(address, &s).await;
        cancel.cancel();
        let served = served.join().await?;
        s.stop();
        Ok::<_, BoxError>((served.accepted, served.cut.len()))
    });
    served.await.unwrap()
}

pub(crate) fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()))
}

/// Counts the handlers at work; one for each guard.
#[derive(Clone, Debug, Default)]
pub(crate) struct AtWork(Arc<AtomicUsize>);

pub(crate) struct Working(AtWork);

impl AtWork {
    pub(crate) fn begin(&self) -> Working {
        self.0.fetch_add(1, Ordering::SeqCst);
        Working(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Tasks of connections that hold nothing but their socket.
pub(crate) fn parked() -> usize {
    let snapshot = Ledger::current().snapshot();
    let is_parked = |entry: &&Entry| entry.kind() == Kind::TASK && entry.state() == State::Idle;
    snapshot.entries().iter().filter(is_parked).count()
}

pub(crate) type Http1 = http1::SendRequest<Empty<Bytes>>;
pub(crate) type Http2 = http2::SendRequest<Full<Bytes>>;

pub(crate) async fn http1(address: SocketAddr, scope: &Scope<BoxError>) -> Http1 {
    staunch_harness::http1(address, scope).await.unwrap()
}

pub(crate) async fn http2(address: SocketAddr, scope: &Scope<BoxError>) -> Http2 {
    staunch_harness::http2(address, scope).await.unwrap()
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://localhost{path}")).body(Full::default()).unwrap()
}

pub(crate) fn get1(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header("host", "localhost").body(Empty::new()).unwrap()
}

/// As [`get1`], but with something that only hyper knows how to answer.
pub(crate) fn get1_of_hyper(path: &str) -> Request<Empty<Bytes>> {
    let mut request = get1(path);
    request.headers_mut().insert("te", "gzip".parse().unwrap());
    request
}

pub(crate) async fn read(answer: Response<hyper::body::Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
