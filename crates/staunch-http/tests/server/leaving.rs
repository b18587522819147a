//! A client that leaves ends its handler, and what that started.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::Request;
use staunch::{BoxError, Context, Ledger, scope, shield, sleep};
use staunch_http::{HttpLimits, RequestBody, handler};
use staunch_net::Limits;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::support::{
    AtWork, SOON, eventually, get, get1, get1_of_hyper, http1, http2, text, with_server,
};

/// A handler that never answers, with a child that never ends.
async fn for_ever(at_work: AtWork) -> crate::support::Answer {
    let _working = at_work.begin();
    let child = at_work.clone();
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _working = child.begin();
            std::future::pending().await
        });
        std::future::pending::<Result<(), BoxError>>().await
    });
    let _ = ended.await;
    text("never")
}

#[staunch::test]
async fn by_closing_its_connection() {
    let at_work = AtWork::default();
    let handled = at_work.clone();
    let service = handler(move |_| for_ever(handled.clone()));
    let (http, limits) = (HttpLimits::default(), Limits::default());
    with_server(http, limits, service, async |address, scope| {
        for round in 0..20 {
            let mut client = http1(address, scope).await;
            let get = if round % 4 < 2 { get1 } else { get1_of_hyper };
            let request = client.send_request(get("/"));
            if round % 2 == 0 {
                assert!(timeout(SOON / 10, request).await.is_err());
            } else {
                drop(request); // perhaps before it was sent
            }
        }
        let mut client = http1(address, scope).await;
        let request = client.send_request(get1("/"));
        assert!(timeout(SOON, request).await.is_err());
        drop(client);
        eventually("all handlers have ended", || at_work.count() == 0).await;
    })
    .await;
}

#[staunch::test]
async fn by_resetting_its_stream() {
    let at_work = AtWork::default();
    let handled = at_work.clone();
    let service = handler(move |_| for_ever(handled.clone()));
    let (http, limits) = (HttpLimits::default(), Limits::default());
    let served = with_server(http, limits, service, async |address, scope| {
        let mut client = http2(address, scope).await;
        let kept = client.send_request(get("/"));
        let given_up = client.send_request(get("/"));
        let both = async { tokio::join!(kept, timeout(SOON, given_up)) };
        let both = timeout(Duration::from_secs(1), both);
        let (_, ()) = tokio::join!(both, async {
            eventually("four at work", || at_work.count() == 4).await;
            eventually("two: one stream was reset", || at_work.count() == 2).await;
        });
        eventually("none", || at_work.count() == 0).await;
        drop(client);
    })
    .await;
    assert_eq!(served, (1, 0));
}

/// HTTP/2's preface, settings, and a POST of `/` whose body has yet to come.
const HALF_A_REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x03\x01\x04\0\0\0\x01\x83\x84\x86";

/// The handler hears that there will be no more, or is dropped while it waits for it.
#[staunch::test]
async fn in_the_middle_of_a_body() {
    let at_work = AtWork::default();
    let handled = at_work.clone();
    let service = handler(move |request: Request<RequestBody>| {
        let at_work = handled.clone();
        async move {
            let _working = at_work.begin();
            let body = request.into_body().collect().await;
            assert!(body.is_err(), "half a body is no body");
            text("nobody reads this")
        }
    });
    let (http, limits) = (HttpLimits::default(), Limits::default());
    let served = with_server(http, limits, service, async |address, _| {
        let http1 = b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 10\r\n\r\nhalf";
        for half in [&http1[..], HALF_A_REQUEST] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(half).await.unwrap();
            eventually("it is at work", || at_work.count() == 1).await;
            drop(client);
            eventually("it has ended", || at_work.count() == 0).await;
        }
    })
    .await;
    assert_eq!(served, (2, 0));
}

/// HTTP/2's preface, settings, and a GET of `/` on each of the streams 1, 3, 5 and 7.
const FOUR_REQUESTS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86\
    \0\0\x03\x01\x05\0\0\0\x03\x82\x84\x86\
    \0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86\
    \0\0\x03\x01\x05\0\0\0\x07\x82\x84\x86";

/// That a client leaves is no fault of its handlers: nobody is reported as forced, and what a handler's
/// scope shields comes to its end.
#[staunch::test]
async fn a_connection_of_many_streams_forces_nobody() {
    const CLIENTS: usize = 20;
    let (at_work, finished) = (AtWork::default(), Arc::new(AtomicUsize::new(0)));
    let (handled, finishes) = (at_work.clone(), Arc::clone(&finished));
    let service = handler(move |_| {
        let (at_work, finished) = (handled.clone(), Arc::clone(&finishes));
        async move {
            let _working = at_work.begin();
            let ended = scope(&Context::current(), |s| async move {
                s.spawn(async move {
                    let asked = Context::current().cancelled().await;
                    shield(sleep(SOON / 10)).await?;
                    finished.fetch_add(1, Ordering::SeqCst);
                    Err(asked.into())
                });
                std::future::pending::<Result<(), BoxError>>().await
            });
            let _ = ended.await;
            text("never")
        }
    });
    let (http, limits) = (HttpLimits::default(), Limits::default());
    let served = with_server(http, limits, service, async |address, _| {
        for round in 1..=CLIENTS {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(FOUR_REQUESTS).await.unwrap();
            eventually("four at work", || at_work.count() == 4).await;
            drop(client);
            eventually("none", || at_work.count() == 0).await;
            eventually("all is finished", || finished.load(Ordering::SeqCst) == 4 * round).await;
        }
    })
    .await;
    assert_eq!(served, (CLIENTS as u64, 0));
    let observations = Ledger::current().observations();
    assert!(observations.is_empty(), "{observations:?}");
}

/// A handler that panics ends its own exchange, and nobody else's.
#[staunch::test]
async fn a_handler_that_panics_takes_nobody_with_it() {
    let service = handler(|request: Request<RequestBody>| async move {
        assert_ne!(request.uri().path(), "/panic", "as it should");
        text("hello")
    });
    let (http, limits) = (HttpLimits::default(), Limits::default());
    with_server(http, limits, service, async |address, scope| {
        let mut client = http1(address, scope).await;
        assert!(client.send_request(get1("/panic")).await.is_err());
        let mut client = http1(address, scope).await;
        assert_eq!(client.send_request(get1("/")).await.unwrap().status(), 200);
        let mut client = http2(address, scope).await;
        let mut other = client.clone();
        let both = (client.send_request(get("/panic")), other.send_request(get("/")));
        let (panics, other) = tokio::join!(both.0, both.1);
        assert!(panics.is_err() && other.unwrap().status() == 200);
        assert_eq!(client.send_request(get("/")).await.unwrap().status(), 200);
    })
    .await;
}
