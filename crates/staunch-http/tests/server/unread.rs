//! A request's body that nobody reads, over HTTP/1: what has come of it is forgotten and the connection
//! goes on, or the answer says that it ends.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{Request, Response, StatusCode, header::HeaderValue};
use staunch::BoxError;
use staunch_http::{HttpLimits, RequestBody, handler};
use staunch_net::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::support::{SOON, eventually, parked, with_server};

type Body = Either<Full<Bytes>, RequestBody>;

const PATIENCE: Duration = Duration::from_secs(10);

/// The body of a request that is answered before it is read.
static KEPT: Mutex<Option<RequestBody>> = Mutex::new(None);

async fn answer(request: Request<RequestBody>) -> Response<Body> {
    let own = |status, text: String| {
        let mut answer = Response::new(Either::Left(Full::new(text.into())));
        *answer.status_mut() = status;
        answer
    };
    match request.uri().path() {
        "/refuses" => own(StatusCode::UNAUTHORIZED, "no".to_owned()),
        "/reads" => match request.into_body().collect().await {
            Ok(body) => own(StatusCode::OK, body.to_bytes().len().to_string()),
            Err(error) => own(StatusCode::BAD_REQUEST, error.to_string()),
        },
        "/waits" => std::future::pending().await,
        path @ ("/keeps" | "/keeps-last") => {
            let mut answer = own(StatusCode::OK, "kept".to_owned());
            if path == "/keeps-last" {
                answer.headers_mut().insert("connection", HeaderValue::from_static("close"));
            }
            let mut body = request.into_body();
            let _ = body.frame().await;
            *KEPT.lock().unwrap() = Some(body);
            answer
        }
        "/hands-on" => Response::new(Either::Right(request.into_body())),
        _ => own(StatusCode::OK, "next".to_owned()),
    }
}

/// A server whose bodies have 100 kB, and little time.
async fn with_small(client: impl AsyncFnOnce(SocketAddr)) {
    let limits = HttpLimits {
        body_bytes: 100_000,
        body_time: SOON,
        request_time: 2 * SOON,
        park_after: Duration::from_millis(20),
        ..HttpLimits::default()
    };
    let client = async |address, _: &staunch::Scope<BoxError>| client(address).await;
    with_server(limits, Limits::default(), handler(answer), client).await;
}

/// The head of the next answer, whose body has a length or chunks.
async fn head(client: &mut BufReader<TcpStream>) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        said.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(said).unwrap();
    if head.starts_with("HTTP/1.1 100 ") {
        return head;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        client.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
    } else {
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(client.read_u8().await.unwrap());
        }
    }
    head
}

/// What is said in one packet gets this status; whether the connection goes on after it is what its
/// answer says.
async fn check(address: SocketAddr, said: &[u8], status: u16, goes_on: bool) {
    let what = String::from_utf8_lossy(&said[..said.len().min(100)]).into_owned();
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    client.write_all(said).await.unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    assert_eq!(!answer.contains("connection: close\r\n"), goes_on, "{what}: {answer}");
    if goes_on {
        client.write_all(b"GET / HTTP/1.1\r\nHost: l\r\n\r\n").await.unwrap();
        let next = head(&mut client).await;
        assert!(next.starts_with("HTTP/1.1 200 "), "{what}: {next}");
    } else {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "{what}: an end, and no reset");
    }
}

fn post(path: &str, header: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: l\r\n{header}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

#[staunch::test]
async fn what_has_come_of_it_is_forgotten() {
    with_small(async |address| {
        let goes_on = async |said: &[u8]| check(address, said, 401, true).await;
        goes_on(&post("/refuses", "Content-Length: 0", b"")).await;
        goes_on(&post("/refuses", "Content-Length: 5", b"hello")).await;
        goes_on(&post("/refuses", CHUNKED, b"0\r\n\r\n")).await;
        goes_on(&post("/refuses", CHUNKED, b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")).await;
        goes_on(&post("/refuses", CHUNKED, b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")).await;
        goes_on(&post("/refuses", "Content-Length: 20000", &vec![b'a'; 20_000])).await;
        let many = b"1\r\na\r\n".repeat(1000);
        goes_on(&post("/refuses", CHUNKED, &[&many[..], b"0\r\n\r\n"].concat())).await;
    })
    .await;
}

#[staunch::test]
async fn what_follows_it_is_the_next_request() {
    with_small(async |address| {
        let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
        let refused = post("/refuses", CHUNKED, b"5\r\nhello\r\n0\r\n\r\n");
        let next = post("/reads", "Content-Length: 2", b"ab");
        client.write_all(&[refused.clone(), next, refused].concat()).await.unwrap();
        for status in ["401", "200", "401"] {
            let answer = head(&mut client).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    })
    .await;
}

#[staunch::test]
async fn an_answer_says_that_there_is_more_of_it() {
    with_small(async |address| {
        let ends = async |said: &[u8], status| check(address, said, status, false).await;
        ends(&post("/refuses", "Content-Length: 5000", b""), 401).await;
        ends(&post("/refuses", "Content-Length: 5000", b"some of it"), 401).await;
        ends(&post("/refuses", CHUNKED, b"5\r\nhello\r\n"), 401).await;
        ends(&post("/refuses", "Content-Length: 90000", &vec![b'a'; 90_000]), 401).await;
        ends(&post("/refuses", "Content-Length: 100001", b""), 413).await;
        ends(&post("/reads", CHUNKED, &[b"186a1\r\n".to_vec(), vec![b'a'; 100_001]].concat()), 413)
            .await;
        ends(&post("/reads", CHUNKED, b"no size\r\n"), 400).await;
        ends(&post("/reads", "Content-Length: 5000", b"some of it"), 408).await;
        ends(&post("/waits", "Content-Length: 5000", b""), 503).await;
    })
    .await;
}

/// hyper gives the socket of such a client to whoever would speak the other protocol.
#[staunch::test]
async fn who_asks_for_another_protocol_hears_of_the_end_too() {
    const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 90000";
    with_small(async |address| {
        check(address, &post("/refuses", UPGRADE, &vec![b'a'; 89_000]), 401, false).await;
    })
    .await;
}

#[staunch::test]
async fn a_client_that_is_not_told_to_go_on_is_told_that_it_ends() {
    const EXPECT: &str = "Content-Length: 5\r\nExpect: 100-continue";
    with_small(async |address| {
        check(address, &post("/refuses", EXPECT, b""), 401, false).await;
        check(address, &post("/other", EXPECT, b""), 200, false).await;
        let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
        client.write_all(&post("/reads", EXPECT, b"")).await.unwrap();
        assert!(head(&mut client).await.starts_with("HTTP/1.1 100 "));
        client.write_all(b"hello").await.unwrap();
        let answer = head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("close"), "{answer}");
    })
    .await;
}

/// Who has the body may still read it: nothing is said of the connection, and it goes on.
#[staunch::test]
async fn one_that_is_handed_on_is_read_after_the_head() {
    with_small(async |address| {
        check(address, &post("/hands-on", CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"), 200, true).await;
    })
    .await;
}

/// As a proxy has it whose server answers early, and goes: what still comes of it is for nobody, least of
/// all another request.
#[staunch::test]
async fn one_that_is_given_up_after_the_answer_ends_the_connection() {
    const NEXT: &[u8] = b"GET /two HTTP/1.1\r\nHost: l\r\n\r\n";
    for (path, header, first) in [
        ("/keeps", CHUNKED, &b"5\r\nhello\r\n"[..]),
        ("/keeps", "Content-Length: 5000", b"hello"),
        ("/keeps-last", "Content-Length: 5000", b"hello"),
    ] {
        for (pauses, gives_up) in [(false, true), (true, true), (true, false)] {
            let what = format!("{path} {header}, {pauses}, {gives_up}");
            with_small(async |address| {
                let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
                client.write_all(&post(path, header, first)).await.unwrap();
                let answer = head(&mut client).await;
                let is_last = answer.contains("connection: close\r\n");
                assert_eq!(is_last, path == "/keeps-last", "{what}: {answer}");
                if pauses {
                    later(address).await;
                }
                let kept = KEPT.lock().unwrap().take();
                let kept = kept.filter(|_| !gives_up);
                let more: &[u8] = if gives_up { NEXT } else { b"5\r\nworld\r\n" };
                client.write_all(more).await.unwrap();
                drop(kept);
                let mut next = [0];
                let end = timeout(PATIENCE, client.read(&mut next)).await.expect("it ends");
                assert_eq!(end.unwrap(), 0, "{what}: an end, no reset and no answer");
            })
            .await;
        }
    }
}

/// Waits until a connection that was at rest by now would be parked.
async fn later(address: SocketAddr) {
    let mut other = BufReader::new(TcpStream::connect(address).await.unwrap());
    other.write_all(b"GET / HTTP/1.1\r\nHost: l\r\nTE: gzip\r\n\r\n").await.unwrap();
    head(&mut other).await;
    eventually("it is parked", || parked() == 1).await;
}

/// Its bytes are no head of another request, however long they take.
#[staunch::test]
async fn one_that_is_read_after_the_answer_takes_its_time() {
    let park_after = Duration::from_millis(20);
    let limits = HttpLimits { head_time: SOON / 3, park_after, ..HttpLimits::default() };
    let client = async |address, _: &staunch::Scope<BoxError>| {
        let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
        client.write_all(&post("/keeps", CHUNKED, b"5\r\nhello\r\n")).await.unwrap();
        let answer = head(&mut client).await;
        assert!(!answer.contains("connection: close\r\n"), "{answer}");
        let mut body = KEPT.lock().unwrap().take().unwrap();
        client.write_all(b"5\r\nworld\r\n").await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "world");
        tokio::time::sleep(SOON).await;
        client.write_all(b"0\r\n\r\n").await.unwrap();
        assert!(body.frame().await.is_none());
        drop(body);
        eventually("it is parked", || parked() == 1).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: l\r\n\r\n").await.unwrap();
        let next = head(&mut client).await;
        assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
    };
    with_server(limits, Limits::default(), handler(answer), client).await;
}

/// Whoever has had the trailers does not ask for more, and yet that was all.
#[staunch::test]
async fn one_with_trailers_is_at_its_end_with_them() {
    with_small(async |address| {
        let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
        let trailers = b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
        client.write_all(&post("/hands-on", CHUNKED, trailers)).await.unwrap();
        head(&mut client).await;
        eventually("it is parked", || parked() == 1).await;
    })
    .await;
}
