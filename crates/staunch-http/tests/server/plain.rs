//! Requests that need nothing of hyper are answered as it would answer them.
//!
//! With `TE` a request is hyper's. So whatever a handler answers, it must look the same to a client
//! that says `TE` and to one that does not.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::HeaderValue,
};
use staunch::{BoxError, Context, Kind, Ledger};
use staunch_http::{
    HttpLimits, RequestBody, Resting, ServeHttpError, Server, handler, keep_until_sent, serve,
};
use staunch_net::{Connection, Control, Endpoint, Limits, Listener, SocketOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use crate::support::{AtWork, SOON, Working, eventually, parked, text, with_server};

/// A body of parts: data, trailers, an error; or one that is still in the making.
#[derive(Clone, Debug, Default)]
struct Parts {
    parts: VecDeque<Part>,
    length: Option<u64>,
}

#[derive(Clone, Debug)]
enum Part {
    Data(Bytes),
    Trailers,
    Error,
    /// It is polled once more.
    Later,
    Never,
}

impl Parts {
    fn of<const N: usize>(parts: [&'static [u8]; N]) -> Parts {
        let data = |bytes| Part::Data(Bytes::from_static(bytes));
        Parts { parts: parts.into_iter().map(data).collect(), length: None }
    }

    fn and(mut self, part: Part) -> Parts {
        self.parts.push_back(part);
        self
    }

    fn long(self, length: u64) -> Parts {
        Parts { length: Some(length), ..self }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match self.parts.front().cloned() {
            None => return Poll::Ready(None),
            Some(Part::Data(data)) => Ok(Frame::data(data)),
            Some(Part::Trailers) => {
                let trailers = HeaderMap::from_iter([("x-sum".parse()?, "1".parse()?)]);
                Ok(Frame::trailers(trailers))
            }
            Some(Part::Error) => Err("there is no more".into()),
            Some(Part::Later) => {
                self.parts.pop_front();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Part::Never) => return Poll::Pending,
        };
        self.parts.pop_front();
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

const LARGE: &[u8] = &[b'a'; 100_000];

/// What the handler answers to a path.
fn answer(path: &str) -> Response<Parts> {
    let mut builder = Response::builder();
    let name = path.trim_start_matches('/');
    let body = match name {
        "nothing" => Parts::default(),
        "known" => Parts::of([b"abc"]).long(3),
        "large" => Parts::of([LARGE]).long(100_000),
        "chunks" => Parts::of([b"a", b"", b"bc", LARGE, b"d"]),
        "large-chunk" => Parts::of([b"a", LARGE]),
        "pauses" => Parts::of([b"a"]).and(Part::Later).and(Part::Data("bc".into())),
        "trailers" => Parts::of([b"a"]).and(Part::Trailers),
        "breaks" => Parts::of([b"a"]).and(Part::Later).and(Part::Error),
        "short" => Parts::of([b"a"]).long(3),
        "said" => {
            builder = builder.header("content-length", "2");
            Parts::of([b"a", b"b"])
        }
        "said-none" => {
            builder = builder.header("content-length", "7");
            Parts::default()
        }
        "no-content" => {
            builder = builder.status(StatusCode::NO_CONTENT);
            Parts::default()
        }
        "no-content-with-some" => {
            builder = builder.status(StatusCode::NO_CONTENT).header("content-length", "2");
            Parts::of([b"ab"]).long(2)
        }
        "reset-content" => {
            builder = builder.status(StatusCode::RESET_CONTENT).header("content-length", "2");
            Parts::of([b"ab"]).long(2)
        }
        "reset-content-in-chunks" => {
            builder = builder.status(StatusCode::RESET_CONTENT);
            Parts::of([b"ab"])
        }
        "not-modified" => {
            builder = builder.status(304).header("content-length", "7").header("etag", "\"1\"");
            Parts::default()
        }
        "chunked" => {
            builder = builder.header("transfer-encoding", "chunked");
            Parts::of([b"ab"])
        }
        "closes" => {
            builder = builder.header("connection", "close");
            Parts::of([b"ab"]).long(2)
        }
        "dated" => {
            builder =
                builder.header("date", "never").header("set-cookie", "a").header("set-cookie", "b");
            Parts::of([b"ab"]).long(2)
        }
        "own-status" => {
            builder = builder.status(299);
            Parts::of([b"ab"]).long(2)
        }
        "next" => Parts::of([b"next"]).long(4),
        other => panic!("nothing is there: {other}"),
    };
    builder.body(body).unwrap()
}

/// Of a request that follows another one.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What a client is told: the status line, the headers, the body; and whether its next request is
/// answered.
async fn told(address: SocketAddr, method: &str, path: &str, header: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n{NEXT}");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = client.read_to_end(&mut said).await; // what it had said is not read if it is closed
    let said = String::from_utf8(said).unwrap();
    let (first, next) = match said.rfind("HTTP/1.1 ") {
        Some(at) if at > 0 => said.split_at(at),
        _ => (&*said, ""),
    };
    assert!(next.is_empty() || next.ends_with("\r\n\r\nnext"), "{next}");
    let (head, body) = first.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_lowercase).collect();
    assert!(head.contains("date: "), "{head}");
    lines.retain(|line| !line.starts_with("date: ") || line == "date: never");
    lines.sort();
    format!("{} | {} | {}", lines.join(", "), data(body, &lines), !next.is_empty())
}

/// The body without the framing of its chunks, which may be others.
fn data(body: &str, lines: &[String]) -> String {
    if !lines.iter().any(|line| line == "transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut data, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            assert_eq!(after, "\r\n");
            return format!("{data} (whole)");
        }
        data.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap();
    }
    format!("{data} (cut)")
}

#[staunch::test]
async fn answers_look_the_same_on_both_ways() {
    let service = handler(|request: Request<RequestBody>| {
        let answer = answer(request.uri().path());
        async { answer }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        for path in [
            "/nothing",
            "/known",
            "/large",
            "/chunks",
            "/large-chunk",
            "/pauses",
            "/trailers",
            "/breaks",
            "/short",
            "/said",
            "/no-content",
            "/no-content-with-some",
            "/reset-content",
            "/chunked",
            "/closes",
            "/dated",
        ] {
            for method in ["GET", "HEAD"] {
                for own in ["", "Connection: close\r\n"] {
                    let quick = told(address, method, path, own).await;
                    let hyper = told(address, method, path, &format!("TE: gzip\r\n{own}")).await;
                    assert_eq!(quick, hyper, "{method} {path} {own}");
                }
            }
        }
        let none = told(address, "GET", "/no-content-with-some", "").await;
        assert_eq!(none, "http/1.1 204 no content |  | true");
        for path in ["/reset-content", "/reset-content-in-chunks"] {
            for own in ["", "TE: gzip\r\n"] {
                let none = told(address, "GET", path, own).await;
                assert_eq!(none, "content-length: 0, http/1.1 205 reset content |  | true");
            }
        }
        // Of these hyper makes what nobody would expect.
        let own = told(address, "GET", "/own-status", "").await;
        assert_eq!(own, "content-length: 2, http/1.1 299  | ab | true");
        for method in ["GET", "HEAD"] {
            let same = told(address, method, "/not-modified", "").await;
            assert_eq!(same, "content-length: 7, etag: \"1\", http/1.1 304 not modified |  | true");
        }
        let none = told(address, "GET", "/said-none", "").await;
        assert_eq!(none, "content-length: 0, http/1.1 200 ok |  | true");
        let length = told(address, "HEAD", "/said-none", "").await;
        assert_eq!(length, "content-length: 7, http/1.1 200 ok |  | true");
    })
    .await;
}

#[staunch::test]
async fn what_is_no_answer_becomes_one() {
    let service = handler(|_| async {
        let mut answer = text("not to be seen");
        *answer.status_mut() = StatusCode::EARLY_HINTS;
        answer.headers_mut().insert("link", HeaderValue::from_static("</a>"));
        answer
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 500 ") && said.contains("connection: close"), "{said}");
        assert!(!said.contains("link"), "{said}");
    })
    .await;
}

#[staunch::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let service =
        handler(
            |request: Request<RequestBody>| async move { text(request.uri().path().to_owned()) },
        );
    let served =
        with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
            let mut client = TcpStream::connect(address).await.unwrap();
            let plain = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let other = "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
            let all = [&plain("/1"), &plain("/2"), other, &plain("/3"), &plain("/4")].concat();
            // In two packets, cut anywhere.
            for at in (1..all.len()).step_by(7) {
                let (first, second) = all.split_at(at);
                client.write_all(first.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                client.write_all(second.as_bytes()).await.unwrap();
                let (mut said, expected) = (String::new(), ["/1", "/2", "/other", "/3", "/4"]);
                while said.matches("HTTP/1.1 200 OK").count() < 5 || !said.ends_with("/4") {
                    let mut bytes = [0; 4096];
                    let count = client.read(&mut bytes).await.unwrap();
                    assert!(count > 0, "{said}");
                    said.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                }
                let places: Vec<_> =
                    expected.map(|path| said.find(&format!("\r\n\r\n{path}")).unwrap()).into();
                assert!(places.is_sorted(), "{said}");
            }
        })
        .await;
    assert_eq!(served, (1, 0));
}

#[staunch::test]
async fn a_client_that_leaves_ends_the_making_of_its_answer() {
    let at_work = AtWork::default();
    let handled = at_work.clone();
    let service = handler(move |_| {
        let working = handled.begin();
        async move {
            let _working = working;
            Response::new(Parts::of([b"a"]).and(Part::Never))
        }
    });
    let requests = || {
        let snapshot = Ledger::current().snapshot();
        snapshot.entries().iter().filter(|entry| entry.kind() == Kind::REQUEST).count()
    };
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n1\r\na\r\n") {
            assert!(client.read_buf(&mut said).await.unwrap() > 0);
        }
        assert_eq!((at_work.count(), requests()), (0, 1), "its body is in the making");
        drop(client);
        eventually("it has ended", || requests() == 0).await;
    })
    .await;
}

#[staunch::test]
async fn no_request_follows_the_last() {
    let service = handler(|_| async { text("ok") });
    let limits = HttpLimits { requests: 2, ..HttpLimits::default() };
    with_server(limits, Limits::default(), service, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let three = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
        client.write_all(three.as_bytes()).await.unwrap();
        let mut said = String::new();
        let end = timeout(Duration::from_secs(5), client.read_to_string(&mut said)).await;
        end.expect("it is closed").expect("in good order");
        assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
        assert_eq!(said.matches("connection: close").count(), 1, "{said}");
    })
    .await;
}

/// A listener whose connections are answered by `serve`.
pub(crate) async fn with_listener<F>(
    limits: Limits,
    serve: impl Fn(Connection) -> F + Send + Sync + 'static,
    client: impl AsyncFnOnce(SocketAddr, &Control),
) where
    F: Future<Output = Result<(), ServeHttpError>> + Send + 'static,
{
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), limits).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let (context, cancel) = Context::current().with_cancel();
    let control = listener.control();
    let client = async {
        client(address, &control).await;
        cancel.cancel();
    };
    let (served, ()) = tokio::join!(listener.serve(&context, serve), client);
    assert_eq!(served.cut.len(), 0);
}

/// However much was said before it was clear who is to read it.
#[staunch::test]
async fn what_was_heard_elsewhere_is_answered() {
    const BODY: usize = 40_000;
    let service = handler(|request: Request<RequestBody>| async move {
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
        text(format!("{:?}", body.ok()))
    });
    let limits = HttpLimits { body_bytes: 2 * BODY, ..HttpLimits::default() };
    let server = Arc::new(Server::new(limits));
    let serve = move |mut connection: Connection| {
        let server = Arc::clone(&server);
        async move {
            let mut said = vec![0; 200 + BODY / 2];
            let read = connection.read_exact(&mut said).await;
            read.map_err(|error| ServeHttpError::Broken(error.into()))?;
            server.resume(Resting::new(connection, 0), (&said, None), service).await.map(drop)
        }
    };
    with_listener(Limits::default(), serve, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'.'; BODY]).await.unwrap();
        client.write_all(NEXT.as_bytes()).await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(said.contains(&format!("Some({BODY})")) && said.ends_with("Some(0)"), "{said}");
    })
    .await;
}

/// A head has one clock, whoever reads it: what began elsewhere is late when it was due there, however
/// long it could take here.
#[staunch::test]
async fn a_head_that_is_handed_over_is_late_when_it_was_due() {
    let limits = HttpLimits { head_time: Duration::MAX, ..HttpLimits::default() };
    let server = Arc::new(Server::new(limits));
    let serve = move |connection: Connection| {
        let (server, due) = (Arc::clone(&server), tokio::time::Instant::now());
        async move {
            let (resting, said) = (Resting::new(connection, 0), (&b"GET / HT"[..], Some(due)));
            let ended = server.resume(resting, said, handler(|_| async { text("ok") })).await;
            assert!(matches!(ended, Err(ServeHttpError::HeadTime { .. })), "{ended:?}");
            Ok(())
        }
    };
    with_listener(Limits::default(), serve, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        let date = said.lines().find_map(|line| line.strip_prefix("date: "));
        assert!(date.is_some_and(|date| date.ends_with(" GMT")), "{said}");
        assert!(said.ends_with("\r\n\r\nRefused: the head took too long.\n"), "{said}");
    })
    .await;
}

/// A client that leaves its heads in two packets each takes long over none of them.
#[staunch::test]
async fn each_request_has_the_time_of_a_message() {
    let limits = Limits { message: Some(SOON), ..Limits::default() };
    let service = handler(|_| async { text("ok") });
    let served = with_server(HttpLimits::default(), limits, service, async |address, _| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (begin, end) = ("GET / HTTP/1.1\r\nHo", "st: a\r\n\r\n");
        client.write_all(begin.as_bytes()).await.unwrap();
        for _ in 0..20 {
            tokio::time::sleep(SOON / 10).await; // it is what is tested
            client.write_all(format!("{end}{begin}").as_bytes()).await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"\r\n\r\nok") {
                assert!(client.read_buf(&mut said).await.unwrap() > 0);
            }
        }
    })
    .await;
    assert_eq!(served.0, 1);
}

/// What a body holds is free when all of it is made, however slowly its client reads.
#[staunch::test]
async fn a_body_is_dropped_when_it_is_made() {
    const LARGE: usize = 32 << 20;
    struct Holds(Full<Bytes>, #[expect(dead_code, reason = "it is counted")] Working);
    impl Body for Holds {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Poller<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            self.0.size_hint()
        }
    }
    let (holds, sends) = (AtWork::default(), AtWork::default());
    let (holding, sending) = (holds.clone(), sends.clone());
    let service = handler(move |_| {
        let bytes = keep_until_sent(vec![b'.'; LARGE], sending.begin());
        let body = Holds(Full::new(bytes), holding.begin());
        async { Response::new(body) }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        for header in ["", "TE: gzip\r\n"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            let mut byte = [0];
            client.read_exact(&mut byte).await.unwrap();
            eventually("its body is dropped", || holds.count() == 0).await;
            assert_eq!(sends.count(), 1, "its bytes are there");
            drop(client);
            eventually("they are gone", || sends.count() == 0).await;
        }
    })
    .await;
}

#[staunch::test]
async fn how_a_connection_ended_is_known() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (into, limits) = (Arc::clone(&ends), Arc::new(HttpLimits::default()));
    let service = handler(|_| async { Response::new(Parts::of([b"a"]).and(Part::Never)) });
    let serve = move |connection: Connection| {
        let (into, limits) = (Arc::clone(&into), Arc::clone(&limits));
        async move {
            let ended = serve(connection, &limits, service).await;
            let text = ended.as_ref().map_or_else(ToString::to_string, |()| "in order".to_owned());
            into.lock().unwrap().push(text);
            ended
        }
    };
    let limits = Limits { idle: Some(SOON), ..Limits::default() };
    with_listener(limits, serve, async |address, _| {
        let told = |count| {
            let ends = Arc::clone(&ends);
            async move { eventually("it has ended", || ends.lock().unwrap().len() == count).await }
        };
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&head.as_bytes()[..26]).await.unwrap();
        drop(client);
        told(1).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        client.shutdown().await.unwrap();
        told(2).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        told(3).await; // nothing moves for too long
    })
    .await;
    let ends = ends.lock().unwrap();
    let left = "the client left before its answer was written";
    assert_eq!((&*ends[0], &*ends[1]), (left, left));
    assert!(ends[2].starts_with("the connection broke: ") && ends[2].contains("idle"), "{ends:?}");
}

/// One whose whole request is in its first bytes is at work, too.
#[staunch::test]
async fn a_connection_at_work_is_not_closed_as_idle() {
    let (at_work, go_on) = (AtWork::default(), Arc::new(Notify::new()));
    let (handled, waits) = (at_work.clone(), Arc::clone(&go_on));
    let service = handler(move |_| {
        let (working, go_on) = (handled.begin(), Arc::clone(&waits));
        async move {
            let _working = working;
            go_on.notified().await;
            text("ok")
        }
    });
    let server = Arc::new(HttpLimits::default());
    let serve = move |connection: Connection| {
        let (limits, service) = (Arc::clone(&server), service.clone());
        async move { serve(connection, &limits, service).await }
    };
    with_listener(Limits::default(), serve, async |address, control| {
        let mut client = TcpStream::connect(address).await.unwrap();
        eventually("it rests before", || parked() == 1).await;
        client.write_all(b"A / HTTP/1.1\r\nHost:a\r\n\r\n").await.unwrap();
        eventually("its handler works", || at_work.count() == 1).await;
        assert_eq!(control.close_idle(1, Duration::ZERO), 0);
        go_on.notify_one();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\nok") {
            assert!(client.read_buf(&mut said).await.unwrap() > 0);
        }
        eventually("it rests", || control.close_idle(1, Duration::ZERO) == 1).await;
    })
    .await;
}
