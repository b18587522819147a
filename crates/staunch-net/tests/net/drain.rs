//! Draining: who is idle ends at once, who is in the middle of a message may finish it, who
//! does neither is cut and named.

use std::time::{Duration, Instant};

use staunch::{Context, Ledger};
use staunch_ledger::{Kind, State};
use staunch_net::{Connection, Limits, ReadLineError};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::harness::{
    PATIENCE, address, ask, bind, connect, echo, eventually, live, observed, read_to_end, serving,
    unlimited,
};

fn draining_within(drain: Duration) -> Limits {
    Limits { drain, ..unlimited() }
}

/// Waits until a connection is in `state`.
async fn in_state(state: State) {
    eventually("a connection is in that state", || {
        let snapshot = Ledger::current().snapshot();
        let mut connections =
            snapshot.entries().iter().filter(|entry| entry.kind() == Kind::CONNECTION);
        connections.any(|entry| entry.state() == state)
    })
    .await;
}

#[staunch::test]
async fn idle_connections_end_at_once() {
    let listener = bind(draining_within(PATIENCE));
    let address = address(&listener);
    let mut streams = Vec::new();
    let begun = Instant::now();
    let served = serving(listener, echo, async || {
        for number in 0..20 {
            let mut stream = connect(address).await;
            if number % 2 == 0 {
                ask(&mut stream, "hello").await;
            }
            streams.push(stream);
        }
        eventually("all are accepted", || live(Kind::CONNECTION) == 20).await;
    });
    let served = served.await;
    assert_eq!((served.accepted, served.cut.len()), (20, 0));
    assert!(begun.elapsed() < PATIENCE, "nobody waited for the deadline");
    for stream in &mut streams {
        assert_eq!(read_to_end(stream).await, Some(Vec::new()));
    }
}

#[staunch::test]
async fn a_connection_in_the_middle_of_a_message_may_finish_it() {
    let listener = bind(draining_within(PATIENCE));
    let mut stream = connect(address(&listener)).await;
    stream.write_all(b"first half, ").await.unwrap();
    let served = serving(listener, echo, async || in_state(State::ReadRest).await);
    let finish = async {
        eventually("draining has begun", || live(Kind::LISTENER) == 0).await;
        assert_eq!(ask(&mut stream, "second half").await, "Echo: first half, second half");
        assert_eq!(read_to_end(&mut stream).await, Some(Vec::new()));
    };
    let (served, ()) = tokio::join!(served, finish);
    assert_eq!((served.accepted, served.cut.len()), (1, 0));
}

#[staunch::test]
async fn who_is_stuck_is_cut_at_the_deadline_and_named() {
    let listener = bind(draining_within(Duration::from_millis(200)));
    let address = address(&listener);
    let mut streams = Vec::new();
    let served = serving(listener, echo, async || {
        let mut idle = connect(address).await;
        ask(&mut idle, "hello").await;
        let mut stuck = connect(address).await;
        stuck.write_all(b"half a li").await.unwrap();
        in_state(State::ReadRest).await;
        streams.extend([idle, stuck]);
    });
    let served = served.await;
    assert_eq!(served.cut.len(), 1);
    let cut = &served.cut[0];
    assert!(cut.born_at.file().ends_with("harness.rs"));
    assert_eq!(cut.state, State::ReadRest);
    assert_eq!(cut.label.to_string(), streams[1].local_addr().unwrap().to_string());
    assert_eq!(read_to_end(&mut streams[0]).await, Some(Vec::new()));
}

#[staunch::test]
async fn nobody_is_accepted_while_draining() {
    let listener = bind(draining_within(Duration::from_millis(300)));
    let address = address(&listener);
    let mut streams = Vec::new();
    let served = serving(listener, echo, async || {
        let mut stuck = connect(address).await;
        stuck.write_all(b"half a li").await.unwrap();
        in_state(State::ReadRest).await;
        streams.push(stuck);
    });
    let late = async {
        eventually("the listener is closed", || live(Kind::LISTENER) == 0).await;
        TcpStream::connect(address).await.unwrap_err().kind()
    };
    let (served, late) = tokio::join!(served, late);
    assert_eq!(late, std::io::ErrorKind::ConnectionRefused);
    assert_eq!((served.accepted, served.cut.len()), (1, 1));
}

#[staunch::test]
async fn dropping_the_server_closes_its_listener_and_asks_its_connections_to_end() {
    let listener = bind(draining_within(Duration::from_millis(200)));
    let address = address(&listener);
    let context = Context::current();
    let mut idle = connect(address).await;
    let mut stuck = connect(address).await;
    {
        let mut serve = std::pin::pin!(listener.serve(&context, echo));
        let clients = async {
            ask(&mut idle, "hello").await;
            stuck.write_all(b"half a li").await.unwrap();
            in_state(State::ReadRest).await;
        };
        tokio::select! {
            _ = &mut serve => panic!("nobody stopped it"),
            () = clients => {}
        }
    }
    assert_eq!(live(Kind::LISTENER), 0);
    assert_eq!(read_to_end(&mut idle).await, Some(Vec::new()));
    // Forced once the drain deadline is over, with half a line unread or not.
    let _ = read_to_end(&mut stuck).await;
    eventually("nothing is left", || live(Kind::CONNECTION) == 0).await;
}

#[staunch::test]
async fn the_watchdog_looks_while_draining_too() {
    let write_stall = Some(Duration::from_millis(300));
    let listener = bind(Limits { write_stall, ..draining_within(PATIENCE * 3) });
    let address = address(&listener);
    let pour = async |connection: Connection| {
        let much = vec![b'x'; 64 << 10];
        while connection.write_all([&much]).await.is_ok() {}
        Ok::<_, ReadLineError>(())
    };
    let mut stalled = None;
    let served = serving(listener, pour, async || {
        stalled = Some(connect(address).await);
        in_state(State::Write).await;
    });
    let served = timeout(PATIENCE, served).await.expect("it is cut before the drain deadline");
    assert_eq!((served.accepted, served.cut.len()), (1, 0));
    assert_eq!(observed("cut-write-stall").len(), 1);
}
