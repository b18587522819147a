//! Servers that misbehave.

use std::{
    io::Write,
    net::TcpStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Body, Frame},
};
use staunch::{BoxError, timeout};
use staunch_harness::{Raw, destroyed, eventually};
use staunch_pool::{BodyError, Destroyed, HttpError, HttpOptions, PoolOptions, RequestBody};

use crate::{
    raw::{answer_all, read_head, until_closed},
    support::{body, connections, get, sockets_to, with_pool},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn quick() -> HttpOptions {
    let soon = Duration::from_millis(200);
    HttpOptions { head_timeout: soon, body_stall: soon, ..HttpOptions::default() }
}

fn of_one() -> PoolOptions {
    PoolOptions { max_total: 1, ..PoolOptions::default() }
}

/// Answers once, and closes when it has read the next request: as a server does that closes an
/// idle connection while a request is on its way.
fn closes_in_between(mut stream: TcpStream, number: usize) {
    if number.is_multiple_of(2) {
        read_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        read_head(&mut stream);
    } else {
        let _ = answer_all(&mut stream, OK); // the client may close
    }
}

#[staunch::test]
async fn what_is_safe_is_sent_again_once_when_a_connection_was_closed() {
    let server = Raw::start(closes_in_between);
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        for _ in 0..3 {
            assert_eq!(body(&pool, "/").await.unwrap(), "ok");
        }
        assert_eq!((server.accepted(), pool.status().created), (2, 2));
        pool.shrink(0);
        body(&pool, "/").await.unwrap();
        let put = Request::put("/").body(Bytes::from("all of it")).unwrap();
        assert_eq!(pool.send(put).await.unwrap().status(), 200, "it can be had again");
        assert_eq!(server.accepted(), 4);
    })
    .await;
}

#[staunch::test]
async fn what_is_not_safe_is_not_sent_again() {
    let server = Raw::start(closes_in_between);
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        body(&pool, "/").await.unwrap();
        let error = pool.send(Request::post("/").body("pay").unwrap()).await.unwrap_err();
        assert!(matches!(error, HttpError::Unanswered { .. }), "{error}");
        assert_eq!(body(&pool, "/").await.unwrap(), "ok");
        pool.shrink(0);
        body(&pool, "/").await.unwrap();
        let stream = RequestBody::stream(http_body_util::Full::new(Bytes::from("once")));
        let error = pool.send(Request::put("/").body(stream).unwrap()).await.unwrap_err();
        assert!(matches!(error, HttpError::Unanswered { .. }), "{error}");
        assert_eq!(server.accepted(), 3);
    })
    .await;
    let always = Raw::start(|mut stream, _| _ = read_head(&mut stream));
    with_pool(always.port, HttpOptions::default(), of_one(), async |pool, _| {
        let error = get(&pool, "/").await.unwrap_err();
        assert!(matches!(error, HttpError::Unanswered { .. }), "{error}");
        assert_eq!(always.accepted(), 1, "a new connection is no reason to try again");
    })
    .await;
}

#[staunch::test]
async fn the_connection_goes_back_with_the_last_byte_of_the_body() {
    let server = Raw::start(|mut stream, _| _ = answer_all(&mut stream, OK));
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        let mut answer = get(&pool, "/").await.unwrap().into_body();
        assert_eq!(pool.status().leased, 1);
        answer.frame().await.unwrap().unwrap();
        eventually("it is back", async || pool.status().idle == 1).await;
        assert!(answer.frame().await.is_none());
        assert_eq!(pool.status().created, 1);
    })
    .await;
}

#[staunch::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_body_is_not_used_again() {
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok";
    let server = Raw::start(|mut stream, number| {
        if number > 0 {
            return drop(answer_all(&mut stream, OK));
        }
        read_head(&mut stream);
        let _ = stream.write_all(CUT.as_bytes());
        // What is unread makes the close a reset.
    });
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        let request = Request::post("/").body("unread").unwrap();
        let error = match pool.send(request).await {
            Ok(answer) => answer.into_body().collect().await.map(drop).unwrap_err().to_string(),
            Err(error) => error.to_string(), // the reset may overtake the head
        };
        assert!(error.contains("127.0.0.1"), "{error}");
        assert_eq!(body(&pool, "/").await.unwrap(), "ok");
        assert_eq!(destroyed(&pool.status(), Destroyed::Broken), 1);
    })
    .await;
}

#[staunch::test]
async fn a_body_that_is_cut_off_says_why() {
    let server = Raw::start(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok");
    });
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        let error = get(&pool, "/").await.unwrap().into_body().collect().await.unwrap_err();
        let says = "the answer's body was cut off: error reading a body from connection: end of \
                    file before message length reached";
        assert_eq!(error.to_string(), format!("127.0.0.1:{}: {says}", server.port));
    })
    .await;
}

#[staunch::test]
async fn a_body_without_an_end_can_be_dropped() {
    let heard = Arc::new(AtomicBool::new(false));
    let hears = Arc::clone(&heard);
    let server = Raw::start(move |mut stream, _| {
        read_head(&mut stream);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut sent = stream.write_all(head);
        while sent.is_ok() {
            sent = stream.write_all(b"5\r\nagain\r\n");
        }
        hears.store(true, Ordering::SeqCst);
    });
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        let mut answer = get(&pool, "/").await.unwrap().into_body();
        for _ in 0..100 {
            answer.frame().await.unwrap().unwrap();
        }
        drop(answer);
        eventually("the server hears of it", async || heard.load(Ordering::SeqCst)).await;
        eventually("nothing is left", async || connections() + sockets_to(server.port) == 0).await;
        assert_eq!(pool.status().size, 0);
    })
    .await;
}

#[staunch::test]
async fn a_head_that_does_not_come_is_waited_for_in_vain_only_so_long() {
    let server = Raw::start(|mut stream, _| assert!(until_closed(&mut stream)));
    with_pool(server.port, quick(), of_one(), async |pool, _| {
        let error = get(&pool, "/").await.unwrap_err();
        let text = format!("127.0.0.1:{}: no answer within 200ms (head_timeout)", server.port);
        assert_eq!(error.to_string(), text);
        let given_up = timeout(Duration::from_millis(20), get(&pool, "/")).await;
        assert!(given_up.is_err(), "{given_up:?}");
        eventually("both are closed", async || connections() + sockets_to(server.port) == 0).await;
        assert_eq!(destroyed(&pool.status(), Destroyed::Broken), 2);
    })
    .await;
}

#[staunch::test]
async fn a_body_may_have_all_the_time_there_is() {
    let server = Raw::start(|mut stream, _| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").unwrap();
        assert!(until_closed(&mut stream));
    });
    let http = HttpOptions { body_stall: Duration::MAX, ..HttpOptions::default() };
    with_pool(server.port, http, of_one(), async |pool, _| {
        let mut answer = get(&pool, "/").await.unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        let more = timeout(Duration::from_millis(20), answer.frame()).await;
        assert!(more.is_err(), "{more:?}");
    })
    .await;
}

#[staunch::test]
async fn a_body_that_stalls_is_given_up() {
    const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok";
    let server = Raw::start(|mut stream, _| {
        read_head(&mut stream);
        stream.write_all(HALF.as_bytes()).unwrap();
        assert!(until_closed(&mut stream));
    });
    with_pool(server.port, quick(), of_one(), async |pool, _| {
        let mut answer = get(&pool, "/").await.unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        let error = answer.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::Stalled { .. }), "{error}");
        assert!(answer.frame().await.is_none());
        assert_eq!(destroyed(&pool.status(), Destroyed::Broken), 1);
    })
    .await;
}

#[staunch::test]
async fn garbage_is_no_answer() {
    let garbage = ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 999999\r\n\r\n", "\0\u{1}\u{2}\r\n\r\n"];
    let server = Raw::start(move |mut stream, number| {
        read_head(&mut stream);
        let _ = stream.write_all(garbage[number].as_bytes());
        until_closed(&mut stream);
    });
    with_pool(server.port, quick(), of_one(), async |pool, _| {
        for _ in garbage {
            let error = get(&pool, "/").await.unwrap_err();
            assert!(matches!(error, HttpError::Failed { .. }), "{error}");
        }
        assert_eq!((pool.status().size, server.accepted()), (0, 3));
    })
    .await;
}

#[staunch::test]
async fn bytes_after_an_answer_are_not_taken_for_the_next() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad";
    let server = Raw::start(move |mut stream, number| {
        let twice = format!("{OK}{smuggled}");
        let _ = answer_all(&mut stream, if number == 0 { &twice } else { OK });
    });
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        for _ in 0..3 {
            assert_eq!(body(&pool, "/").await.unwrap(), "ok");
        }
        assert_eq!(server.accepted(), 2);
    })
    .await;
}

#[staunch::test]
async fn trailers_pass() {
    let server = Raw::start(|mut stream, _| {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n\
                       2\r\nok\r\n0\r\nsum: 42\r\n\r\n";
        let _ = answer_all(&mut stream, chunked);
    });
    with_pool(server.port, HttpOptions::default(), of_one(), async |pool, _| {
        for _ in 0..2 {
            let request = Request::get("/").header("te", "trailers").body(()).unwrap();
            let whole = pool.send(request).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(whole.trailers().unwrap()["sum"], "42");
            assert_eq!(whole.to_bytes(), "ok");
        }
        assert_eq!(server.accepted(), 1);
    })
    .await;
}

/// The answer is there, but the request is still being sent: the connection is not good for
/// another, and not waited for for long.
#[staunch::test]
async fn an_answer_before_the_request_is_sent_costs_the_connection() {
    let server = Raw::start(|mut stream, number| {
        read_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        if number == 0 {
            until_closed(&mut stream);
        }
    });
    let reset_timeout = Duration::from_millis(100);
    let options = PoolOptions { reset_timeout, ..of_one() };
    with_pool(server.port, HttpOptions::default(), options, async |pool, _| {
        let begun = Begun(Some(Frame::data(Bytes::from("begun"))));
        let request = Request::post("/").body(RequestBody::stream(begun));
        let answer = pool.send(request.unwrap()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        assert_eq!(body(&pool, "/").await.unwrap(), "ok");
        assert_eq!((destroyed(&pool.status(), Destroyed::Invalid), server.accepted()), (1, 2));
    })
    .await;
}

/// A body that begins, and never goes on.
struct Begun(Option<Frame<Bytes>>);

impl Body for Begun {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.take().map_or(Poll::Pending, |frame| Poll::Ready(Some(Ok(frame))))
    }
}

#[staunch::test]
async fn what_is_no_request_for_a_pool_is_refused_with_the_remedy() {
    with_pool(1, HttpOptions::default(), of_one(), async |pool, _| {
        let requests = [
            Request::connect("host:443"),
            Request::get("/").header("upgrade", "websocket"),
            Request::put("/").header("expect", "100-continue"),
        ];
        for request in requests {
            let error = pool.send(request.body(()).unwrap()).await.unwrap_err().to_string();
            assert!(error.contains("not supported on a pooled connection: dial one"), "{error}");
        }
        assert_eq!(pool.status().created, 0);
    })
    .await;
}
