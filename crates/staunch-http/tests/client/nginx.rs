//! Against nginx: HTTP/1.1, HTTP/2, and TLS.

use std::fs;

use hyper::Version;
use rcgen::generate_simple_self_signed;
use staunch::Kind;
use staunch_harness::{NginxServer, live};
use staunch_http::ClientOptions;
use staunch_net::TlsTrust;

use crate::support::with_client;

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
    let certificate = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let server = NginxServer::start("", Some((&chain, &key))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, chain).unwrap();
    let trust = Some(TlsTrust::load(&roots, &["h2", "http/1.1"]).unwrap());
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
