//! A request has an account, a context and limits of its own.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Frame},
};
use staunch::{BoxError, Context, Kind, Ledger, scope};
use staunch_http::{HttpLimits, RequestBody, handler};
use staunch_net::Limits;
use staunch_scope::current_task;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{
    Answer, AtWork, SOON, eventually, get, get1, http1, http2, read, text, with_server,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn requests() -> usize {
    let snapshot = Ledger::current().snapshot();
    snapshot.entries().iter().filter(|entry| entry.kind() == Kind::REQUEST).count()
}

/// What a handler finds around it.
async fn surroundings(_: Request<RequestBody>) -> Answer {
    let context = Context::current();
    let seconds = context.remaining().map_or(0, |left| left.as_secs());
    let (ledger, own) =
        (Ledger::current(), current_task().and_then(|id| Ledger::current().entry(id)));
    let own = own.expect("a request has an entry");
    let parent = own.parent().and_then(|id| ledger.entry(id)).expect("so has its connection");
    let child = scope(&context, |s| async move {
        Ok::<_, BoxError>(ledger.entry(s.id()).and_then(|entry| entry.parent()))
    });
    let owns_scopes = child.await.is_ok_and(|owner| owner == Some(own.id()));
    let kinds = format!("{} of {}", own.kind(), parent.kind());
    text(format!("{} {kinds} {} {owns_scopes} {seconds}", context.trace_id(), own.label()))
}

#[staunch::test]
async fn its_handler_finds_them() {
    let limits = HttpLimits { request_time: Duration::from_secs(100), ..HttpLimits::default() };
    with_server(limits, Limits::default(), handler(surroundings), async |address, scope| {
        let expected = format!("{TRACE} request of connection GET /a true 99");
        let header = format!("00-{TRACE}-b7ad6b7169203331-01");
        let mut request = get1("/a?secret=1");
        request.headers_mut().insert("traceparent", header.parse().unwrap());
        let mut client = http1(address, scope).await;
        assert_eq!(read(client.send_request(request).await.unwrap()).await.1, expected);
        let mut request = get("/a?secret=1");
        request.headers_mut().insert("traceparent", header.parse().unwrap());
        let mut client = http2(address, scope).await;
        assert_eq!(read(client.send_request(request).await.unwrap()).await.1, expected);

        let one = read(client.send_request(get("/a")).await.unwrap()).await.1;
        let two = read(client.send_request(get("/a")).await.unwrap()).await.1;
        assert_ne!(one, two, "without a header, each has a trace id of its own");
        eventually("none is left", || requests() == 0).await;
    })
    .await;
}

/// A body that is made when it is asked for.
struct Later(Option<Pin<Box<dyn Future<Output = Bytes> + Send>>>);

impl Body for Later {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(making) = &mut self.0 else { return Poll::Ready(None) };
        let bytes = ready!(making.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

#[staunch::test]
async fn it_lives_as_long_as_its_answer_is_made() {
    let (sender, receiver) = tokio::sync::watch::channel(());
    let service = handler(move |_| {
        let mut go_on = receiver.clone();
        async move {
            Response::new(Later(Some(Box::pin(async move {
                let _ = go_on.changed().await;
                Bytes::from(Context::current().deadline().is_some().to_string())
            }))))
        }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, scope| {
        let mut client = http1(address, scope).await;
        let answer = client.send_request(get1("/")).await.unwrap();
        assert_eq!(requests(), 1);
        sender.send(()).unwrap();
        assert_eq!(read(answer).await.1, "true");
        eventually("it has ended", || requests() == 0).await;
    })
    .await;
}

#[staunch::test]
async fn a_handler_that_takes_too_long_is_dropped() {
    let at_work = AtWork::default();
    let works = at_work.clone();
    let service = handler(move |_| {
        let working = works.begin();
        async move {
            let _working = working;
            std::future::pending::<()>().await;
            text("never")
        }
    });
    let limits = HttpLimits { request_time: SOON, ..HttpLimits::default() };
    with_server(limits, Limits::default(), service, async |address, scope| {
        let mut client = http1(address, scope).await;
        let answer = client.send_request(get1("/slow")).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
        );
        assert_eq!(at_work.count(), 0);
        let mut client = http2(address, scope).await;
        let answer = client.send_request(get("/slow")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(at_work.count(), 0);
        let late = observed("request-time");
        assert_eq!(late.len(), 2);
        assert!(late[0].starts_with("GET /slow"), "{}", late[0]);
    })
    .await;
}

/// What the ledger was told under this name.
fn observed(rule: &str) -> Vec<String> {
    let all = Ledger::current().observations();
    all.into_iter().filter(|it| it.rule == rule).map(|it| it.text).collect()
}

/// What the server says to this, until it closes the connection or the text has come.
async fn said(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut bytes = [0; 1024];
    while !answer.ends_with(b".\n") {
        match client.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
        }
    }
    String::from_utf8(answer).unwrap()
}

#[staunch::test]
async fn what_is_over_a_limit_gets_its_status() {
    let service = handler(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => text(format!("{} bytes.\n", body.to_bytes().len())),
            Err(error) => {
                let mut answer = text(format!("{error}.\n"));
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                answer
            }
        }
    });
    let limits = HttpLimits {
        uri_bytes: 20,
        body_bytes: 10,
        head_time: SOON,
        body_time: SOON,
        body_rate: 1,
        ..HttpLimits::default()
    };
    with_server(limits, Limits::default(), service, async |address, _| {
        let check = async |head: &str, expected: &str| {
            let answer = said(address, &format!("{head}\r\nHost: l\r\n\r\n")).await;
            assert!(answer.starts_with(expected), "{head}: {answer}");
        };
        check("GET /a?b HTTP/1.1", "HTTP/1.1 200 OK").await;
        check(&format!("GET /{} HTTP/1.1", "a".repeat(20)), "HTTP/1.1 414 ").await;
        check("POST / HTTP/1.1\r\nContent-Length: 11", "HTTP/1.1 413 ").await;
        check("POST / HTTP/1.1\r\nContent-Length: 1", "HTTP/1.1 408 ").await;
        let chunks =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: l\r\n\r\nb\r\n12345678901\r\n";
        let answer = said(address, chunks).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let many = "\r\nX: 1".repeat(80);
        check(&format!("GET / HTTP/1.1{many}"), "HTTP/1.1 431 ").await;
    })
    .await;
}

/// The body comes, but a byte at a time.
#[staunch::test]
async fn a_body_below_its_rate_is_refused() {
    let service = handler(|request: Request<RequestBody>| async move {
        let error = request.into_body().collect().await.expect_err("it is too slow");
        let mut answer: Response<Full<Bytes>> = text(format!("{error}.\n"));
        *answer.status_mut() = StatusCode::OK; // a handler may have its own mind
        answer
    });
    let limits = HttpLimits { body_rate: 1000, ..HttpLimits::default() };
    with_server(limits, Limits::default(), service, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 1000\r\n\r\n";
        client.write_all(head).await.unwrap();
        let (mut reads, mut writes) = client.split();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if writes.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut bytes = [0; 1024];
        let count = tokio::select! {
            count = reads.read(&mut bytes) => count.unwrap(),
            () = drip => 0,
        };
        let answer = String::from_utf8_lossy(&bytes[..count]).into_owned();
        assert!(answer.contains("`body_rate`"), "{answer}");
    })
    .await;
}

#[staunch::test]
async fn a_connection_has_so_many_requests() {
    let limits = HttpLimits { requests: 2, ..HttpLimits::default() };
    let service = handler(|_| async { text("hello") });
    let served = with_server(limits, Limits::default(), service, async |address, scope| {
        let mut client = http1(address, scope).await;
        let first = client.send_request(get1("/")).await.unwrap();
        assert!(!first.headers().contains_key("connection"));
        let last = client.send_request(get1("/")).await.unwrap();
        assert_eq!(last.headers()["connection"], "close");
        assert_eq!(read(last).await.1, "hello");
        eventually("it is closed", || client.is_closed()).await;
        let mut client = http2(address, scope).await;
        for _ in 0..2 {
            let answer = client.send_request(get("/")).await.unwrap();
            assert_eq!(read(answer).await.1, "hello");
        }
        eventually("it is closed, too", || client.is_closed()).await;
    })
    .await;
    assert_eq!(served, (2, 0));
}

/// How many bytes of a body came, or why there were no more.
async fn counted(request: Request<RequestBody>) -> Answer {
    match request.into_body().collect().await {
        Ok(body) => text(format!("{} bytes.\n", body.to_bytes().len())),
        Err(error) => text(format!("{error}.\n")),
    }
}

/// `Limits::message` is for protocols that know no time of their own: the head and the body both take
/// longer here than it allows.
#[staunch::test]
async fn an_upload_has_the_time_that_http_gives_it() {
    const MESSAGE: Duration = Duration::from_millis(200);
    let limits = Limits { message: Some(MESSAGE), ..Limits::default() };
    let served =
        with_server(HttpLimits::default(), limits, handler(counted), async |address, _| {
            let mut client = TcpStream::connect(address).await.unwrap();
            let begun = Instant::now();
            let mut drip = async |what: &[u8]| {
                for byte in what {
                    client.write_all(&[*byte]).await.unwrap();
                    sleep(MESSAGE / 10).await;
                }
                begun.elapsed()
            };
            let took = drip(b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 40\r\n\r\n").await;
            assert!(took > 3 * MESSAGE, "{took:?}");
            drip(&[b'a'; 40]).await;
            let mut answer = vec![0; 1024];
            let count = client.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
            assert!(answer.ends_with("40 bytes.\n"), "{answer}");
        });
    assert_eq!(served.await.0, 1);
    assert_eq!(observed("cut-message"), [""; 0]);
}

#[staunch::test]
async fn a_pause_in_an_upload_is_a_stall() {
    let limits = Limits { read_stall: Some(SOON), ..Limits::default() };
    with_server(HttpLimits::default(), limits, handler(counted), async |address, _| {
        for begun in ["POST / HT", "POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 40\r\n\r\nab"] {
            said(address, begun).await; // until it is reset
        }
        assert_eq!(observed("cut-read-stall").len(), 2);
    })
    .await;
}
