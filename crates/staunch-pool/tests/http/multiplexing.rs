//! What becomes of HTTP/2 connections: those that go away, and streams that nobody reads.

use std::{
    convert::Infallible,
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    rt::Executor,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::generate_simple_self_signed;
use staunch::{BoxError, Context, Scope, net::TlsTrust, scope, timeout};
use staunch_harness::{NginxServer, Raw, destroyed, eventually};
use staunch_pool::{BodyError, Destroyed, Http, HttpOptions, PoolOptions};
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    raw::until_closed,
    support::{body, connections, get, prior_knowledge, sockets_to, with, with_pool},
};

/// A server whose answers are the number of their connection. `/slow` waits until it may go on,
/// `/endless` never ends.
#[derive(Debug, Default)]
struct Server {
    accepted: AtomicUsize,
    ended: AtomicUsize,
    slow: AtomicUsize,
    endless: AtomicUsize,
    go_away: Notify,
    go_on: Notify,
}

/// The same again, as long as there is somebody to send it to.
struct Endless(Arc<Server>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Many small ones are taken for an attack, and the connection is ended.
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.endless.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Spawn(Scope<BoxError>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, task: F) {
        self.0.spawn(async {
            task.await;
            Ok(())
        });
    }
}

async fn serve(server: Arc<Server>, listener: TcpListener, s: Scope<BoxError>) -> BoxError {
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => return error.into(),
        };
        let number = server.accepted.fetch_add(1, Ordering::SeqCst);
        let served = Arc::clone(&server);
        let handler = service_fn(move |request: Request<Incoming>| {
            let server = Arc::clone(&served);
            async move {
                if request.uri().path() == "/slow" {
                    server.slow.fetch_add(1, Ordering::SeqCst);
                    server.go_on.notified().await;
                }
                if request.uri().path() == "/endless" {
                    server.endless.fetch_add(1, Ordering::SeqCst);
                    return Ok(Response::new(Endless(server).boxed()));
                }
                let answer = Full::new(Bytes::from(number.to_string()));
                Ok::<_, Infallible>(Response::new(answer.boxed()))
            }
        });
        let (server, spawn) = (Arc::clone(&server), Spawn(s.clone()));
        s.spawn(async move {
            let serving =
                http2::Builder::new(spawn).serve_connection(TokioIo::new(stream), handler);
            let mut serving = std::pin::pin!(serving);
            let goes_away = tokio::select! {
                _ = serving.as_mut() => false,
                () = server.go_away.notified() => true,
            };
            if goes_away {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await; // the client may be gone
            }
            server.ended.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
    }
}

/// Runs `test` while a server serves.
async fn with_server(test: impl AsyncFnOnce(u16, Arc<Server>)) {
    let ended = scope(&Context::current(), |s| async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let server = Arc::new(Server::default());
        let serving = (Arc::clone(&server), s.clone());
        s.spawn(async move {
            let stop = Context::current();
            let serving = serve(serving.0, listener, serving.1);
            let _ = stop.run(serving).await; // until it is asked to stop
            Ok(())
        });
        test(port, server).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn a_connection_that_goes_away_ends_what_it_has_begun_and_another_takes_over() {
    with_server(async |port, server| {
        let options = PoolOptions { max_total: 5, max_idle: 5, ..PoolOptions::default() };
        with_pool(port, prior_knowledge(), options, async |pool, s| {
            assert_eq!(body(&pool, "/").await.unwrap(), "0");
            let slow = pool.clone();
            let slow = s.fork(async move { body(&slow, "/slow").await });
            eventually("it is asked", async || server.slow.load(Ordering::SeqCst) == 1).await;
            server.go_away.notify_one();
            let mut answers = Vec::new();
            for _ in 0..50 {
                answers.push(body(&pool, "/").await.unwrap());
            }
            assert_eq!(answers.last().unwrap(), "1", "none failed");
            assert_eq!(server.accepted.load(Ordering::SeqCst), 2);
            server.go_on.notify_one();
            assert_eq!(slow.join().await.unwrap(), "0");
            eventually("one is left", async || sockets_to(port) == 1).await;
            pool.shrink(0);
            eventually("none is", async || server.ended.load(Ordering::SeqCst) == 2).await;
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn the_server_hears_at_once_that_nobody_wants_the_rest() {
    with_server(async |port, server| {
        let options = PoolOptions { max_total: 1, ..PoolOptions::default() };
        with_pool(port, prior_knowledge(), options, async |pool, _| {
            let mut endless = get(&pool, "/endless").await.unwrap().into_body();
            endless.frame().await.unwrap().unwrap();
            assert_eq!(server.endless.load(Ordering::SeqCst), 1);
            drop(endless);
            eventually("it hears", async || server.endless.load(Ordering::SeqCst) == 0).await;
            assert_eq!(body(&pool, "/").await.unwrap(), "0", "and the connection is kept");
            pool.shrink(0);
            eventually("it ends", async || server.ended.load(Ordering::SeqCst) == 1).await;
        })
        .await;
    })
    .await;
}

/// The server accepts, and says nothing: who dials waits for the TLS handshake, and who might share
/// the connection waits for its turn.
#[staunch::test]
async fn a_dial_that_is_given_up_leaves_the_next_one_to_dial() {
    let server = Raw::start(|mut stream, _| _ = until_closed(&mut stream));
    let roots = tempfile::NamedTempFile::new().unwrap();
    let certificate = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(roots.path(), certificate.cert.pem()).unwrap();
    let trust = TlsTrust::load(roots.path(), &["h2"]).unwrap();
    let make = |s: &_| Http::tls(s, format!("127.0.0.1:{}", server.port), "localhost", trust);
    with(server.port, make, PoolOptions::default(), async |pool, _| {
        let mut all: Vec<_> = (0..3).map(|_| Box::pin(pool.acquire())).collect();
        for number in 1..=3 {
            let patience = Duration::from_millis(50);
            for one in &mut all {
                assert!(timeout(patience, one.as_mut()).await.is_err());
            }
            assert_eq!(server.accepted(), number, "one dials");
            drop(all.remove(0));
        }
        assert_eq!((pool.status().size, pool.status().waiters), (0, 0));
    })
    .await;
}

/// A body that was handed on by a task that has ended, and is not read: the stream ends, the
/// connection goes on.
#[staunch::test]
async fn a_body_that_nobody_reads_is_revoked_and_only_its_stream_ends() {
    let server = NginxServer::start("", None).unwrap();
    let options = || PoolOptions {
        abandoned_timeout: Duration::from_secs(1),
        log_abandoned: false,
        ..PoolOptions::default()
    };
    for (port, http, is_shared) in [
        (server.port(), HttpOptions::default(), false),
        (server.h2_port(), prior_knowledge(), true),
    ] {
        with_pool(port, http, options(), async |pool, s| {
            let asks = pool.clone();
            let asked = s.fork(async move { Ok(get(&asks, "/large").await?.into_body()) });
            let mut unread = ManuallyDrop::new(asked.join().await.unwrap());
            assert_eq!(body(&pool, "/").await.unwrap(), "hello");
            let abandoned = || destroyed(&pool.status(), Destroyed::Abandoned) == 1;
            eventually("it is revoked", async || abandoned()).await;
            assert_eq!(pool.status().leased, 0);
            let error = loop {
                match unread.frame().await.unwrap() {
                    Ok(_) => {} // it was there already
                    Err(error) => break error,
                }
            };
            let is_revoked = matches!(error, BodyError::Revoked { .. });
            assert_eq!(is_revoked, is_shared, "{error}");
            assert_eq!(body(&pool, "/").await.unwrap(), "hello");
            assert_eq!((sockets_to(port), connections()), (1, 1));
            drop(ManuallyDrop::into_inner(unread));
        })
        .await;
    }
}
