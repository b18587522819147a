//! What a client can cost: nothing is without a bound.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use staunch::{BoxError, Context, scope};
use staunch_console::{Access, Console, Readiness};
use staunch_http::{HttpLimits, RequestBody, handler, serve};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    CPU_PROFILES, ask, get, parse, profiling, send, wait_for, with, with_console,
};

#[staunch::test]
async fn heads_and_bodies_over_their_limits_are_refused() {
    with_console(async |console| {
        let large = format!("X-Large: {}\r\n", "x".repeat(20 << 10));
        let large = ask(console, &format!("GET / HTTP/1.1\r\nHost: localhost\r\n{large}")).await;
        assert_eq!(large.status, 431);
        let many = "X-Many: 1\r\n".repeat(100);
        let many = ask(console, &format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}")).await;
        assert_eq!(many.status, 431);
        let body =
            "POST /debug/ledger/sites HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n";
        let body = ask(console, body).await;
        assert_eq!(body.status, 413);
        assert!(body.text().contains("at most 262144 are taken"), "{}", body.text());
        let not_http = send(console, b"\x16\x03\x01 this is TLS\r\n\r\n").await;
        assert_eq!(not_http.status, 400);
    })
    .await;
}

#[staunch::test]
async fn a_client_that_drips_its_head_is_cut() {
    let limits = HttpLimits { head_time: Duration::from_millis(300), ..HttpLimits::default() };
    let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let options = SocketOptions::default();
    let listener = Listener::bind(&endpoint, &options, Limits::default()).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let (told, mut ended) = tokio::sync::mpsc::channel(1);
    let served = scope(&Context::current(), |s| async move {
        let context = s.context().clone();
        s.spawn(async move {
            let serve = move |connection| {
                let (limits, told) = (limits.clone(), told.clone());
                async move {
                    let nothing = handler(|_| async {
                        hyper::Response::new(Full::<Bytes>::default()) // no request ever comes
                    });
                    let ended = serve(connection, &limits, nothing).await;
                    told.send(ended.unwrap_err().to_string()).await.map_err(BoxError::from)
                }
            };
            let _ = listener.serve(&context, serve).await;
            Ok(())
        });
        let begun = Instant::now();
        let mut client = TcpStream::connect(address).await?;
        let mut drip = tokio::time::interval(Duration::from_millis(50));
        let why = loop {
            tokio::select! {
                why = ended.recv() => break why,
                _ = drip.tick() => {
                    let _ = client.write_all(b"GET").await; // until it is cut
                }
            }
        };
        assert_eq!(why.as_deref(), Some("no whole request head within 300ms (`head_time`)"));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        s.stop();
        Ok::<_, BoxError>(())
    });
    served.await.unwrap();
}

#[staunch::test]
async fn a_page_in_the_making_is_not_idle() {
    let _alone = CPU_PROFILES.lock().await;
    let limits = Limits { idle: Some(Duration::from_millis(300)), ..Console::limits() };
    with(Access::Loopback, Readiness::default(), limits, async |console| {
        let profile = get(console, "/debug/pprof/profile?seconds=2").await;
        assert_eq!(profile.status, 200, "cut while the page was made");
    })
    .await;
}

#[staunch::test]
async fn several_requests_share_a_connection_until_the_drain_closes_it() {
    let mut idle = None;
    with_console(async |console| {
        let mut client = TcpStream::connect(console).await.unwrap();
        for _ in 0..2 {
            client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 1024];
            let count = client.read(&mut answer).await.unwrap();
            assert_eq!(parse(&answer[..count]).text(), "ok\n");
        }
        idle = Some(client);
    })
    .await;
    // `with_console` has checked that nobody had to be cut.
    assert_eq!(idle.unwrap().read(&mut [0; 16]).await.unwrap(), 0);
}

#[staunch::test]
async fn a_client_that_leaves_takes_its_profile_along() {
    let _alone = CPU_PROFILES.lock().await;
    with_console(async |console| {
        let mut client = TcpStream::connect(console).await.unwrap();
        let request = b"GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(request).await.unwrap();
        wait_for("the profile to begin", || profiling() == 1).await;
        drop(client);
        wait_for("the profile to end", || profiling() == 0).await;
    })
    .await;
}

#[staunch::test]
async fn the_end_of_the_service_is_the_end_of_a_profile() {
    let _alone = CPU_PROFILES.lock().await;
    let mut client = None;
    with_console(async |console| {
        let mut asking = TcpStream::connect(console).await.unwrap();
        let request = b"GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        asking.write_all(request).await.unwrap();
        wait_for("the profile to begin", || profiling() == 1).await;
        client = Some(asking);
    })
    .await;
    let mut answer = Vec::new();
    client.unwrap().read_to_end(&mut answer).await.unwrap();
    assert_eq!((parse(&answer).status, parse(&answer).text()), (503, "The service is ending.\n"));
}

#[staunch::test]
async fn nobody_alone_takes_all_connections() {
    with_console(async |console| {
        let mut taken = Vec::new();
        for _ in 0..16 {
            let mut client = TcpStream::connect(console).await.unwrap();
            client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
            taken.push(client);
        }
        let mut one_more = TcpStream::connect(console).await.unwrap();
        let refused = one_more.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[staunch::test]
async fn a_body_that_drips_is_refused() {
    let limits = HttpLimits { body_time: Duration::from_millis(300), ..HttpLimits::default() };
    let client = async |address| {
        let begun = Instant::now();
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut drip = tokio::time::interval(Duration::from_millis(50));
        let mut answer = [0; 1024];
        let count = loop {
            tokio::select! {
                count = client.read(&mut answer) => break count.unwrap(),
                _ = drip.tick() => {
                    let _ = client.write_all(b"x").await; // until it is refused
                }
            }
        };
        assert_eq!(parse(&answer[..count]).text(), "it did not arrive within 300ms (`body_time`)");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    };
    serving(limits, Limits::default(), client).await;
}

#[staunch::test]
async fn a_pause_between_requests_is_not_a_slow_head() {
    let limits = HttpLimits { head_time: Duration::from_millis(100), ..HttpLimits::default() };
    let client = async |address| {
        let mut client = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut answer = [0; 1024];
            let count = client.read(&mut answer).await.unwrap();
            assert_eq!(parse(&answer[..count]).text(), "");
            // Longer than a head may take, and shorter than the listener's `idle`.
            let closed = client.read(&mut answer);
            assert!(tokio::time::timeout(Duration::from_millis(500), closed).await.is_err());
        }
        assert_eq!(observed("cut-idle"), 0);
    };
    serving(limits, Limits::default(), client).await;
}

#[staunch::test]
async fn who_says_no_more_is_cut_by_the_limits_of_the_listener() {
    let soon = Some(Duration::from_millis(300));
    let check = async |limits, said: &[u8], rule: &str| {
        serving(HttpLimits::default(), limits, async |address| {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(said).await.unwrap();
            wait_for(rule, || observed(rule) == 1).await;
            let _ = client.read_to_end(&mut Vec::new()).await; // an end or a reset
        })
        .await;
    };
    let idle = Limits { idle: soon, ..Limits::default() };
    check(idle, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "cut-idle").await;
    let stall = Limits { read_stall: soon, ..Limits::default() };
    check(stall, b"GET / HTTP/1.1\r\nHo", "cut-read-stall").await;
}

fn observed(rule: &str) -> u64 {
    let counts = staunch::Ledger::current().observation_counts();
    counts.into_iter().find(|(name, _)| *name == rule).map_or(0, |(_, count)| count)
}

/// Serves HTTP while `client` runs: each request is answered with what is wrong with its body.
async fn serving(http: HttpLimits, limits: Limits, client: impl AsyncFnOnce(std::net::SocketAddr)) {
    let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), limits).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let http = std::sync::Arc::new(http);
    let answer = handler(async |request: hyper::Request<RequestBody>| {
        let wrong = request.into_body().collect().await.err().map(|error| error.to_string());
        hyper::Response::new(Full::new(Bytes::from(wrong.unwrap_or_default())))
    });
    let served = scope(&Context::current(), |s| async move {
        let context = s.context().clone();
        s.spawn(async move {
            let serve = move |connection| {
                let http = std::sync::Arc::clone(&http);
                async move { serve(connection, &http, answer).await }
            };
            let _ = listener.serve(&context, serve).await;
            Ok(())
        });
        client(address).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    served.await.unwrap();
}

/// A page takes its turn until it is sent: four clients that do not read theirs leave none.
#[staunch::test]
async fn a_page_keeps_its_turn_until_it_is_sent() {
    let ledger = staunch::Ledger::current();
    let why = staunch::Obligation::Perpetual("for the test, with a reason that makes a long page");
    let many: Vec<_> = (0..1000).map(|_| ledger.open(staunch::Kind::OTHER, why)).collect();
    with_console(async |console| {
        let mut readers = Vec::new();
        for _ in 0..4 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut reader = socket.connect(console).await.unwrap();
            let page = b"GET /debug/ledger?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            reader.write_all(page).await.unwrap();
            assert_eq!(reader.read(&mut [0; 16]).await.unwrap(), 16);
            readers.push(reader);
        }
        let mut fifth = std::pin::pin!(get(console, "/debug/ledger?limit=1"));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut fifth).await;
        assert!(early.is_err(), "a fifth page while four were being sent");
        readers.pop();
        assert_eq!(fifth.await.status, 200);
    })
    .await;
    drop(many);
}
