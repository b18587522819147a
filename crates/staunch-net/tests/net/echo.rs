//! Lines go in and come out, over TCP and Unix sockets.

use std::net::SocketAddr;

use staunch_ledger::{Kind, Label, Ledger, State};
use staunch_net::{BindError, Endpoint, Limits, Listener, SocketOptions};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
};

use crate::harness::{
    address, ask, bind, connect, echo, eventually, healthy, live, loopback, read_to_end, serving,
};

#[staunch::test]
async fn lines_are_echoed_over_tcp() {
    let listener = bind(Limits::default());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut stream = connect(address).await;
        assert_eq!(ask(&mut stream, "hi there \r").await, "Echo: hi there");
        assert_eq!(ask(&mut stream, "").await, "Echo: ");
        healthy(address).await;
    });
    let served = served.await;
    assert_eq!((served.accepted, served.refused, served.cut.len()), (2, 0, 0));
}

#[staunch::test]
async fn lines_are_echoed_over_a_unix_socket_and_its_file_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let endpoint = Endpoint::Unix(path.clone());
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), Limits::default()).unwrap();
    let served = serving(listener, echo, async || {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        assert_eq!(ask(&mut stream, "over unix").await, "Echo: over unix");
    });
    assert_eq!(served.await.accepted, 1);
    assert!(!path.exists());
}

#[staunch::test]
async fn a_line_may_come_in_pieces_and_many_lines_at_once() {
    let listener = bind(Limits::default());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut stream = connect(address).await;
        stream.set_nodelay(true).unwrap();
        for byte in b"piece by pie" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&mut stream, "ce").await, "Echo: piece by piece");
        stream.write_all(b"one\ntwo\r\nthree").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(
            read_to_end(&mut stream).await.as_deref(),
            Some(&b"Echo: one\nEcho: two\nEcho: three\n"[..])
        );
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_connection_is_on_the_ledger_with_its_line_and_peer() {
    let listener = bind(Limits::default());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut stream = connect(address).await;
        ask(&mut stream, "hello").await;
        eventually("it is idle", || {
            let snapshot = Ledger::current().snapshot();
            let connection =
                snapshot.entries().iter().find(|entry| entry.kind() == Kind::CONNECTION);
            let Some(connection) = connection else { return false };
            let SocketAddr::V4(local) = stream.local_addr().unwrap() else { return false };
            assert_eq!(*connection.label(), Label::Peer(local));
            assert!(connection.born_at().file().ends_with("harness.rs"));
            assert!(connection.fd().is_some());
            connection.state() == State::Idle
        })
        .await;
        assert_eq!(live(Kind::LISTENER), 1);
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn an_idle_connection_holds_no_buffer() {
    let listener = bind(Limits::default());
    let address = address(&listener);
    let buffered = || {
        let snapshot = Ledger::current().snapshot();
        let buffers = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::BUFFER);
        buffers.map(staunch_ledger::Entry::bytes).sum::<u64>()
    };
    let served = serving(listener, echo, async || {
        let mut streams = Vec::new();
        for _ in 0..50 {
            let mut stream = connect(address).await;
            ask(&mut stream, "x").await;
            streams.push(stream);
        }
        // One at a time, so one buffer was enough for all, and even that one is freed.
        assert_eq!(buffered(), 16 << 10);
        eventually("the pool is trimmed", || buffered() == 0).await;
        assert_eq!(ask(&mut streams[0], "still there").await, "Echo: still there");
    });
    assert_eq!(served.await.accepted, 50);
}

#[staunch::test]
async fn bind_errors_say_what_to_do() {
    let first = bind(Limits::default());
    let taken = Endpoint::Tcp(address(&first));
    let error = |endpoint: &Endpoint| {
        Listener::bind(endpoint, &SocketOptions::default(), Limits::default()).unwrap_err()
    };
    assert!(matches!(error(&taken), BindError::InUse { .. }), "{}", error(&taken));
    let nowhere = Endpoint::Tcp("192.0.2.1:80".parse().unwrap());
    assert!(matches!(error(&nowhere), BindError::NotAvailable { .. }), "{}", error(&nowhere));
    assert!(matches!(loopback(), Endpoint::Tcp(_)));
}

#[staunch::test]
async fn a_stale_unix_socket_is_replaced_but_no_other_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let bind = |path: &std::path::Path| {
        let endpoint = Endpoint::Unix(path.to_owned());
        Listener::bind(&endpoint, &SocketOptions::default(), Limits::default())
    };
    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    drop(bind(&stale).expect("nobody listens there any more"));

    let alive = folder.path().join("alive.sock");
    let listener = bind(&alive).unwrap();
    assert!(matches!(bind(&alive), Err(BindError::InUse { .. })));
    drop(listener);

    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file), Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[staunch::test]
async fn a_handler_that_panics_harms_nobody_else() {
    let listener = bind(Limits::default());
    let address = address(&listener);
    let served = serving(
        listener,
        |connection| async move {
            let mut lines = connection.lines();
            let line = lines.next().await.ok().flatten().map(<[u8]>::to_vec);
            assert_ne!(line.as_deref(), Some(&b"panic"[..]), "as the client wished");
            connection.write_all([b"fine\n"]).await
        },
        async || {
            let mut bad = connect(address).await;
            bad.write_all(b"panic\n").await.unwrap();
            assert_eq!(read_to_end(&mut bad).await, None, "a panic is no orderly end");
            assert_eq!(ask(&mut connect(address).await, "hello").await, "fine");
        },
    );
    assert_eq!(served.await.accepted, 2);
}

#[staunch::test]
async fn a_handler_that_panics_before_its_first_await_harms_nobody_else() {
    let listener = bind(Limits::default());
    let address = address(&listener);
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let served = serving(
        listener,
        move |connection| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert_ne!(call, 0, "the first call, as the test wishes");
            echo(connection)
        },
        async || {
            let mut bad: TcpStream = connect(address).await;
            let _ = read_to_end(&mut bad).await;
            healthy(address).await;
        },
    );
    assert_eq!(served.await.accepted, 2);
}
