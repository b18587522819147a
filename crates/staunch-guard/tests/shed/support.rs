//! A server behind a guard, and clients.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    client::conn::{http1, http2},
};
use staunch::{BoxError, Context, Scope, scope};
use staunch_guard::{Guard, GuardOptions, Level, Usage};
use staunch_http::{RequestBody, Server};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use tower_service::Service;

/// Memory of 100 bytes, of which so many are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<AtomicU64>);

impl Memory {
    pub(crate) fn options(&self) -> GuardOptions {
        let memory = self.clone();
        let usage = move || Usage { bytes: memory.0.load(Ordering::SeqCst), limit: Some(100) };
        GuardOptions {
            memory: Some(Arc::new(usage)),
            request_bytes: 0,
            interval: Duration::from_millis(2),
            ..GuardOptions::default()
        }
    }

    pub(crate) async fn set(&self, bytes: u64, guard: &Guard, level: Level) {
        self.0.store(bytes, Ordering::SeqCst);
        eventually(&format!("{level}"), || guard.level() == level).await;
    }
}

/// Runs a server behind a guard, while `client` does.
pub(crate) async fn with_server<S, B>(
    options: GuardOptions,
    service: impl FnOnce(&Guard) -> S,
    client: impl AsyncFnOnce(SocketAddr, &Guard, &Scope<BoxError>),
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let limits = Limits { connections_per_ip: None, ..Limits::default() };
    let listener = Listener::bind(&any, &SocketOptions::default(), limits).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let ended = scope(&Context::current(), |s| async move {
        let guard = Guard::start(&s, options)?;
        let service = service(&guard);
        let (context, cancel) = Context::current().with_cancel();
        let server = Server::default();
        let served = s.fork(async move { Ok(server.serve(listener, &context, service).await) });
        client(address, &guard, &s).await;
        cancel.cancel();
        let _served = served.join().await?;
        assert_eq!(guard.status().in_flight, 0, "nothing is in flight any more");
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A connection of either version.
pub(crate) enum Client {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Client::Http1(client) => {
                client.ready().await?;
                client.send_request(request).await
            }
            Client::Http2(client) => client.send_request(request).await,
        }
    }
}

pub(crate) async fn connect(address: SocketAddr, scope: &Scope<BoxError>) -> Client {
    Client::Http1(staunch_harness::http1(address, scope).await.unwrap())
}

pub(crate) async fn connect2(address: SocketAddr, scope: &Scope<BoxError>) -> Client {
    Client::Http2(staunch_harness::http2(address, scope).await.unwrap())
}

pub(crate) async fn get(
    client: &mut Client,
    path: &str,
    headers: &[(&str, &str)],
) -> Response<Incoming> {
    let mut request = match client {
        Client::Http1(_) => Request::get(path).header("host", "localhost"),
        Client::Http2(_) => Request::get(format!("http://localhost{path}")),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Empty::new()).unwrap()).await.unwrap()
}

pub(crate) async fn read(answer: Response<Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
