//! A listener with too few buffers: connections take turns, and nobody starves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use staunch_ledger::State;
use staunch_net::{Limits, ReadLineError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    address, ask, bind, connect, connections_in, echo, eventually, observed, poll_once, serving,
    unlimited,
};

/// One buffer for everybody.
fn one_buffer() -> Limits {
    Limits { buffer: 1024, buffers: 1024, ..unlimited() }
}

#[staunch::test]
async fn who_finds_no_buffer_waits_for_one_and_is_not_taken_for_idle() {
    let idle = Duration::from_millis(100);
    let listener = bind(Limits { first_byte: Some(idle), idle: Some(idle), ..one_buffer() });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut holder = connect(address).await;
        holder.write_all(b"half a li").await.unwrap();
        eventually("it holds the buffer", || connections_in(State::ReadRest) == 1).await;
        let mut waiting = Vec::new();
        for _ in 0..10 {
            let mut stream = connect(address).await;
            stream.write_all(b"hello\n").await.unwrap();
            waiting.push(stream);
        }
        eventually("all wait for it", || connections_in(State::Waiting) == 10).await;
        tokio::time::sleep(idle * 3).await; // long enough to be cut, if that were an offence
        assert_eq!(connections_in(State::Waiting), 10);
        assert!(observed("cut-idle").is_empty() && observed("cut-first-byte").is_empty());

        assert_eq!(ask(&mut holder, "ne").await, "Echo: half a line");
        for stream in &mut waiting {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"Echo: hello\n");
        }
    });
    assert_eq!(served.await.accepted, 11);
}

#[staunch::test]
async fn who_no_longer_waits_does_not_stand_in_line() {
    // The second in line gives up its wait without ending its connection.
    let gave_up = Arc::new(AtomicBool::new(false));
    let gives_up = Arc::clone(&gave_up);
    let listener = bind(Limits { drain: Duration::from_millis(100), ..one_buffer() });
    let address = address(&listener);
    let served = serving(
        listener,
        move |connection| {
            let gave_up = Arc::clone(&gives_up);
            async move {
                let mut lines = connection.lines();
                if !gave_up.load(Ordering::Relaxed) && connections_in(State::ReadRest) == 1 {
                    while connections_in(State::Waiting) == 0 {
                        assert!(poll_once(lines.next()).await.is_none());
                        tokio::task::yield_now().await;
                    }
                    gave_up.store(true, Ordering::Relaxed);
                    connection.write_all([b"later\n"]).await?;
                    std::future::pending::<()>().await;
                }
                while let Some(line) = lines.next().await? {
                    connection.write_all([line, b"\n"]).await?;
                }
                Ok::<_, ReadLineError>(())
            }
        },
        async || {
            let mut holder = connect(address).await;
            holder.write_all(b"half a li").await.unwrap();
            eventually("it holds the buffer", || connections_in(State::ReadRest) == 1).await;
            let mut second = connect(address).await;
            assert_eq!(ask(&mut second, "hello").await, "later");
            let mut third = connect(address).await;
            third.write_all(b"third\n").await.unwrap();
            eventually("it waits", || connections_in(State::Waiting) == 1).await;
            assert_eq!(ask(&mut holder, "ne").await, "half a line");
            let mut answer = [0; 6];
            third.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"third\n");
        },
    );
    let served = served.await;
    assert_eq!((served.accepted, served.cut.len()), (3, 1));
}
