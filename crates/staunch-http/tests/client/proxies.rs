//! Through tinyproxy, and past it.

use hyper::Version;
use staunch::Kind;
use staunch_harness::{NginxServer, TinyproxyServer, eventually, live, poll_times};
use staunch_http::{Client, ClientOptions, Proxies};
use staunch_net::TlsTrust;

use crate::support::{localhost, nothing_left, says, sockets_to, with_client};

/// nginx with a certificate, and whom to trust then.
fn secure() -> (NginxServer, TlsTrust) {
    let own = localhost();
    (NginxServer::start("", Some((&own.chain, &own.key))).unwrap(), own.trust)
}

fn through(port: u16, user: &str) -> Proxies {
    Proxies::all(&format!("http://{user}127.0.0.1:{port}")).unwrap()
}

async fn get(client: &Client, url: &str) -> Result<(u16, Version, String), String> {
    let answer = client.get(url).send().await.map_err(|error| format!("{error} {error:?}"))?;
    let (status, version) = (answer.status().as_u16(), answer.version());
    Ok((status, version, answer.text(10 << 10).await.map_err(|error| error.to_string())?))
}

#[staunch::test]
async fn plain_requests_are_sent_to_the_proxy() {
    let (server, proxy) =
        (NginxServer::start("", None).unwrap(), TinyproxyServer::start("").unwrap());
    let proxies = through(proxy.port(), "");
    with_client(ClientOptions { proxies, ..ClientOptions::default() }, async |client, _| {
        let url = format!("http://127.0.0.1:{}/", server.port());
        let hello = (200, Version::HTTP_11, "hello".to_owned());
        assert_eq!(get(client, &url).await.unwrap(), hello);
        assert_eq!(sockets_to(server.port()), 0, "none but the proxy's");
        let large = client.get(format!("{url}large")).send().await.unwrap();
        assert_eq!(large.bytes(1 << 20).await.unwrap().len(), 1 << 20);
        let first = format!("GET {url} HTTP/1.1");
        assert_eq!(proxy.requests().unwrap(), [first, format!("GET {url}large HTTP/1.1")]);
        let keys = client.status().pool.keys;
        let key = format!("{} by proxy 127.0.0.1:{}", url.trim_end_matches('/'), proxy.port());
        assert_eq!(keys.iter().map(|it| &it.key).collect::<Vec<_>>(), [&key]);
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn tls_goes_through_a_tunnel() {
    let ((server, trust), proxy) = (secure(), TinyproxyServer::start("").unwrap());
    let (proxies, trust) = (through(proxy.port(), ""), Some(trust));
    with_client(ClientOptions { proxies, trust, ..ClientOptions::default() }, async |client, _| {
        let url = format!("https://localhost:{}/", server.tls_port());
        let hello = (200, Version::HTTP_2, "hello".to_owned());
        for _ in 0..3 {
            assert_eq!(get(client, &url).await.unwrap(), hello);
        }
        assert_eq!((live(Kind::CONNECTION), sockets_to(proxy.port())), (1, 1));
        let connect = format!("CONNECT localhost:{} HTTP/1.1", server.tls_port());
        assert_eq!(proxy.requests().unwrap(), [connect], "one tunnel for all");
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_proxy_knows_who_asks() {
    let ((server, trust), proxy) =
        (secure(), TinyproxyServer::start("BasicAuth me hidden").unwrap());
    let urls = [
        format!("http://127.0.0.1:{}/", server.port()),
        format!("https://localhost:{}/", server.tls_port()),
    ];
    let options = |user| ClientOptions {
        proxies: through(proxy.port(), user),
        trust: Some(trust.clone()),
        ..ClientOptions::default()
    };
    with_client(options("me:hidden@"), async |client, _| {
        for url in &urls {
            assert_eq!(get(client, url).await.unwrap().2, "hello");
        }
        assert!(!format!("{client:?} {:?}", client.options()).contains("hidden"));
    })
    .await;
    for user in ["", "me:hidden-no@"] {
        with_client(options(user), async |client, _| {
            // It is the proxy that answers a plain request.
            assert!([401, 407].contains(&get(client, &urls[0]).await.unwrap().0));
            let error = get(client, &urls[1]).await.unwrap_err();
            let named = format!("the proxy 127.0.0.1:{} refuses: 40", proxy.port());
            assert!(error.contains(&named) && error.contains("name and a password"), "{error}");
            assert!(!error.contains("hidden") && !error.contains("bWU6"), "{error}");
            assert_eq!(client.status().retries, 0, "time does not heal that");
        })
        .await;
    }
}

#[staunch::test(flavor = "multi_thread")]
async fn what_a_proxy_refuses_is_an_error_that_says_so() {
    let ((server, trust), proxy) = (secure(), TinyproxyServer::start("ConnectPort 443").unwrap());
    let (proxies, trust) = (through(proxy.port(), ""), Some(trust));
    with_client(ClientOptions { proxies, trust, ..ClientOptions::default() }, async |client, _| {
        let url = format!("https://localhost:{}/", server.tls_port());
        let error = get(client, &url).await.unwrap_err();
        let named = format!("the proxy 127.0.0.1:{} refuses: 403; its rules", proxy.port());
        assert!(error.contains(&named) && error.contains("localhost"), "{error}");
        nothing_left("the connection that was refused", client, proxy.port()).await;
    })
    .await;
}

#[staunch::test]
async fn exceptions_go_past_it() {
    let (server, proxy) =
        (NginxServer::start("", None).unwrap(), TinyproxyServer::start("").unwrap());
    let proxies = through(proxy.port(), "").except("127.0.0.0/8").unwrap();
    with_client(ClientOptions { proxies, ..ClientOptions::default() }, async |client, _| {
        let hello = get(client, &format!("http://127.0.0.1:{}/", server.port())).await;
        assert_eq!(hello.unwrap().2, "hello");
        assert_eq!((sockets_to(server.port()), proxy.requests().unwrap().len()), (1, 0));
        let other = get(client, &format!("http://localhost:{}/", server.port())).await;
        assert_eq!((other.unwrap().2.as_str(), proxy.requests().unwrap().len()), ("hello", 1));
    })
    .await;
}

/// Whatever it is that stands there.
#[staunch::test]
async fn bad_proxies_are_errors_that_name_them() {
    for (answer, reason) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "is not HTTP/1"),
        (&b"HTTP/1.1 200 OK\r\n".repeat(2000), "more than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\nthis is no TLS", "does not speak TLS"),
    ] {
        with_client(ClientOptions::default(), async |_, s| {
            let proxy = says(s, answer.to_vec()).await;
            let proxies = through(proxy.port(), "me:hidden@");
            let mut options = ClientOptions { proxies, ..ClientOptions::default() };
            options.retry.max_retries = 0;
            let client = Client::new(s, options).unwrap();
            let error = get(&client, "https://localhost/").await.unwrap_err();
            let name = format!("127.0.0.1:{}", proxy.port());
            assert!(error.contains(reason) && error.contains(&name), "{error}");
            assert!(!error.contains("hidden") && !error.contains("bWU6"), "{error}");
            nothing_left(reason, &client, proxy.port()).await;
        })
        .await;
    }
}

#[staunch::test]
async fn a_request_through_a_tunnel_is_dropped_at_every_await() {
    let ((server, trust), proxy) = (secure(), TinyproxyServer::start("").unwrap());
    let url = format!("https://localhost:{}/", server.tls_port());
    let mut is_over = false;
    for polls in 1..200 {
        let (proxies, trust) = (through(proxy.port(), ""), Some(trust.clone()));
        let mut options = ClientOptions { proxies, trust, ..ClientOptions::default() };
        options.pool.per_key.max_idle = 0;
        with_client(options, async |client, _| {
            is_over = poll_times(polls, Box::pin(get(client, &url))).await.is_some();
            nothing_left(&format!("poll {polls}"), client, proxy.port()).await;
        })
        .await;
        if is_over {
            break;
        }
    }
    assert!(is_over, "it comes to its end");
    eventually("none is left", async || sockets_to(proxy.port()) == 0).await;
}
