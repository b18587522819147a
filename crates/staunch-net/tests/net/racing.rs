//! Several addresses, one connection: on real sockets, of both families.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use staunch::{Context, testing::cancel_at_every_await};
use staunch_kernel::{Protocol, SocketQuery};
use staunch_ledger::Kind;
use staunch_net::{DialError, DialOptions, Dialer};
use tokio::net::TcpListener;

use crate::{
    dial::{black_hole, deserted},
    harness::{eventually, live, poll_once},
};

/// So long that no test waits for it.
const NEVER: Duration = Duration::from_hours(1);

fn every(stagger: Duration) -> Dialer {
    Dialer::unwatched(DialOptions { stagger, ..DialOptions::default() })
}

/// Sockets that we have to an address, as the kernel says.
fn sockets_to(address: SocketAddr) -> usize {
    let table = SocketQuery::new().protocols([Protocol::Tcp]).run().unwrap();
    let ours = table.sockets.iter().filter(|it| it.inode.is_some_and(|inode| inode != 0));
    ours.filter(|it| it.remote == Some(address)).count()
}

/// A listener of ::1.
async fn v6() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[staunch::test]
async fn who_does_not_answer_loses_to_the_next_and_is_closed() {
    let (hole, waiting) = black_hole().await;
    let silent = hole.local_addr().unwrap();
    let (_listener, answers) = v6().await;
    let dialer = Dialer::unwatched(DialOptions::default());
    let begun = Instant::now();
    let connection = dialer.tcp_any(&Context::current(), "both", &[silent, answers]).await.unwrap();
    assert!(begun.elapsed() >= DialOptions::default().stagger, "the first has its time");
    assert_eq!(connection.peer().unwrap(), Some(answers));
    assert_eq!((live(Kind::CONNECTION), sockets_to(answers)), (1, 1));
    assert_eq!(sockets_to(silent), waiting.len(), "the attempt that lost is closed");
}

#[staunch::test]
async fn who_refuses_makes_room_at_once() {
    let (listener, refuses) = v6().await;
    drop(listener);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answers = listener.local_addr().unwrap();
    let dialer = every(NEVER);
    let connection = dialer.tcp_any(&Context::current(), "both", &[refuses, answers]).await;
    assert_eq!(connection.unwrap().peer().unwrap(), Some(answers));
}

/// Although another of the first one's family stands before it.
#[staunch::test]
async fn the_other_family_is_second() {
    let (hole, waiting) = black_hole().await;
    let (refuses, silent) = (deserted().await, hole.local_addr().unwrap());
    let (_listener, answers) = v6().await;
    let (dialer, all) = (every(NEVER), [refuses, silent, answers]);
    let connection = dialer.tcp_any(&Context::current(), "both", &all).await.unwrap();
    assert_eq!(connection.peer().unwrap(), Some(answers));
    assert_eq!(sockets_to(silent), waiting.len());
}

#[staunch::test]
async fn attempts_in_mid_race_are_closed_with_the_dial() {
    let (hole, waiting) = black_hole().await;
    let silent = hole.local_addr().unwrap();
    let (dialer, context) = (every(Duration::from_millis(1)), Context::current());
    let mut dial = Box::pin(dialer.tcp_any(&context, "silent", &[silent; 3]));
    while live(Kind::CONNECTION) < 3 {
        assert!(poll_once(dial.as_mut()).await.is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(sockets_to(silent), waiting.len() + 3, "all are on their way");
    drop(dial);
    assert_eq!((live(Kind::CONNECTION), sockets_to(silent)), (0, waiting.len()));
}

#[staunch::test]
async fn a_race_can_be_dropped_at_every_await() {
    let (hole, waiting) = black_hole().await;
    let silent = hole.local_addr().unwrap();
    let (listener, answers) = v6().await;
    let dialer = every(Duration::from_millis(5));
    let awaits = cancel_at_every_await(|| async {
        drop(dialer.tcp_any(&Context::current(), "both", &[silent, answers]).await.unwrap());
        listener.accept().await.unwrap();
    });
    assert!(awaits.await >= 2);
    eventually("none is left", || sockets_to(silent) == waiting.len()).await;
}

#[staunch::test]
async fn if_all_fail_the_first_one_is_told() {
    let (one, other) = (deserted().await, deserted().await);
    let dialer = every(NEVER);
    let error = dialer.tcp_any(&Context::current(), "both", &[one, other]).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("both ({one}): connection refused")), "{error}");
    let none = dialer.tcp_any(&Context::current(), "nobody", &[]).await.unwrap_err();
    assert!(matches!(none, DialError::Unresolved { .. }), "{none}");
    assert!(none.to_string().starts_with("nobody: "), "{none}");
}
