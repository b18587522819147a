//! What the tests share.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, Response};
use staunch::{BoxError, Context, Kind, Ledger, Scope, scope};
use staunch_harness::live;
use staunch_kernel::{Protocol, SocketQuery};
use staunch_pool::{Http, HttpError, HttpOptions, HttpProtocol, Pool, PoolOptions, PooledBody};

/// HTTP/2 without asking.
pub(crate) fn prior_knowledge() -> HttpOptions {
    HttpOptions { protocol: HttpProtocol::Http2, ..HttpOptions::default() }
}

/// Runs `test` on a pool to a port of this machine; then no connection and no task is left.
pub(crate) async fn with_pool(
    port: u16,
    http: HttpOptions,
    options: PoolOptions,
    test: impl AsyncFnOnce(Pool<Http>, Scope<BoxError>),
) {
    let make = |s: &Scope<BoxError>| Http::tcp(s, format!("127.0.0.1:{port}")).options(http);
    with(port, make, options, test).await;
}

/// Runs `test` on a pool of a manager; then no connection and no task is left.
pub(crate) async fn with(
    port: u16,
    make: impl FnOnce(&Scope<BoxError>) -> Http,
    options: PoolOptions,
    test: impl AsyncFnOnce(Pool<Http>, Scope<BoxError>),
) {
    let before = entries();
    let ended = scope(&Context::current(), |s| async move {
        let pool = Pool::new(&s, make(&s), options)?;
        Box::pin(test(pool, s.clone())).await; // it is large, and would be on the stack more than once
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
    assert_eq!((entries(), sockets_to(port)), (before, 0), "something is left");
}

fn entries() -> usize {
    Ledger::current().snapshot().entries().len()
}

/// Sockets that are on the ledger.
pub(crate) fn connections() -> usize {
    live(Kind::CONNECTION)
}

/// Sockets to a port that somebody still has, as the kernel says.
pub(crate) fn sockets_to(port: u16) -> usize {
    let table = SocketQuery::new().protocols([Protocol::Tcp]).run().unwrap();
    let leads_there = |remote: std::net::SocketAddr| remote.port() == port;
    let is_held = |inode: Option<u64>| inode.is_some_and(|inode| inode != 0);
    let ours = table.sockets.iter().filter(|it| is_held(it.inode));
    ours.filter(|it| it.remote.is_some_and(leads_there)).count()
}

/// An answer of `GET path`.
pub(crate) async fn get(pool: &Pool<Http>, path: &str) -> Result<Response<PooledBody>, HttpError> {
    pool.send(Request::get(path).body(()).unwrap()).await
}

/// The whole body of `GET path`.
pub(crate) async fn body(pool: &Pool<Http>, path: &str) -> Result<Bytes, BoxError> {
    let answer = get(pool, path).await?;
    assert!(answer.status().is_success(), "{answer:?}");
    Ok(answer.into_body().collect().await?.to_bytes())
}
