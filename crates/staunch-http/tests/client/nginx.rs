//! Against nginx: HTTP/1.1, HTTP/2, and TLS.

use std::time::Duration;

use hyper::Version;
use staunch::{BoxError, Kind, timeout};
use staunch_harness::{NginxServer, eventually, live};
use staunch_http::ClientOptions;
use staunch_pool::{HttpOptions, HttpProtocol};

use crate::support::{localhost, sockets_to, with_client};

#[staunch::test(flavor = "multi_thread")]
async fn large_and_small_on_few_connections() {
    let server = NginxServer::start("", None).unwrap();
    with_client(ClientOptions::default(), async |client, _| {
        for round in 0..20 {
            let get = |path| client.get(format!("http://127.0.0.1:{}{path}", server.port()));
            assert_eq!(get("/").send().await.unwrap().text(10).await.unwrap(), "hello");
            let large = get("/large").send().await.unwrap();
            if round % 2 == 0 {
                assert_eq!(large.bytes(1 << 20).await.unwrap().len(), 1 << 20);
            }
        }
        let bodies = client.status().bodies;
        assert_eq!((bodies.read, bodies.drained, bodies.destroyed), (30, 0, 10));
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn over_tls_requests_share_a_connection() {
    let own = localhost();
    let server = NginxServer::start("", Some((&own.chain, &own.key))).unwrap();
    let trust = Some(own.trust);
    with_client(ClientOptions { trust, ..ClientOptions::default() }, async |client, s| {
        // `localhost` may be ::1 as well, where nobody listens: the other address is tried.
        let url = format!("https://localhost:{}", server.tls_port());
        let all: Vec<_> = (0..10)
            .map(|_| {
                let request = client.get(format!("{url}/"));
                s.fork(async move {
                    let answer = request.send().await?;
                    assert_eq!(answer.version(), Version::HTTP_2);
                    Ok(answer.text(10).await?)
                })
            })
            .collect();
        for one in all {
            assert_eq!(one.join().await.unwrap(), "hello");
        }
        assert_eq!(live(Kind::CONNECTION), 1);
        drop(client.get(format!("{url}/large")).send().await.unwrap());
        assert_eq!(
            client.get(format!("{url}/")).send().await.unwrap().text(9).await.unwrap(),
            "hello"
        );
        let bodies = client.status().bodies;
        assert_eq!((bodies.read, bodies.reset, live(Kind::CONNECTION)), (11, 1, 1));
    })
    .await;
}

/// Random requests, many of them given up, dropped unread or half read: then the client, its pool,
/// the ledger and the kernel agree, and the rest works.
async fn everybody_agrees(url: &str, port: u16, http: HttpOptions) {
    let is_shared = http.protocol == HttpProtocol::Http2;
    with_client(ClientOptions { http, ..ClientOptions::default() }, async |client, s| {
        let all: Vec<_> = (0..12_u64)
            .map(|task| {
                let (client, url) = (client.clone(), url.to_owned());
                s.fork(async move {
                    let mut random = task + 1;
                    for _ in 0..60 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005) >> 1 | 1;
                        let path = if random & 64 == 0 { "/" } else { "/large" };
                        let limit = Duration::from_micros(500 + random % 5000);
                        let request = async {
                            let answer = client.get(format!("{url}{path}")).send().await?;
                            match random >> 8 & 3 {
                                0 => drop(answer),
                                1 => drop(answer.into_body().chunk().await?),
                                _ => drop(answer.bytes(1 << 20).await?),
                            }
                            Ok::<_, BoxError>(())
                        };
                        let _ = timeout(limit, request).await; // dropped wherever it is
                    }
                    Ok(())
                })
            })
            .collect();
        for one in all {
            one.join().await.unwrap();
        }
        eventually("all is back, and everybody agrees", async || {
            let status = client.status();
            let keys = status.pool.keys.iter().map(|key| &key.status);
            let (size, leased) =
                keys.fold((0, 0), |(size, leased), it| (size + it.size, leased + it.leased));
            let sockets = if is_shared { size.min(1) } else { size };
            let found = (leased, status.bodies.draining, live(Kind::CONNECTION), sockets_to(port));
            found == (0, 0, sockets, sockets)
        })
        .await;
        let last = client.get(format!("{url}/")).send().await.unwrap();
        assert_eq!(last.text(10).await.unwrap(), "hello");
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn after_many_requests_given_up_everybody_agrees() {
    let server = NginxServer::start("keepalive_requests 100000;", None).unwrap();
    for (port, protocol) in
        [(server.port(), HttpProtocol::Http1), (server.h2_port(), HttpProtocol::Http2)]
    {
        let http = HttpOptions { protocol, ..HttpOptions::default() };
        everybody_agrees(&format!("http://127.0.0.1:{port}"), port, http).await;
    }
}
