//! A server that is asked to stop finishes what it has begun, and no more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use staunch::{BoxError, Context, scope, sleep};
use staunch_http::{Server, handler};
use staunch_ledger::{Kind, Ledger};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::{
    AtWork, SOON, eventually, get, get1, get1_of_hyper, http1, http2, read, text,
};

/// Three connections of each version: one idle, one whose handler needs a while and uses what
/// hears of a stop, one whose handler never ends.
async fn answers_in_the_making_are_finished(get1: fn(&str) -> Request<Empty<Bytes>>) {
    let at_work = AtWork::default();
    let go_on = Arc::new(Notify::new());
    let (handled, waits) = (at_work.clone(), Arc::clone(&go_on));
    let service = handler(move |request: hyper::Request<_>| {
        let (at_work, go_on) = (handled.clone(), Arc::clone(&waits));
        async move {
            let _working = at_work.begin();
            match request.uri().path() {
                "/idle" => text("idle"),
                "/never" => std::future::pending().await,
                _ => {
                    go_on.notified().await;
                    let slept = sleep(SOON / 10).await.is_ok();
                    text(format!("{slept} {:?}", Context::current().check()))
                }
            }
        }
    });
    let limits = Limits { drain: 4 * SOON, ..Limits::default() };
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), limits).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let ended = scope(&Context::current(), |s| async move {
        let (context, cancel) = Context::current().with_cancel();
        let serving = async move { Ok(Server::default().serve(listener, &context, service).await) };
        let served = s.fork(serving);
        let (mut idle1, mut idle2) = (http1(address, &s).await, http2(address, &s).await);
        assert_eq!(read(idle1.send_request(get1("/idle")).await?).await.1, "idle");
        assert_eq!(read(idle2.send_request(get("/idle")).await?).await.1, "idle");
        let (mut slow1, mut slow2) = (http1(address, &s).await, http2(address, &s).await);
        let slow1 = s.fork(async move { Ok(slow1.send_request(get1("/slow")).await?) });
        let slow2 = s.fork(async move { Ok(slow2.send_request(get("/slow")).await?) });
        let (mut never1, mut never2) = (http1(address, &s).await, http2(address, &s).await);
        let never1 = s.fork(async move { Ok(never1.send_request(get1("/never")).await.is_err()) });
        let never2 = s.fork(async move { Ok(never2.send_request(get("/never")).await.is_err()) });
        eventually("all are at work", || at_work.count() == 4).await;

        let begun = Instant::now();
        cancel.cancel();
        eventually("the idle ones are told", || idle1.is_closed() && idle2.is_closed()).await;
        assert!(begun.elapsed() < SOON, "at once: {:?}", begun.elapsed());
        go_on.notify_waiters();
        let slow1 = slow1.join().await?;
        assert_eq!(slow1.headers()["connection"], "close");
        assert_eq!(read(slow1).await.1, "true Ok(())", "it does not hear of the end");
        assert_eq!(read(slow2.join().await?).await.1, "true Ok(())");
        assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());

        let served = served.join().await?;
        let took = begun.elapsed();
        assert!(took >= 4 * SOON && took < 4 * SOON + Duration::from_secs(1), "{took:?}");
        assert_eq!((served.accepted, served.cut.len()), (6, 2));
        assert!(never1.join().await? && never2.join().await?, "they hear of it");
        assert_eq!(at_work.count(), 0);
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn answers_in_the_making_are_finished_and_who_does_not_end_is_cut() {
    answers_in_the_making_are_finished(get1).await;
}

#[staunch::test]
async fn so_are_those_that_hyper_makes() {
    answers_in_the_making_are_finished(get1_of_hyper).await;
}

/// Its first request would be reset on its way.
#[staunch::test]
async fn who_has_just_connected_is_answered() {
    let service = handler(async |_: hyper::Request<_>| text("answered"));
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), Limits::default()).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let (context, cancel) = Context::current().with_cancel();
    let server = Server::default();
    let client = async {
        let mut client = TcpStream::connect(address).await.unwrap();
        eventually("it is accepted", || {
            let snapshot = Ledger::current().snapshot();
            snapshot.entries().iter().any(|entry| entry.kind() == Kind::CONNECTION)
        })
        .await;
        cancel.cancel();
        while TcpStream::connect(address).await.is_ok() {} // until it drains
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (served, answer) = tokio::join!(server.serve(listener, &context, service), client);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("answered"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(served.cut.len(), 0);
}
