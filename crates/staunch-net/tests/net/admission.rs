//! How many connections are let in.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use staunch_ledger::{Kind, Ledger, State};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions, UnattachedListener, listeners};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::harness::{
    Logged, address, ask, bind, connect, counted, echo, eventually, live, loopback, read_to_end,
    serving, unlimited,
};

#[staunch::test]
async fn who_comes_beyond_the_total_waits_in_the_backlog() {
    let listener = bind(Limits { connections: Some(2), ..unlimited() });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut first = connect(address).await;
        let mut second = connect(address).await;
        ask(&mut first, "1").await;
        ask(&mut second, "2").await;
        let mut third = connect(address).await; // the kernel's doing: nobody has accepted it
        let answer = timeout(Duration::from_millis(100), ask(&mut third, "3"));
        assert!(answer.await.is_err(), "the third should wait");
        assert_eq!(live(Kind::CONNECTION), 2);
        drop(first);
        let mut answer = [0; 7];
        third.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"Echo: 3");
        ask(&mut second, "still served").await;
    });
    let served = served.await;
    assert_eq!((served.accepted, served.refused), (3, 0));
}

/// Whoever is served already has a turn between few of a crowd.
#[staunch::test]
async fn a_crowd_is_let_in_a_few_at_a_time() {
    const CROWD: usize = 64;
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let crowd: Vec<_> = (0..CROWD).map(|_| std::net::TcpStream::connect(address)).collect();
        let (mut before, mut most) = (live(Kind::CONNECTION), 0);
        while before < CROWD {
            tokio::task::yield_now().await;
            let now = live(Kind::CONNECTION);
            (before, most) = (now, most.max(now - before));
        }
        assert!(most <= 2 * 8, "{most} at once"); // both are one task, which either wakes
        assert!(crowd.iter().all(Result::is_ok));
    });
    assert_eq!(served.await.accepted, CROWD as u64);
}

#[staunch::test]
async fn who_comes_beyond_the_limit_of_its_address_is_reset() {
    let listener = bind(Limits { connections_per_ip: Some(2), ..unlimited() });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut first = connect(address).await;
        let mut second = connect(address).await;
        ask(&mut first, "1").await;
        ask(&mut second, "2").await;
        // The reset may come before `connect` has returned.
        match TcpStream::connect(address).await {
            Ok(mut third) => assert_eq!(read_to_end(&mut third).await, None, "no orderly end"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        ask(&mut first, "still served").await;
        drop(second);
        eventually("the second has left", || live(Kind::CONNECTION) == 1).await;
        ask(&mut connect(address).await, "room again").await;
    });
    let served = served.await;
    assert_eq!((served.accepted, served.refused), (3, 1));
}

/// What was sent can be read, and policies ask who has sent it.
#[staunch::test]
async fn who_has_reset_its_connection_is_known_all_the_same() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let (told, mut known) = tokio::sync::mpsc::channel(1);
    let handler = move |mut connection: staunch_net::Connection| {
        let told = told.clone();
        async move {
            let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            told.try_send(connection.peer().unwrap()).unwrap();
            Ok::<_, std::io::Error>(())
        }
    };
    let served = serving(listener, handler, async || {
        let client = connect(address).await;
        let expected = client.local_addr().unwrap();
        eventually("it is accepted", || live(Kind::CONNECTION) == 1).await;
        client.set_zero_linger().unwrap();
        drop(client);
        assert_eq!(known.recv().await.flatten(), Some(expected));
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn addresses_are_counted_apart() {
    let listener = bind(Limits { connections_per_ip: Some(1), ..unlimited() });
    let address = address(&listener);
    let from = async |last: u8| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(std::net::SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        socket.connect(address).await.unwrap()
    };
    let served = serving(listener, echo, async || {
        let mut streams = Vec::new();
        for last in 1..=20 {
            let mut stream = from(last).await;
            ask(&mut stream, "mine").await;
            streams.push(stream);
        }
        assert_eq!(read_to_end(&mut from(7).await).await, None);
    });
    let served = served.await;
    assert_eq!((served.accepted, served.refused), (20, 1));
}

#[staunch::test]
async fn nobody_is_counted_by_address_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let limits = Limits { connections_per_ip: Some(1), ..unlimited() };
    let endpoint = Endpoint::Unix(path.clone());
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), limits).unwrap();
    let served = serving(listener, echo, async || {
        let mut first = UnixStream::connect(&path).await.unwrap();
        let mut second = UnixStream::connect(&path).await.unwrap();
        ask(&mut first, "1").await;
        ask(&mut second, "2").await;
    });
    assert_eq!(served.await.refused, 0);
}

#[staunch::test]
async fn a_limit_of_no_connection_at_all_per_address_refuses_everybody() {
    let listener = bind(Limits { connections_per_ip: Some(0), ..unlimited() });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        for _ in 0..3 {
            assert_eq!(read_to_end(&mut connect(address).await).await, None);
        }
    });
    assert_eq!(served.await.refused, 3);
}

#[staunch::test]
async fn a_listener_that_waits_says_so() {
    let listener = bind(unlimited());
    let served = serving(listener, echo, async || {
        let waits = || {
            let snapshot = Ledger::current().snapshot();
            snapshot
                .entries()
                .iter()
                .any(|entry| entry.kind() == Kind::TASK && entry.state() == State::Accept)
        };
        eventually("the accept loop waits", waits).await;
    });
    assert_eq!(served.await.accepted, 0);
}

/// The resets may come before `connect` has returned.
async fn refused(address: SocketAddr) {
    if let Ok(mut stream) = TcpStream::connect(address).await {
        assert_eq!(read_to_end(&mut stream).await, None);
    }
}

#[staunch::test]
async fn who_is_refused_is_counted_by_reason_and_said_once() {
    let is_short = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&is_short);
    let limits = Limits { connections_per_ip: Some(1), ..unlimited() };
    let listener = bind(limits).named("web").refuse_while(move || refuses.load(Ordering::SeqCst));
    let address = address(&listener);
    let logged = Logged::begin();
    let served = serving(listener, echo, async || {
        let mut first = connect(address).await;
        ask(&mut first, "1").await;
        for _ in 0..50 {
            refused(address).await;
        }
        is_short.store(true, Ordering::SeqCst);
        refused(address).await;
        refused(address).await;
        eventually("all are counted", || {
            counted("web") == (1, vec![("per-ip", 50), ("pressure", 2)])
        })
        .await;
    });
    assert_eq!(served.await.refused, 52);
    for (reason, remedy) in [("per-ip", "raise `connections_per_ip`"), ("pressure", "for the time")]
    {
        let lines = logged.warnings(reason);
        let [line, ..] = &lines[..] else { panic!("nothing of {reason}") };
        for part in ["listener=\"web\"", "times=1 ", "peer=127.0.0.1:", remedy] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(lines.len() < 5, "seldom: {lines:?}");
    }
}

#[staunch::test]
async fn listeners_of_one_name_count_together() {
    let endpoint = loopback();
    let each = UnattachedListener::bind_each(&endpoint, &SocketOptions::default(), unlimited(), 2);
    let each = each.unwrap().into_iter().map(|one| one.named("web"));
    let [first, second] = &each.collect::<Vec<_>>()[..] else { panic!("two") };
    let next = bind(unlimited()).named("web");
    let other = bind(unlimited()).named("other");
    assert_eq!((counted("web"), counted("other")), ((0, vec![]), (0, vec![])));
    assert_eq!(listeners(Ledger::current()).len(), 2);
    let _all = (first, second, other);
    let address = address(&next);
    let served = serving(next, echo, async || {
        ask(&mut connect(address).await, "1").await;
        assert_eq!(counted("web").0, 1);
    });
    let _ = served.await;
}
