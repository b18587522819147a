//! HTTP/1 clients that take their time, and clients that leave at any moment.

use std::net::SocketAddr;

use http_body_util::BodyExt;
use hyper::{Request, StatusCode};
use staunch::{BoxError, Kind, Ledger, Scope};
use staunch_http::{HttpLimits, RequestBody, handler, keep_until_sent};
use staunch_kernel::{Protocol, SocketQuery, TcpState};
use staunch_net::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, Instant, interval},
};

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, POST, SETTINGS, frame},
    raw::observed,
    support::{Answer, AtWork, SOON, eventually, get1, http1, read, text, with_server},
};

/// What the ledger and the kernel have of connections to the server, on the server's side.
fn open(address: SocketAddr) -> (usize, usize) {
    let snapshot = Ledger::current().snapshot();
    let is_of_http = |kind: Kind| kind == Kind::CONNECTION || kind == Kind::REQUEST;
    let entries = snapshot.entries().iter().filter(|entry| is_of_http(entry.kind())).count();
    let query = SocketQuery::new().protocols([Protocol::Tcp]).local_ports([address.port()]);
    let sockets = query.run().unwrap().sockets.into_iter().filter(|socket| {
        socket.state != TcpState::Listen && socket.inode.is_some_and(|inode| inode != 0)
    });
    (entries, sockets.count())
}

async fn nothing_is_left(address: SocketAddr) {
    eventually("nothing is left on the ledger or in the kernel", || open(address) == (0, 0)).await;
}

/// Somebody who asks as one should is answered at once.
async fn others_are_answered(address: SocketAddr, scope: &Scope<BoxError>) {
    let begun = Instant::now();
    let mut honest = http1(address, scope).await;
    let answer = honest.send_request(get1("/other")).await.unwrap();
    assert_eq!(read(answer).await, (200, "hello".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Says `first`, and then one byte of `drop` after the other, until the server has had enough.
async fn dribble(address: SocketAddr, first: &[u8], drop: u8) {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(first).await.unwrap();
    let (mut reads, mut writes) = client.split();
    let mut drops = interval(SOON / 10);
    let dribbles = async {
        loop {
            drops.tick().await;
            if writes.write_all(&[drop]).await.is_err() {
                break;
            }
        }
    };
    let mut said = Vec::new();
    tokio::select! {
        () = dribbles => {}
        _ = reads.read_to_end(&mut said) => {}
    }
}

/// So many clients at once that take their time with the rest of `first`.
async fn check_slow(many: u32, first: &'static [u8], drop: u8, rule: &str) {
    let service = handler(|request: Request<RequestBody>| async {
        let mut answer = text("hello");
        if request.into_body().collect().await.is_err() {
            *answer.status_mut() = StatusCode::BAD_REQUEST;
        }
        answer
    });
    let http = HttpLimits { head_time: SOON, body_time: SOON, ..HttpLimits::default() };
    let served = with_server(http, Limits::default(), service, async |address, scope| {
        let slow: Vec<_> = (0..many)
            .map(|_| {
                scope.fork(async move {
                    dribble(address, first, drop).await;
                    Ok(())
                })
            })
            .collect();
        others_are_answered(address, scope).await;
        for client in slow {
            client.join().await.unwrap();
        }
        nothing_is_left(address).await;
        assert_eq!(observed(rule), u64::from(many));
    })
    .await;
    assert_eq!(served.0, u64::from(many) + 1);
}

#[staunch::test]
async fn heads_that_do_not_end() {
    check_slow(200, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b'y', "head-time").await;
}

#[staunch::test]
async fn bodies_that_do_not_end() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    check_slow(100, head, b'.', "body-time").await;
}

#[staunch::test]
async fn chunks_that_do_not_end() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1000;";
    check_slow(100, head, b'x', "body-time").await;
}

/// Clients that ask `said` of a server whose answers are large, and read one byte now and then.
async fn check_lazy(said: &'static [u8], bytes: usize) {
    const MANY: usize = 10;
    let kept = AtWork::default();
    let keeper = kept.clone();
    let service = handler(move |request: Request<_>| {
        let answer = match request.uri().path() {
            "/" => text(keep_until_sent(vec![b'.'; bytes], keeper.begin())),
            _ => text("hello"),
        };
        async { answer }
    });
    let limits = Limits { write_stall: Some(SOON), ..Limits::default() };
    let served = with_server(HttpLimits::default(), limits, service, async |address, scope| {
        let mut clients = Vec::new();
        for _ in 0..MANY {
            clients.push(scope.fork(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                let (mut reads, mut writes) = client.split();
                let (mut now_and_then, mut byte) = (interval(SOON / 4), [0]);
                let reads = async {
                    loop {
                        now_and_then.tick().await;
                        if !matches!(reads.read(&mut byte).await, Ok(1)) || is_cut(MANY) {
                            break;
                        }
                    }
                };
                let ((), _) = tokio::join!(reads, writes.write_all(said));
                Ok(())
            }));
        }
        eventually("they are there", || {
            let (entries, sockets) = open(address);
            entries >= MANY && sockets >= MANY
        })
        .await;
        others_are_answered(address, scope).await;
        for client in clients {
            client.join().await.unwrap();
        }
        eventually("what was kept is gone", || kept.count() == 0).await;
        nothing_is_left(address).await;
    })
    .await;
    assert_eq!(served.0, MANY as u64 + 1);
    assert!(is_cut(MANY));
}

fn is_cut(many: usize) -> bool {
    observed("cut-write-stall") >= many as u64
}

#[staunch::test]
async fn answers_that_nobody_takes() {
    check_lazy(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 32 << 20).await;
}

/// The server reads no more requests than it can say answers.
#[staunch::test]
async fn requests_whose_answers_nobody_takes() {
    let many: &[u8] = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    check_lazy(Box::leak(many.into()), 8 << 10).await;
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Way {
    Close,
    Reset,
    HalfClose,
}

/// Leaves after so many bytes of what it says, and of what it is told after all of that.
async fn leave(address: SocketAddr, said: &[u8], mut point: usize, way: Way) {
    let mut client = TcpStream::connect(address).await.unwrap();
    let now = point.min(said.len());
    let _ = client.write_all(&said[..now]).await;
    point -= now;
    let mut some = vec![0; 1 << 10];
    while point > 0 {
        let room = point.min(some.len());
        match client.read(&mut some[..room]).await {
            Ok(count @ 1..) => point -= count,
            _ => break,
        }
    }
    match way {
        Way::Close => {}
        Way::Reset => client.set_zero_linger().unwrap(),
        Way::HalfClose => {
            let _ = client.shutdown().await;
        }
    }
}

/// 2000 clients, one after the other, which leave at every point of an exchange.
async fn check_leaving(said: &[u8]) {
    const ANSWER: usize = 4000;
    let service = handler(async |request: Request<RequestBody>| -> Answer {
        let _ = request.into_body().collect().await; // or not all of it
        text(vec![b'.'; ANSWER])
    });
    let served =
        with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
            let points = said.len() + ANSWER + 100;
            for client in 0..2000 {
                let way = [Way::Close, Way::Reset, Way::HalfClose][client % 3];
                // Each byte of the request, and so many of the answer.
                let point = if client < 1000 { client % said.len() } else { 4 * (client - 1000) };
                leave(address, said, point.min(points), way).await;
            }
            nothing_is_left(address).await;
        })
        .await;
    assert_eq!(served, (2000, 0));
}

#[staunch::test]
async fn who_leaves_at_any_moment() {
    check_leaving(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789")
        .await;
    let chunked =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n";
    check_leaving(chunked).await;
}

#[staunch::test]
async fn who_leaves_at_any_moment_over_http2() {
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    said.extend(frame(SETTINGS, 0, 0, &[]));
    said.extend(frame(HEADERS, END_HEADERS, 1, POST));
    said.extend(frame(DATA, 0, 1, b"0123456789"));
    said.extend(frame(DATA, END_STREAM, 1, b"0123456789"));
    check_leaving(&said).await;
}
