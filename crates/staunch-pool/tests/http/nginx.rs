//! Against nginx.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Request, Version};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use staunch::{BoxError, Context, net::TlsTrust, scope};
use staunch_harness::{NginxServer, destroyed, eventually};
use staunch_pool::{
    AcquireError, Destroyed, Http, HttpError, HttpOptions, KeyedPool, KeyedPoolOptions, PoolOptions,
};

use crate::support::{body, connections, get, prior_knowledge, sockets_to, with, with_pool};

#[staunch::test]
async fn a_connection_is_kept_alive() {
    let server = NginxServer::start("", None).unwrap();
    let http = HttpOptions::default();
    with_pool(server.port(), http, PoolOptions::default(), async |pool, _| {
        for _ in 0..100 {
            assert_eq!(body(&pool, "/").await.unwrap(), "hello");
        }
        assert_eq!(body(&pool, "/large").await.unwrap().len(), 1 << 20);
        let head = pool.send(Request::head("/large").body(()).unwrap()).await.unwrap();
        assert_eq!(head.headers()["content-length"], "1048576");
        let post =
            pool.send(Request::post("/large").body("x".repeat(9000)).unwrap()).await.unwrap();
        assert_eq!(post.status(), 405);
        drop((head, post.into_body().collect().await.unwrap()));
        eventually("it is idle", async || pool.status().idle == 1).await;
        assert_eq!((pool.status().created, sockets_to(server.port())), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn a_server_that_closes_idle_connections_fails_no_request() {
    let server = NginxServer::start("keepalive_timeout 1s; keepalive_requests 3;", None).unwrap();
    let http = HttpOptions::default();
    with_pool(server.port(), http, PoolOptions::default(), async |pool, _| {
        for _ in 0..9 {
            assert_eq!(body(&pool, "/").await.unwrap(), "hello");
        }
        assert_eq!(pool.status().created, 3, "three requests each");
        body(&pool, "/").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await; // nginx's clock, not ours
        assert_eq!(body(&pool, "/").await.unwrap(), "hello");
        assert_eq!((pool.status().created, pool.status().failed), (5, 0));
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_thousand_requests_share_one_connection() {
    let server = NginxServer::start("keepalive_requests 100000;", None).unwrap();
    let options = PoolOptions { max_total: 50, max_idle: 50, ..PoolOptions::default() };
    with_pool(server.h2_port(), prior_knowledge(), options, async |pool, s| {
        let port = server.h2_port();
        let all: Vec<_> = (0..50)
            .map(|_| {
                let pool = pool.clone();
                s.fork(async move {
                    for turn in 0..20 {
                        let answer = get(&pool, "/").await?;
                        if turn == 0 {
                            assert_eq!(sockets_to(port), 1, "all share it, from the first on");
                        }
                        assert_eq!(answer.version(), Version::HTTP_2);
                        assert_eq!(answer.into_body().collect().await?.to_bytes(), "hello");
                    }
                    Ok(())
                })
            })
            .collect();
        for one in all {
            one.join().await.unwrap();
        }
        assert!(pool.status().created > 1 && pool.status().leased == 0);
        pool.shrink(1);
        assert_eq!((body(&pool, "/").await.unwrap(), sockets_to(port)), ("hello".into(), 1));
        pool.shrink(0);
        eventually("with its last slot it ends", async || sockets_to(port) + connections() == 0)
            .await;
    })
    .await;
}

#[staunch::test]
async fn the_servers_limit_on_streams_fails_no_request() {
    let server = NginxServer::start("http2_max_concurrent_streams 3;", None).unwrap();
    let options = PoolOptions { max_total: 20, max_idle: 20, ..PoolOptions::default() };
    with_pool(server.h2_port(), prior_knowledge(), options, async |pool, s| {
        let all: Vec<_> = (0..20)
            .map(|_| {
                let pool = pool.clone();
                s.fork(async move {
                    let post = Request::post("/").body("not to be sent again")?;
                    assert_eq!(pool.send(post).await?.status(), 200);
                    for _ in 0..10 {
                        assert_eq!(body(&pool, "/large").await?.len(), 1 << 20);
                    }
                    Ok(())
                })
            })
            .collect();
        for one in all {
            one.join().await.unwrap();
        }
    })
    .await;
}

#[staunch::test]
async fn over_tls_it_is_what_both_sides_prefer() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (cert.pem(), signing_key.serialize_pem());
    let server = NginxServer::start("", Some((&chain, &key))).unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &chain).unwrap();
    let port = server.tls_port();
    let all: [(&[&str], _); 3] = [
        (&["h2", "http/1.1"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ];
    for (alpn, version) in all {
        let trust = TlsTrust::load(roots.path(), alpn).unwrap();
        let make = |s: &_| Http::tls(s, format!("127.0.0.1:{port}"), "localhost", trust);
        with(port, make, PoolOptions::default(), async |pool, _| {
            let (one, other) = tokio::join!(get(&pool, "/"), get(&pool, "/large"));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_eq!([one.version(), other.version()], [version; 2]);
            let sockets = if version == Version::HTTP_2 { 1 } else { 2 };
            assert_eq!(sockets_to(port), sockets, "of those who might share one, one dials");
            assert_eq!(other.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
            assert_eq!(one.into_body().collect().await.unwrap().to_bytes(), "hello");
        })
        .await;
    }
}

#[staunch::test]
async fn a_body_dropped_early_costs_the_connection_or_the_stream() {
    let server = NginxServer::start("", None).unwrap();
    let options = || PoolOptions { max_total: 1, ..PoolOptions::default() };
    with_pool(server.port(), HttpOptions::default(), options(), async |pool, _| {
        drop(get(&pool, "/large").await.unwrap());
        assert_eq!(body(&pool, "/").await.unwrap(), "hello");
        assert_eq!(destroyed(&pool.status(), Destroyed::Broken), 1);
    })
    .await;
    with_pool(server.h2_port(), prior_knowledge(), options(), async |pool, _| {
        for _ in 0..50 {
            let mut large = get(&pool, "/large").await.unwrap().into_body();
            let first = large.frame().await.unwrap().unwrap();
            assert!(first.into_data().unwrap().len() < 1 << 20);
            drop(large);
            assert_eq!(body(&pool, "/").await.unwrap(), "hello");
        }
        assert_eq!((pool.status().created, pool.status().idle), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn a_server_that_is_killed_comes_back() {
    let mut server = NginxServer::start("", None).unwrap();
    let port = server.port();
    with_pool(port, HttpOptions::default(), PoolOptions::default(), async |pool, _| {
        let both = tokio::join!(get(&pool, "/"), get(&pool, "/"));
        drop((both.0.unwrap(), both.1.unwrap()));
        server.kill().unwrap();
        let error = body(&pool, "/").await.unwrap_err().downcast::<HttpError>().unwrap();
        assert!(matches!(*error, HttpError::Acquire(AcquireError::Connect { .. })), "{error}");
        server.restart().unwrap();
        let mut tries = 0;
        while body(&pool, "/").await.is_err() {
            tries += 1;
            assert!(tries < 1000, "it does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// However many idle ones the pool has of the server that was.
#[staunch::test]
async fn connections_that_are_known_to_be_closed_are_passed_over() {
    let mut server = NginxServer::start("", None).unwrap();
    for (is_shared, http) in [(false, HttpOptions::default()), (true, prior_knowledge())] {
        let port = if is_shared { server.h2_port() } else { server.port() };
        with_pool(port, http, PoolOptions::default(), async |pool, _| {
            let mut five = Vec::new();
            for _ in 0..5 {
                five.push(get(&pool, "/large").await.unwrap());
            }
            let sockets = if is_shared { 1 } else { 5 };
            assert_eq!((five.len(), sockets_to(port)), (5, sockets));
            for answer in five {
                answer.into_body().collect().await.unwrap();
            }
            server.kill().unwrap();
            server.restart().unwrap();
            eventually("it is known", async || connections() == 0).await;
            assert_eq!(pool.status().idle, 5);
            let post = Request::post("/").body("not to be sent again").unwrap();
            assert_eq!(pool.send(post).await.unwrap().status(), 200);
        })
        .await;
    }
}

#[staunch::test]
async fn upstreams_are_keys() {
    let servers = [NginxServer::start("", None).unwrap(), NginxServer::start("", None).unwrap()];
    let ports = [servers[0].port(), servers[1].port()];
    let ended = scope(&Context::current(), |s| async move {
        let inner = s.clone();
        let make = move |port: &u16| Http::tcp(&inner, format!("127.0.0.1:{port}"));
        let per_key = PoolOptions { name: "upstreams", ..PoolOptions::default() };
        let options = KeyedPoolOptions { per_key, max_total: Some(1), ..Default::default() };
        let upstreams = KeyedPool::new(&s, make, options)?;
        for _ in 0..5 {
            for port in ports {
                let answer = upstreams.send(&port, Request::get("/").body(())?).await?;
                assert_eq!(answer.into_body().collect().await?.to_bytes(), "hello");
                assert_eq!(sockets_to(port), 1);
            }
        }
        let lease = upstreams.acquire(&ports[0]).await?;
        let answer = lease.send(Request::get("/").body(())?).await?;
        assert_eq!((upstreams.status().sum.leased, upstreams.status().sum.size), (1, 1));
        drop(answer);
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
    assert_eq!(ports.map(sockets_to), [0, 0]);
}
