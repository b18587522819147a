//! Between two requests a connection holds nothing, and the client does not notice.

use std::{net::SocketAddr, time::Duration};

use rcgen::generate_simple_self_signed;
use staunch::{BoxError, Context, scope};
use staunch_http::{HttpLimits, Server, handler};
use staunch_net::{
    DialOptions, Dialer, Endpoint, Limits, Listener, SocketOptions, TlsConfig, TlsTrust,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, SOON, eventually, parked, text, with_server};

const PARK_AFTER: Duration = Duration::from_millis(20);

fn limits() -> HttpLimits {
    HttpLimits { park_after: PARK_AFTER, ..HttpLimits::default() }
}

async fn say(client: &mut (impl AsyncWrite + Unpin), text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

/// Reads one answer, which ends with this.
async fn hear(client: &mut (impl AsyncRead + Unpin), end: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut bytes = [0; 512];
        let count = client.read(&mut bytes).await.unwrap();
        assert!(count > 0, "it ends after {}", answer.escape_ascii());
        answer.extend_from_slice(&bytes[..count]);
    }
}

async fn path(request: hyper::Request<staunch_http::RequestBody>) -> Answer {
    text(format!("this is {}", request.uri().path()))
}

const ONE: &str = "GET /one HTTP/1.1\r\nHost: l\r\n\r\n";
const TWO: &str = "GET /two HTTP/1.1\r\nHost: l\r\n\r\n";

async fn parked_client(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    say(&mut client, ONE).await;
    hear(&mut client, "this is /one").await;
    eventually("it is parked", || parked() == 1).await;
    client
}

#[staunch::test]
async fn a_parked_connection_answers_as_before() {
    with_server(limits(), Limits::default(), handler(path), async |address, _| {
        let mut client = parked_client(address).await;
        for _ in 0..3 {
            say(&mut client, TWO).await;
            hear(&mut client, "this is /two").await;
            eventually("it is parked again", || parked() == 1).await;
        }
        let (begin, end) = TWO.split_at(7);
        say(&mut client, begin).await;
        eventually("its head has begun", || parked() == 0).await;
        say(&mut client, end).await;
        hear(&mut client, "this is /two").await;
        say(&mut client, &format!("{ONE}{ONE}{TWO}")).await;
        hear(&mut client, "this is /two").await;
        eventually("it is parked again", || parked() == 1).await;
    })
    .await;
}

/// hyper would give its socket to whoever speaks the other protocol, which is nobody.
#[staunch::test]
async fn who_has_asked_for_another_protocol_in_vain_is_answered_as_before() {
    with_server(limits(), Limits::default(), handler(path), async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let upgrade = ONE.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
        say(&mut client, &upgrade).await;
        hear(&mut client, "this is /one").await;
        let later = parked_client(address).await; // so the time is over for the first, too
        say(&mut client, TWO).await;
        hear(&mut client, "this is /two").await;
        drop(later);
    })
    .await;
}

/// Whatever is forgotten of a connection at rest, not how many requests it has had.
#[staunch::test]
async fn a_parked_connection_has_as_many_requests_as_others() {
    let limits = HttpLimits { requests: 2, ..limits() };
    with_server(limits, Limits::default(), handler(path), async |address, _| {
        let mut client = parked_client(address).await;
        say(&mut client, TWO).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("this is /two"), "{answer}");
    })
    .await;
}

/// The session stays, and what it has deciphered is not lost.
#[staunch::test]
async fn over_tls_a_connection_is_parked_too() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = TlsConfig::load(&chain, &key, &["http/1.1"]).unwrap();
    let trust = TlsTrust::load(&chain, &["http/1.1"]).unwrap();
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), Limits::default()).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let ended = scope(&Context::current(), |s| async move {
        let (context, cancel) = Context::current().with_cancel();
        let server = Server::new(limits());
        let served =
            s.fork(
                async move { Ok(server.serve_tls(listener, &context, &tls, handler(path)).await) },
            );
        let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
        let mut client = dialer.tls(&Context::current(), address, "localhost", &trust).await?;
        for _ in 0..3 {
            say(&mut client, TWO).await;
            hear(&mut client, "this is /two").await;
            eventually("it is parked", || parked() == 1).await;
        }
        // One record: its end is deciphered with its begin, and read after it.
        say(&mut client, &format!("{ONE}{ONE}{TWO}")).await;
        hear(&mut client, "this is /two").await;
        cancel.cancel();
        let served = served.join().await?;
        s.stop();
        Ok::<_, BoxError>((served.accepted, served.cut.len()))
    });
    assert_eq!(ended.await.unwrap(), (1, 0));
}

/// What came with the request before is the begin of the next: it is not forgotten, and not parked.
#[staunch::test]
async fn the_begin_of_the_next_request_is_kept() {
    let http = HttpLimits { head_time: 2 * SOON, ..limits() };
    with_server(http, Limits::default(), handler(path), async |address, _| {
        for pause in [Duration::ZERO, 5 * PARK_AFTER] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let (begin, end) = TWO.split_at(9);
            say(&mut client, &format!("{ONE}{begin}")).await;
            hear(&mut client, "this is /one").await;
            tokio::time::sleep(pause).await; // perhaps it is rebuilt meanwhile
            say(&mut client, end).await;
            hear(&mut client, "this is /two").await;
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        say(&mut client, &format!("{ONE}GET /")).await;
        hear(&mut client, "this is /one").await;
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await; // its head takes too long
        assert_eq!(parked(), 0);
    })
    .await;
}

#[staunch::test]
async fn a_parked_connection_ends_with_its_client_its_limit_and_its_server() {
    let net = Limits { idle: Some(SOON), ..Limits::default() };
    let served = with_server(limits(), net, handler(path), async |address, _| {
        drop(parked_client(address).await);
        eventually("it has ended with its client", || parked() == 0).await;
        let mut client = parked_client(address).await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "it was idle for too long");
        eventually("it has ended by its limit", || parked() == 0).await;
        drop(parked_client(address).await);
        let silent = TcpStream::connect(address).await.unwrap();
        eventually("who says nothing is there, too", || parked() == 1).await;
        drop(silent);
    })
    .await;
    assert_eq!(served, (4, 0));

    let mut kept = None;
    let served = with_server(limits(), Limits::default(), handler(path), async |address, _| {
        let silent = TcpStream::connect(address).await.unwrap();
        eventually("who says nothing is there", || parked() == 1).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        say(&mut client, ONE).await;
        hear(&mut client, "this is /one").await;
        eventually("both are parked", || parked() == 2).await;
        kept = Some((silent, client));
    })
    .await;
    assert_eq!(served, (2, 0), "a stop closes them at once: nobody was cut");
}
