//! What clients do that well-behaved ones do not. After each, nothing is left.

use std::{net::SocketAddr, os::fd::AsFd};

use rustix::net::sockopt;
use staunch_ledger::Kind;
use staunch_net::{Limits, ReadLineError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{
    Ends, address, ask, bind, connect, echo, eventually, healthy, in_own_process, live, open_files,
    read_to_end, serving, unlimited,
};

#[staunch::test]
async fn a_client_that_has_said_its_last_word_still_gets_its_answers() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut stream = connect(address).await;
        stream.write_all(b"a\nb\n").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.as_deref(), Some(&b"Echo: a\nEcho: b\n"[..]));
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_handler_may_say_its_last_word_and_read_on() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(
        listener,
        |connection| async move {
            connection.write_all([b"bye\n"]).await?;
            connection.shutdown_write()?;
            let mut lines = connection.lines();
            assert_eq!(lines.next().await?, Some(&b"and you"[..]));
            assert_eq!(lines.next().await?, None);
            Ok::<_, ReadLineError>(())
        },
        async || {
            let mut stream = connect(address).await;
            assert_eq!(read_to_end(&mut stream).await.as_deref(), Some(&b"bye\n"[..]));
            stream.write_all(b"and you\n").await.unwrap();
            stream.shutdown().await.unwrap();
            eventually("the handler has ended", || live(Kind::CONNECTION) == 0).await;
        },
    );
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_line_that_is_too_long_ends_the_connection_with_a_clear_error() {
    let listener = bind(Limits { buffer: 1024, ..unlimited() });
    let address = address(&listener);
    let ends = Ends::default();
    let served = serving(listener, ends.keep(echo), async || {
        let mut stream = connect(address).await;
        let longest = "x".repeat(1023);
        assert_eq!(ask(&mut stream, &longest).await, format!("Echo: {longest}"));
        stream.write_all(&[b'x'; 1024]).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.as_deref(), Some(&b""[..]));
        healthy(address).await;
        eventually("both handlers have ended", || ends.count() == 2).await;
    });
    assert_eq!(served.await.accepted, 2);
    let ends = ends.take();
    let error = ends.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(error, ReadLineError::TooLong { limit: 1024 }));
    assert!(error.to_string().contains("raise the limit"), "{error}");
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(stream.as_fd(), Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
}

async fn storm(address: SocketAddr) {
    for round in 0..300 {
        let mut stream = connect(address).await;
        match round % 3 {
            0 => {}
            1 => stream.write_all(b"half a li").await.unwrap(),
            _ => _ = ask(&mut stream, "a whole one").await,
        }
        reset(stream);
    }
}

#[staunch::test]
async fn a_storm_of_resets_leaves_nothing_and_harms_nobody() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        tokio::join!(storm(address), healthy(address), healthy(address));
        healthy(address).await;
        eventually("only the listener is left", || live(Kind::CONNECTION) == 0).await;
    });
    assert!(served.await.cut.is_empty());
}

#[test]
fn two_thousand_connects_and_closes_leave_the_process_as_it_was() {
    in_own_process("abuse::two_thousand_connects_and_closes_leave_the_process_as_it_was", || {
        staunch::testing::run(async {
            let listener = bind(unlimited());
            let address = address(&listener);
            let served = serving(listener, echo, async || {
                healthy(address).await;
                eventually("it has left", || live(Kind::CONNECTION) == 0).await;
                let before = (open_files(), staunch_ledger::Ledger::current().live());
                for round in 0..2_000 {
                    let mut stream = connect(address).await;
                    if round % 10 == 0 {
                        ask(&mut stream, "hello").await;
                    }
                }
                eventually("everything is as before", || {
                    before == (open_files(), staunch_ledger::Ledger::current().live())
                })
                .await;
            });
            assert_eq!(served.await.accepted, 2_001);
        });
    });
}

#[staunch::test]
async fn a_client_that_talks_without_listening_is_answered_until_it_resets() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut stream = connect(address).await;
        stream.write_all(&b"line\n".repeat(100)).await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        reset(stream);
        eventually("it has left", || live(Kind::CONNECTION) == 0).await;
    });
    assert_eq!(served.await.accepted, 1);
}
