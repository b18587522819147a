//! Who is answered what, and what counts until when.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response,
    body::{Body, Frame},
};
use staunch_guard::{GradientOptions, Level, Priority, Shed, is_stream};
use staunch_http::handler;
use tokio::sync::{Notify, mpsc};
use tower_layer::Layer;

use crate::support::{Memory, connect, connect2, eventually, get, read, with_server};

#[staunch::test]
async fn who_may_not_begin_is_told_when_to_try_again() {
    let memory = Memory::default();
    let mut options = memory.options();
    options.retry_after = Duration::from_millis(1500);
    let service = |guard: &_| {
        let shed = Shed::new(guard).priority(|request| match request.uri.path() {
            "/healthz" => Priority::Critical,
            "/report" => Priority::Low,
            _ => Priority::Normal,
        });
        shed.layer(handler(|_| async { Response::new(Full::new(Bytes::from("hello"))) }))
    };
    with_server(options, service, async |address, guard, scope| {
        let mut client = connect(address, scope).await;
        for (bytes, level, refused) in [
            (0, Level::Normal, &[][..]),
            (91, Level::Shed, &["/report", "stream"]),
            (96, Level::Refuse, &["/report", "/", "stream"]),
            (0, Level::Normal, &[]),
        ] {
            memory.set(bytes, guard, level).await;
            for path in ["/report", "/", "/healthz"] {
                let answer = get(&mut client, path, &[]).await;
                let after = answer.headers().get("retry-after").cloned();
                let (status, text) = read(answer).await;
                let is_refused = refused.contains(&path);
                assert_eq!(status, if is_refused { 503 } else { 200 }, "{path} at {level}");
                assert_eq!(after.is_some_and(|after| after == "2"), is_refused, "{path}: {text}");
                assert_eq!(text == "hello", !is_refused, "{path}: {text}");
            }
            let streams: [&[_]; 2] = [&[("accept", "text/event-stream")], &[("upgrade", "chat")]];
            for headers in streams {
                let (status, _) = read(get(&mut client, "/", headers).await).await;
                let expected = if refused.contains(&"stream") { 503 } else { 200 };
                assert_eq!(status, expected, "{headers:?} at {level}");
            }
        }
        assert_eq!(guard.status().refused_total(), 3 + 4);
    })
    .await;
}

/// Ordinary clients ask for HTTP/2 or TLS in passing.
#[test]
fn only_another_protocol_is_a_stream() {
    let check = |upgrades: &[&str], expected| {
        let mut request = hyper::Request::get("/");
        for upgrade in upgrades {
            request = request.header("upgrade", *upgrade);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(is_stream(&head), expected, "{upgrades:?}");
    };
    check(&[], false);
    for http in ["h2c", "H2C", "h2", "h3", "HTTP/2.0", "TLS/1.2", "tls/1.3, h2c", "", " , "] {
        check(&[http], false);
    }
    check(&["TLS/1.2", "h2c"], false);
    for other in ["websocket", "WebSocket", "chat", "h2c, websocket", "h", "tl"] {
        check(&[other], true);
    }
    check(&["h2c", "chat"], true);
}

/// The head is there long before the body ends; and a client that leaves ends it, too.
#[staunch::test]
async fn an_answer_is_in_flight_until_its_body_ends() {
    check_body(false).await;
    check_body(true).await;
}

async fn check_body(is_http2: bool) {
    let (more, chunks) = mpsc::channel::<&'static str>(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let service = |guard: &_| {
        Shed::new(guard).layer(handler(move |_| {
            let chunks = chunks.lock().unwrap().take();
            async { Response::new(Chunks(chunks)) }
        }))
    };
    with_server(Memory::default().options(), service, async |address, guard, scope| {
        let mut client =
            if is_http2 { connect2(address, scope).await } else { connect(address, scope).await };
        let answer = get(&mut client, "/", &[]).await;
        assert_eq!((answer.status().as_u16(), guard.status().in_flight), (200, 1));
        more.send("some").await.unwrap();
        drop(more);
        assert_eq!(read(answer).await.1, "some");
        eventually("it has ended", || guard.status().in_flight == 0).await;

        let endless = get(&mut client, "/", &[]).await; // its body never ends
        assert_eq!(guard.status().in_flight, 1);
        drop((endless, client));
        eventually("its client has left", || guard.status().in_flight == 0).await;
    })
    .await;
}

/// What is sent to the channel; without one, nothing, for ever.
struct Chunks(Option<mpsc::Receiver<&'static str>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(chunks) = &mut self.0 else { return Poll::Pending };
        chunks.poll_recv(cx).map(|chunk| Some(Ok(Frame::data(Bytes::from(chunk?)))))
    }
}

/// A handler that hangs: the limit of concurrency keeps the others out, and says so.
#[staunch::test]
async fn beyond_the_limit_of_concurrency_answers_are_503_at_once() {
    let mut options = Memory::default().options();
    options.concurrency =
        Some(GradientOptions { initial: 2, min: 1, max: 2, ..GradientOptions::default() });
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let service = |guard: &_| {
        Shed::new(guard).layer(handler(move |_| {
            let waits = Arc::clone(&waits);
            async move {
                waits.notified().await;
                Response::new(Full::new(Bytes::from("done")))
            }
        }))
    };
    with_server(options, service, async |address, guard, scope| {
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut client = connect(address, scope).await;
            slow.push(scope.fork(async move { Ok(read(get(&mut client, "/", &[]).await).await) }));
        }
        eventually("both are at work", || guard.status().in_flight == 2).await;
        let mut client = connect(address, scope).await;
        assert_eq!(read(get(&mut client, "/", &[]).await).await.0, 503);
        go_on.notify_waiters();
        for slow in slow {
            assert_eq!(slow.join().await.unwrap(), (200, "done".to_owned()));
        }
    })
    .await;
}

/// Streams and downloads last, and are no sign of a queue.
#[staunch::test]
async fn answers_that_have_begun_keep_nobody_out() {
    let mut options = Memory::default().options();
    options.concurrency =
        Some(GradientOptions { initial: 2, min: 1, max: 2, ..GradientOptions::default() });
    let service =
        |guard: &_| Shed::new(guard).layer(handler(|_| async { Response::new(Chunks(None)) }));
    with_server(options, service, async |address, guard, scope| {
        let mut open = Vec::new();
        for headers in [&[][..], &[("accept", "text/event-stream")]].repeat(2) {
            let mut client = connect(address, scope).await;
            let answer = get(&mut client, "/", headers).await; // its body never ends
            assert_eq!(answer.status(), 200, "{headers:?}");
            open.push((answer, client));
        }
        assert_eq!(guard.status().in_flight, 4);
        drop(open);
        eventually("they have left", || guard.status().in_flight == 0).await;
    })
    .await;
}

#[staunch::test]
async fn an_axum_router_takes_the_layer() {
    let memory = Memory::default();
    let service = |guard: &_| {
        axum::Router::new().route("/", axum::routing::get(async || "hello")).layer(Shed::new(guard))
    };
    with_server(memory.options(), service, async |address, guard, scope| {
        let mut client = connect(address, scope).await;
        let hello = (200, "hello".to_owned());
        assert_eq!(read(get(&mut client, "/", &[]).await).await, hello);
        memory.set(96, guard, Level::Refuse).await;
        assert_eq!(read(get(&mut client, "/", &[]).await).await.0, 503);
        memory.set(0, guard, Level::Normal).await;
        assert_eq!(read(get(&mut client, "/", &[]).await).await, hello);
    })
    .await;
}
