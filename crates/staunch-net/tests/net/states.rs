//! The kernel's view of our sockets, joined with the ledger's.

use staunch::Ledger;
use staunch_kernel::TcpState;
use staunch_ledger::Kind;
use staunch_net::{Limits, ReadLineError, socket_states};
use tokio::io::AsyncWriteExt;

use crate::harness::{
    PATIENCE, address, ask, bind, connect, eventually, in_own_process, read_to_end, serving,
    unlimited,
};

/// The state and the entry's kind of each socket at `port` that is in one of `states`.
fn at(port: u16, states: &[TcpState]) -> Vec<(TcpState, Option<Kind>)> {
    let all = socket_states(Ledger::current()).unwrap();
    let mut at: Vec<(TcpState, Option<Kind>)> = all
        .into_iter()
        .filter(|(_, socket)| socket.local.inet().is_some_and(|local| local.port() == port))
        .map(|(entry, socket)| (socket.state, entry.map(|entry| entry.kind())))
        .filter(|(state, _)| states.contains(state))
        .collect();
    at.sort_unstable();
    at
}

#[test]
fn each_state_is_shown_with_the_entry_that_it_belongs_to() {
    in_own_process("states::each_state_is_shown_with_the_entry_that_it_belongs_to", || {
        staunch::testing::run(states());
    });
}

/// Answers one line. Told to forget, it does not look whether the client has gone.
async fn forgetful(connection: staunch_net::Connection) -> Result<(), ReadLineError> {
    let mut lines = connection.lines();
    let Some(line) = lines.next().await? else { return Ok(()) };
    connection.write_all([line, b"\n"]).await?;
    if line == b"forget" {
        let _ = staunch_scope::sleep(PATIENCE).await; // until it is asked to stop
    }
    Ok(())
}

async fn states() {
    let listener = bind(Limits { connections: Some(2), ..unlimited() });
    let address = address(&listener);
    let port = address.port();
    let connection = Some(Kind::CONNECTION);
    let served = serving(listener, forgetful, async || {
        assert_eq!(at(port, &[TcpState::Listen]), [(TcpState::Listen, Some(Kind::LISTENER))]);

        let mut closed_by_us = connect(address).await;
        ask(&mut closed_by_us, "bye").await;
        read_to_end(&mut closed_by_us).await.unwrap();
        drop(closed_by_us);
        eventually("the kernel finishes alone", || {
            at(port, &[TcpState::TimeWait]) == [(TcpState::TimeWait, Some(Kind::LISTENER))]
        })
        .await;

        let mut gone = connect(address).await;
        ask(&mut gone, "forget").await;
        gone.shutdown().await.unwrap();
        let mut open = connect(address).await;
        ask(&mut open, "forget").await;
        eventually("one was forgotten", || {
            at(port, &[TcpState::CloseWait, TcpState::Established])
                == [(TcpState::Established, connection), (TcpState::CloseWait, connection)]
        })
        .await;

        let _waiting = connect(address).await;
        assert_eq!(
            at(port, &[TcpState::Established]),
            [(TcpState::Established, Some(Kind::LISTENER)), (TcpState::Established, connection)],
            "one waits to be accepted"
        );
    });
    let served = served.await;
    assert_eq!((served.accepted, served.cut.len()), (3, 0));
}
