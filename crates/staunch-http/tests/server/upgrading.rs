//! A connection that goes on in another protocol, in the same task.

use std::{sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    header::{CONNECTION, HeaderValue, UPGRADE},
};
use staunch::{Context, Kind, Ledger};
use staunch_http::{HttpLimits, RequestBody, Upgraded, handler, serve, upgrade};
use staunch_net::{Connection, Limits};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    plain::with_listener,
    support::{Answer, AtWork, SOON, eventually, get, http2, read, text, with_server},
};

const ASKS: &[u8] = b"GET / HTTP/1.1\r\nHost: l\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

fn switch() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
    answer
}

/// Says every line again, until the peer leaves or the task is asked to stop; then says so.
async fn echo(peer: Upgraded, at_work: AtWork) {
    let _working = at_work.begin();
    let (reads, mut writes) = tokio::io::split(peer);
    let (mut lines, stop) = (BufReader::new(reads).lines(), Context::current());
    while let Ok(Ok(Some(line))) = stop.run(lines.next_line()).await {
        if writes.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = writes.write_all(b"goodbye\n").await; // the peer may have left
}

#[staunch::test]
async fn what_follows_runs_in_the_task_of_the_connection() {
    let at_work = AtWork::default();
    let speaks = at_work.clone();
    let service = handler(move |mut request: Request<RequestBody>| {
        let at_work = speaks.clone();
        async move {
            let answer = upgrade(&mut request, switch(), |peer| echo(peer, at_work));
            answer.unwrap_or_else(|error| text(error.to_string()))
        }
    });
    let http = HttpLimits { head_time: SOON / 3, park_after: SOON / 30, ..HttpLimits::default() };
    let mut kept = None;
    let served = with_server(http, Limits::default(), service, async |address, scope| {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[ASKS, b"one\n"].concat()).await.unwrap(); // it does not wait for the answer
        let mut answer = [0; 512];
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\none\n") {
            let count = client.read(&mut answer).await.unwrap();
            assert!(count > 0, "it ends after {}", said.escape_ascii());
            said.extend_from_slice(&answer[..count]);
        }
        assert!(said.starts_with(b"HTTP/1.1 101 "), "{}", said.escape_ascii());
        let tasks = Ledger::current().births(Kind::TASK);
        tokio::time::sleep(SOON).await; // neither parked, nor a head that takes too long
        client.write_all(b"two\n").await.unwrap();
        client.read_exact(&mut answer[..4]).await.unwrap();
        assert_eq!(&answer[..4], b"two\n");
        assert_eq!(Ledger::current().births(Kind::TASK), tasks, "nobody was started for it");

        let mut leaves = TcpStream::connect(address).await.unwrap();
        leaves.write_all(ASKS).await.unwrap();
        eventually("two speak", || at_work.count() == 2).await;
        drop(leaves);
        eventually("one has left", || at_work.count() == 1).await;

        let mut other = http2(address, scope).await;
        let refused = read(other.send_request(get("/")).await.unwrap()).await.1;
        assert!(refused.contains("HTTP/1.1"), "{refused}");
        kept = Some(client);
    })
    .await;
    assert_eq!(served, (3, 0), "it heard of the end");
    let mut goodbye = String::new();
    let mut kept = kept.unwrap();
    let heard = kept.read_to_string(&mut goodbye);
    tokio::time::timeout(Duration::from_secs(1), heard).await.unwrap().unwrap();
    assert_eq!(goodbye, "goodbye\n");
}

/// The second time the server agrees, and nothing is left of the first.
#[staunch::test]
async fn who_was_declined_may_ask_again() {
    let at_work = AtWork::default();
    let speaks = at_work.clone();
    let service = handler(move |mut request: Request<RequestBody>| {
        let at_work = speaks.clone();
        async move {
            if request.uri().path() == "/no" {
                return text("no\n");
            }
            let answer = upgrade(&mut request, switch(), |peer| echo(peer, at_work));
            answer.unwrap_or_else(|error| text(error.to_string()))
        }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
        let declined = String::from_utf8_lossy(ASKS).replacen("/ ", "/no ", 1);
        client.write_all(declined.as_bytes()).await.unwrap();
        let mut line = String::new();
        while line != "no\n" {
            line.clear();
            assert!(client.read_line(&mut line).await.unwrap() > 0, "it ends");
        }
        client.write_all(&[ASKS, b"one\n"].concat()).await.unwrap();
        while line != "one\n" {
            line.clear();
            assert!(client.read_line(&mut line).await.unwrap() > 0, "it ends");
        }
    })
    .await;
    eventually("nobody speaks", || at_work.count() == 0).await;
}

/// Nobody knows what is between the two.
#[staunch::test]
async fn one_that_waits_for_its_client_is_not_closed_as_idle() {
    let at_work = AtWork::default();
    let speaks = at_work.clone();
    let service = handler(move |mut request: Request<RequestBody>| {
        let at_work = speaks.clone();
        async move {
            let answer = upgrade(&mut request, switch(), |peer| echo(peer, at_work));
            answer.unwrap_or_else(|error| text(error.to_string()))
        }
    });
    let limits = Arc::new(HttpLimits::default());
    let serve = move |connection: Connection| {
        let (limits, service) = (Arc::clone(&limits), service.clone());
        async move { serve(connection, &limits, service).await }
    };
    with_listener(Limits::default(), serve, async |address, control| {
        let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
        client.write_all(ASKS).await.unwrap();
        eventually("it speaks", || at_work.count() == 1).await;
        assert_eq!(control.close_idle(1, Duration::ZERO), 0);
        client.write_all(b"one\n").await.unwrap();
        let mut line = String::new();
        while line != "one\n" {
            line.clear();
            assert!(client.read_line(&mut line).await.unwrap() > 0, "it ends");
        }
    })
    .await;
}
