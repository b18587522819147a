//! Dialling: on the ledger, within its time, watched if that is wanted.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use staunch::{BoxError, Cancelled, Context, scope, testing::cancel_at_every_await};
use staunch_ledger::{Kind, Label, Ledger, Obligation, State};
use staunch_net::{
    CutReason, DatagramError, DialError, DialOptions, Dialer, Endpoint, Limits, Listener,
    SocketOptions, dial_tcp, dial_udp, dial_unix,
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::harness::{
    PATIENCE, address, bind, cut, echo, eventually, live, observed, poll_once, serving, unlimited,
};

/// An address where nobody answers: a listener whose backlog is full drops what comes.
pub(crate) async fn black_hole() -> (TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let short = Duration::from_millis(200);
    while let Ok(stream) =
        tokio::time::timeout(short, tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

/// An address that nobody listens at.
pub(crate) async fn deserted() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn within(timeout: Duration) -> DialOptions {
    DialOptions { timeout, ..DialOptions::default() }
}

#[staunch::test]
async fn a_dialled_connection_is_on_the_ledger_with_the_callers_line() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let options = DialOptions::default();
        let dialled_at = line!() + 1;
        let connection = dial_tcp(&Context::current(), address, &options).await.unwrap();
        let entry = Ledger::current().entry(connection.id()).unwrap();
        assert_eq!((entry.kind(), entry.state()), (Kind::CONNECTION, State::Idle));
        assert_eq!(entry.born_at().line(), dialled_at);
        assert!(entry.born_at().file().ends_with("dial.rs"));
        assert_eq!(entry.label().to_string(), address.to_string());
        assert!(entry.fd().is_some());

        connection.write_all([b"hello\n"]).await.unwrap();
        assert_eq!(connection.lines().next().await.unwrap(), Some(&b"Echo: hello"[..]));
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_connection_that_outlives_the_task_that_dialled_it_is_overdue() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let dialled = scope(&Context::current(), |s| async move {
            let dial = s.fork(async move {
                Ok(dial_tcp(&Context::current(), address, &DialOptions::default()).await?)
            });
            Ok::<_, BoxError>(dial.join().await?)
        });
        let escaped = dialled.await.unwrap();
        let snapshot = Ledger::current().snapshot();
        let (overdue, _) = snapshot.overdue();
        assert_eq!(overdue.iter().map(|entry| entry.id()).collect::<Vec<_>>(), [escaped.id()]);
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn udp_peers_are_dialled() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let peer = dial_udp(&Context::current(), address, &DialOptions::default()).await.unwrap();
    let entry = Ledger::current().entry(peer.id()).unwrap();
    assert_eq!((entry.kind(), entry.label().to_string()), (Kind::CONNECTION, address.to_string()));

    peer.send(b"hello").await.unwrap();
    let mut word = [0; 16];
    let (length, from) = server.recv_from(&mut word).await.unwrap();
    assert_eq!(&word[..length], b"hello");
    server.send_to(b"a long answer", from).await.unwrap();
    server.send_to(b"ok", from).await.unwrap();
    let mut answer = [0; 4];
    let too_long = peer.receive(&mut answer).await.unwrap_err();
    assert!(matches!(too_long, DatagramError::TooLong { length: 13, room: 4 }), "{too_long}");
    assert_eq!(peer.receive(&mut answer).await.unwrap(), 2);
    assert!(poll_once(peer.receive(&mut answer)).await.is_none(), "there is no more");

    drop(server);
    peer.send(b"is anybody there?").await.unwrap();
    let refused = peer.send(b"is anybody there?").await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
}

/// Also before the kernel has said that a socket can be written to.
#[staunch::test]
async fn several_tasks_may_send_at_once() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let ended = scope(&Context::current(), |s| async move {
        let peer = Arc::new(dial_udp(s.context(), address, &DialOptions::default()).await?);
        for _ in 0..3 {
            let peer = Arc::clone(&peer);
            s.spawn(async move { peer.send(b"hello").await.map_err(BoxError::from) });
        }
        Ok::<_, BoxError>(())
    });
    tokio::time::timeout(PATIENCE, ended).await.expect("all have sent").unwrap();
    for _ in 0..3 {
        assert_eq!(server.recv(&mut [0; 16]).await.unwrap(), 5);
    }
}

/// Whoever waits for an answer need not send once more to hear that there is nobody.
#[staunch::test]
async fn who_receives_hears_that_nobody_listens() {
    let deserted = {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        server.local_addr().unwrap()
    };
    let peer = dial_udp(&Context::current(), deserted, &DialOptions::default()).await.unwrap();
    for _ in 0..2 {
        peer.send(b"is anybody there?").await.unwrap();
        let mut answer = [0; 4];
        let received = tokio::time::timeout(PATIENCE, peer.receive(&mut answer)).await;
        let refused = received.expect("it is heard of").unwrap_err();
        assert!(refused.to_string().contains("refused"), "{refused}");
        assert!(poll_once(peer.receive(&mut answer)).await.is_none(), "it is said once");
    }
}

#[staunch::test]
async fn receiving_ends_when_its_task_is_asked_to_stop() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let ended = scope(&Context::current(), |s| async move {
        let peer = dial_udp(s.context(), address, &DialOptions::default()).await?;
        s.stop();
        let asked = peer.receive(&mut [0; 4]).await.unwrap_err();
        assert!(matches!(asked, DatagramError::Cancelled(Cancelled::Requested)), "{asked}");
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn names_are_resolved_and_addresses_tried_in_turn() {
    // `localhost` is ::1 as well on most machines, where nobody listens.
    let listener = bind(unlimited());
    let port = address(&listener).port();
    let served = serving(listener, echo, async || {
        let name = format!("localhost:{port}");
        let options = DialOptions::default();
        let connection = dial_tcp(&Context::current(), name, &options).await.unwrap();
        connection.write_all([b"hello\n"]).await.unwrap();
        assert_eq!(connection.lines().next().await.unwrap(), Some(&b"Echo: hello"[..]));
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn unix_sockets_are_dialled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let endpoint = Endpoint::Unix(path.clone());
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), unlimited()).unwrap();
    let (context, options) = (Context::current(), DialOptions::default());
    let served = serving(listener, echo, async || {
        let connection = dial_unix(&context, &path, &options).await.unwrap();
        connection.write_all([b"hello\n"]).await.unwrap();
        assert_eq!(connection.lines().next().await.unwrap(), Some(&b"Echo: hello"[..]));
        let entry = Ledger::current().entry(connection.id()).unwrap();
        assert_eq!(entry.label().to_string(), format!("unix:{}", path.display()));
    });
    assert_eq!(served.await.accepted, 1);

    let error = dial_unix(&context, &path, &options).await.unwrap_err();
    assert!(matches!(error, DialError::Missing { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("unix:{}: no such socket", path.display())));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = dial_unix(&context, &path, &options).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
}

#[staunch::test]
async fn errors_name_the_address_and_what_to_do() {
    let context = Context::current();
    let address = deserted().await;
    let error = dial_tcp(&context, address, &DialOptions::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{address}: connection refused: nobody listens there; check that the server runs, and the port"
        )
    );
    let name = format!("localhost:{}", address.port());
    let error = dial_tcp(&context, name.as_str(), &DialOptions::default()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("{name} (")), "{error}");

    let error = dial_tcp(&context, "no-port", &DialOptions::default()).await.unwrap_err();
    assert!(matches!(error, DialError::Unresolved { .. }), "{error}");
}

#[staunch::test]
async fn who_does_not_answer_in_time_is_given_up() {
    let (hole, _waiting) = black_hole().await;
    let address = hole.local_addr().unwrap();
    let limit = Duration::from_millis(200);
    let error = dial_tcp(&Context::current(), address, &within(limit)).await.unwrap_err();
    assert!(matches!(error, DialError::TimedOut { limit: l, .. } if l == limit), "{error}");
    assert!(error.to_string().contains(&address.to_string()));
    assert_eq!(live(Kind::CONNECTION), 0);
}

#[staunch::test]
async fn while_it_dials_the_attempt_is_on_the_ledger() {
    let (hole, _waiting) = black_hole().await;
    let address = hole.local_addr().unwrap();
    let (context, options) = (Context::current(), DialOptions::default());
    let mut dial = std::pin::pin!(dial_tcp(&context, address, &options));
    assert!(poll_once(dial.as_mut()).await.is_none());
    let snapshot = Ledger::current().snapshot();
    let attempts = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::CONNECTION);
    let attempts: Vec<_> = attempts.collect();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].state(), State::Handshake);
    assert!(attempts[0].fd().is_some());
    assert!(matches!(attempts[0].label(), Label::Peer(_)));
    assert!(matches!(attempts[0].obligation(), Obligation::EndsBy(_)));
}

#[staunch::test]
async fn dialling_ends_when_its_context_or_its_task_is_cancelled() {
    let (hole, _waiting) = black_hole().await;
    let address = hole.local_addr().unwrap();
    let begun = Instant::now();

    let soon = Context::current().with_timeout(Duration::from_millis(50));
    let error = dial_tcp(&soon, address, &DialOptions::default()).await.unwrap_err();
    assert!(matches!(error, DialError::Cancelled(Cancelled::DeadlineExceeded)), "{error}");

    let ended = scope(&Context::current(), |s| async move {
        let dialling = s.fork(async move {
            let context = Context::background(); // not its task's
            Ok(dial_tcp(&context, address, &DialOptions::default()).await)
        });
        eventually("it dials", || live(Kind::CONNECTION) == 1).await;
        s.stop();
        let error = dialling.join().await;
        assert!(matches!(error, Err(_) | Ok(Err(DialError::Cancelled(Cancelled::Requested)))));
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
    assert!(begun.elapsed() < DialOptions::default().timeout);
}

#[staunch::test]
async fn dialled_connections_are_watched() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let short = Duration::from_millis(200);
    let limits = Limits { idle: Some(short), read_stall: Some(short), ..unlimited() };
    let ended = scope(&Context::current(), |s| async move {
        let dialer = Dialer::watched(&s, DialOptions::default(), limits);
        let idle = dialer.tcp(s.context(), address).await?;
        let (_silent, _) = server.accept().await?;
        let stalled = dialer.tcp(s.context(), address).await?;
        let (mut stalling, _) = server.accept().await?;
        stalling.write_all(b"half a li").await?;

        let mut lines = (idle.lines(), stalled.lines());
        let (idle, stalled) = tokio::join!(lines.0.next(), lines.1.next());
        assert_eq!(cut(&idle.unwrap_err()), Some(CutReason::Idle));
        assert_eq!(cut(&stalled.unwrap_err()), Some(CutReason::ReadStall));
        assert_eq!(observed("cut-idle").len(), 1);
        assert!(observed("cut-idle")[0].born_at.file().ends_with("dial.rs"));
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap(); // the watchdog's task did not keep the scope from ending
}

#[staunch::test]
async fn the_watchdog_outlives_its_dialer_but_not_the_connections() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let ended = scope(&Context::current(), |s| async move {
            let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
            let connection = dialer.tcp(s.context(), address).await?;
            drop(dialer);
            tokio::task::yield_now().await;
            assert_eq!(s.live(), 2, "the body and the watchdog");
            drop(connection);
            eventually("the watchdog ends", || s.live() == 1).await;
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_scope_that_stops_ends_the_watchdog_although_the_dialer_lives() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut kept = None;
        let begun = Instant::now();
        let ended = scope(&Context::current(), |s| {
            let kept = &mut kept;
            async move {
                let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
                let connection = dialer.tcp(s.context(), address).await?;
                *kept = Some((dialer, connection));
                s.stop();
                Ok::<_, BoxError>(())
            }
        });
        ended.await.unwrap();
        assert!(begun.elapsed() < staunch_scope::DEFAULT_GRACE);
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_dialer_that_somebody_keeps_does_not_keep_its_scope_from_ending() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let begun = Instant::now();
        let ended = scope(&Context::current(), |s| async move {
            let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
            let connection = dialer.tcp(s.context(), address).await?;
            Ok::<_, BoxError>((dialer, connection))
        });
        let kept = ended.await.unwrap();
        assert!(begun.elapsed() < staunch_scope::DEFAULT_GRACE);
        assert_eq!(live(Kind::CONNECTION), 2, "it is still there, and its peer");
        drop(kept);
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn dialling_can_be_dropped_at_every_await() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let port = address.port();
    let served = serving(listener, echo, async || {
        // So that the listener has made its first buffer.
        drop(dial_tcp(&Context::current(), address, &DialOptions::default()).await.unwrap());
        eventually("the server has noticed", || live(Kind::BUFFER) == 1).await;
        let awaits = cancel_at_every_await(|| async {
            let name = format!("localhost:{port}");
            let dial = dial_tcp(&Context::current(), name, &DialOptions::default());
            drop(dial.await.unwrap());
            eventually("the server has noticed", || live(Kind::CONNECTION) == 0).await;
        });
        assert!(awaits.await >= 2);
    });
    assert!(served.await.cut.is_empty());
}
