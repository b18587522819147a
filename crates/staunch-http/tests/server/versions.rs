//! HTTP/1 and HTTP/2 on the same listener.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, Version, header::HeaderValue};
use staunch::{Kind, Ledger};
use staunch_http::{HttpLimits, RequestBody, handler};
use staunch_net::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
};

use crate::support::{Answer, get, get1, http1, http2, read, text, with_server};

async fn version(request: Request<RequestBody>) -> Answer {
    let version = request.version();
    let body = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    text(format!("{version:?} {body}"))
}

#[staunch::test]
async fn the_first_bytes_say_which() {
    let served = with_server(
        HttpLimits::default(),
        Limits::default(),
        handler(version),
        async |address, scope| {
            let mut client = http1(address, scope).await;
            for _ in 0..3 {
                let answer = client.send_request(get1("/")).await.unwrap();
                assert_eq!(read(answer).await, (200, "HTTP/1.1 0".to_owned()));
                client.ready().await.unwrap();
            }
            let mut client = http2(address, scope).await;
            let request = Request::post("http://localhost/").body(Full::from("12345")).unwrap();
            let answer = client.send_request(request).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_eq!(read(answer).await, (200, "HTTP/2.0 5".to_owned()));
        },
    )
    .await;
    assert_eq!(served, (2, 0));
}

#[staunch::test]
async fn a_request_that_comes_byte_by_byte_is_understood() {
    with_server(HttpLimits::default(), Limits::default(), handler(version), async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.set_nodelay(true).unwrap();
        // It begins as the preface of HTTP/2 does.
        for byte in b"PRINT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("HTTP/1.1 0"));
    })
    .await;
}

/// A hundred at a time: each waits for all the others. On the ledger each is a child of the
/// connection's scope.
#[staunch::test]
async fn requests_of_one_connection_are_answered_side_by_side() {
    const MANY: usize = 100;
    let together: &Barrier = Box::leak(Box::new(Barrier::new(MANY)));
    let service = handler(move |_| async {
        together.wait().await;
        let snapshot = Ledger::current().snapshot();
        let tasks = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::TASK);
        let requests = tasks.filter(|entry| entry.label().to_string() == "request").count();
        text(Bytes::from(requests.to_string()))
    });
    let (http, limits) = (HttpLimits::default(), Limits::default());
    let served = with_server(http, limits, service, async |address, scope| {
        let client = http2(address, scope).await;
        let answers: Vec<_> = (0..MANY)
            .map(|_| {
                let mut client = client.clone();
                scope.fork(async move { Ok(read(client.send_request(get("/")).await?).await) })
            })
            .collect();
        let mut most = 0;
        for answer in answers {
            let (status, requests) = answer.join().await.unwrap();
            assert_eq!(status, 200);
            most = most.max(requests.parse::<usize>().unwrap());
        }
        assert_eq!(most, MANY, "all at a time");
    })
    .await;
    assert_eq!(served, (1, 0));
}

#[staunch::test]
async fn a_body_over_its_limit_is_refused_by_both() {
    let http = HttpLimits { body_bytes: 4, ..HttpLimits::default() };
    with_server(http, Limits::default(), handler(version), async |address, scope| {
        let mut client = http2(address, scope).await;
        let request = Request::post("http://localhost/").body(Full::from("12345")).unwrap();
        let (status, why) = read(client.send_request(request).await.unwrap()).await;
        assert_eq!(status, 413);
        assert!(why.contains("a body of 5 bytes; at most 4 are taken"), "{why}");
        let answer = client.send_request(get("/")).await.unwrap();
        assert_eq!(read(answer).await.0, 200, "the connection goes on");
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"));
    })
    .await;
}

/// RFC 9110, 6.4.1: whatever a handler makes for them. Clients take content for a broken connection.
#[staunch::test]
async fn statuses_without_content_have_none_over_http2() {
    let service = handler(|request: Request<RequestBody>| async move {
        let mut answer = text("something nobody is sent");
        *answer.status_mut() = request.uri().path()[1..4].parse().unwrap();
        if request.uri().path().ends_with("says-length") {
            answer.headers_mut().insert("content-length", "24".parse().unwrap());
        }
        answer
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, scope| {
        let mut client = http2(address, scope).await;
        for (path, length) in [
            ("/204", None),
            ("/204/says-length", None),
            ("/205", None),
            ("/205/says-length", None),
            ("/304", None),
            ("/304/says-length", Some("24")), // that of a 200
            ("/200", Some("24")),
        ] {
            let answer = client.send_request(get(path)).await.unwrap();
            let said = answer.headers().get("content-length").map(|it| it.to_str().unwrap());
            assert_eq!(said, length, "{path}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.is_empty(), path != "/200", "{path}: {body:?}");
        }
    })
    .await;
}

/// Whether the size is announced or not, and whoever refuses it: curl, which is in the middle of sending,
/// has the answer. Up to version 7.88 it loses it to a reset that comes too soon.
#[staunch::test]
async fn curl_hears_of_a_body_over_its_limit() {
    let service = handler(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(_) => text("all of it"),
            Err(_) => Response::builder().status(400).body(Full::default()).unwrap(),
        }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, scope| {
        for header in ["x-size: announced", "content-length:"] {
            let url = format!("http://{address}/");
            let curl = scope.blocking(move |_| {
                let mut curl = Command::new("curl");
                curl.args([
                    "--silent",
                    "--show-error",
                    "--http2-prior-knowledge",
                    "--max-time",
                    "20",
                ]);
                curl.args([
                    "--output",
                    "/dev/null",
                    "--write-out",
                    "%{http_code}",
                    "--header",
                    header,
                ]);
                curl.args(["--data-binary", "@-"]).arg(url);
                let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
                let sent = curl.stdin.take().map(|mut stdin| stdin.write_all(&vec![0; 8 << 20]));
                drop(sent); // it may hang up before the end
                let said = curl.wait_with_output()?;
                Ok(String::from_utf8_lossy(&said.stdout).into_owned())
            });
            assert_eq!(curl.join().await.unwrap(), "413", "{header}");
        }
    })
    .await;
}

#[staunch::test]
async fn headers_are_counted_over_http2_and_all_cookies_are_one() {
    let http = HttpLimits { headers: 8, ..HttpLimits::default() };
    with_server(http, Limits::default(), handler(version), async |address, scope| {
        let mut client = http2(address, scope).await;
        for (name, count, expected) in [("x", 8, 200), ("x", 9, 431), ("cookie", 50, 200)] {
            let mut request = get("/");
            let value = HeaderValue::from_static("a=1");
            (0..count).for_each(|_| _ = request.headers_mut().append(name, value.clone()));
            let (status, why) = read(client.send_request(request).await.unwrap()).await;
            assert_eq!(status, expected, "{count} of {name}: {why}");
        }
    })
    .await;
}
