//! The watchdog: who stops without closing is cut, for the right reason, and nobody else is.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use staunch_ledger::{Entry, Kind, Ledger, State};
use staunch_net::{Connection, CutReason, Limits, ReadLineError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{
    Ends, PATIENCE, address, ask, bind, connect, connections_in, echo, eventually, healthy,
    observed, poll_once, read_to_end, serving, unlimited,
};

/// Long enough for a machine that is busy with something else to answer in.
const SHORT: Duration = Duration::from_millis(600);

/// Serves with `handler` and `limits`; the misbehaving `client` must be cut for `reason`, and
/// a healthy one served meanwhile.
async fn check<F>(
    limits: Limits,
    handler: impl Fn(Connection) -> F + Send + Sync + 'static,
    client: impl AsyncFnOnce(SocketAddr),
    reason: CutReason,
) where
    F: Future<Output = Result<(), ReadLineError>> + Send + 'static,
{
    let listener = bind(limits);
    let address = address(&listener);
    let ends = Ends::default();
    let served = serving(listener, ends.keep(handler), async || {
        client(address).await;
        eventually("the watchdog cuts", || !observed(reason.rule()).is_empty()).await;
        eventually("the handler ends", || ends.count() > 0).await;
    });
    let served = served.await;
    assert!(served.cut.is_empty(), "nobody had to be forced");
    assert_eq!(ends.take_cuts(), [reason]);

    let observed = observed(reason.rule());
    assert_eq!(observed.len(), 1);
    assert_eq!(observed[0].kind, Kind::CONNECTION);
    assert!(observed[0].born_at.file().ends_with("harness.rs"), "the line that called `serve`");
    assert!(observed[0].text.contains("127.0.0.1"), "{}", observed[0].text);
}

/// Talks every now and then for `time`.
async fn talks_on(address: SocketAddr, time: Duration) {
    let mut stream = connect(address).await;
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert_eq!(ask(&mut stream, "alive").await, "Echo: alive");
        tokio::time::sleep(SHORT / 60).await; // well within every limit
    }
}

#[staunch::test]
async fn no_first_byte() {
    let limits = Limits { first_byte: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut silent = connect(address).await;
        tokio::join!(
            async { assert_eq!(read_to_end(&mut silent).await, Some(Vec::new())) },
            talks_on(address, SHORT * 2),
        );
    };
    check_and_healthy(limits, client, CutReason::FirstByte).await;
}

#[staunch::test]
async fn idle() {
    let limits = Limits { idle: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut idle = connect(address).await;
        ask(&mut idle, "hello").await;
        tokio::join!(
            async { assert_eq!(read_to_end(&mut idle).await, Some(Vec::new())) },
            talks_on(address, SHORT * 2),
        );
    };
    check_and_healthy(limits, client, CutReason::Idle).await;
}

#[staunch::test]
async fn a_message_that_is_not_finished() {
    let limits = Limits { read_stall: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut stalled = connect(address).await;
        stalled.write_all(b"half a li").await.unwrap();
        tokio::join!(
            async { assert_eq!(read_to_end(&mut stalled).await, None) },
            talks_on(address, SHORT * 2),
        );
    };
    check_and_healthy(limits, client, CutReason::ReadStall).await;
}

#[staunch::test]
async fn a_lifetime_that_is_over_although_the_client_talks() {
    let listener = bind(Limits { lifetime: Some(SHORT * 2), ..unlimited() });
    let address = address(&listener);
    let ends = Ends::default();
    let served = serving(listener, ends.keep(echo), async || {
        let mut stream = connect(address).await;
        while stream.write_all(b"on and on\n").await.is_ok() {
            let mut answer = [0; 64];
            if !stream.read(&mut answer).await.is_ok_and(|count| count > 0) {
                break;
            }
        }
        eventually("the handler ends", || ends.count() > 0).await;
    });
    assert_eq!(served.await.accepted, 1);
    assert_eq!(ends.take_cuts(), [CutReason::Lifetime]);
}

/// Writes until it is cut.
async fn pour(connection: Connection) -> Result<(), ReadLineError> {
    let much = vec![b'x'; 64 << 10];
    loop {
        connection.write_all([&much]).await?;
    }
}

/// A client with small buffers, so that the server soon waits for it.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

#[staunch::test]
async fn a_peer_that_stops_reading() {
    let limits = Limits { write_stall: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut stalled = narrow(address).await;
        stalled.read_exact(&mut [0; 1024]).await.unwrap();
        eventually("it is cut", || !observed("cut-write-stall").is_empty()).await;
        assert_eq!(read_to_end(&mut stalled).await, None, "half an answer ends in a reset");
    };
    check(limits, pour, client, CutReason::WriteStall).await;
}

#[staunch::test]
async fn a_peer_that_reads_at_a_drip() {
    // The rate is judged over ten seconds: the ledger's clock is moved by hand.
    let limits = Limits { min_send_rate: 1 << 10, first_byte: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let slow = narrow(address).await;
        eventually("it is cut", || {
            let _ = slow.try_read(&mut [0; 1]);
            Ledger::current().advance_clock(Duration::from_millis(10));
            !observed("cut-send-rate").is_empty()
        })
        .await;
    };
    check(limits, pour, client, CutReason::SendRate).await;
}

/// The connection that is served, and within the last second.
fn has_moved() -> bool {
    let moves = |it: &Entry| it.without_progress() < Duration::from_secs(1);
    let snapshot = Ledger::current().snapshot();
    snapshot.entries().iter().any(|it| it.kind() == Kind::CONNECTION && moves(it))
}

/// The window of a slow reader opens in steps.
#[staunch::test]
async fn a_peer_that_pauses_for_less_than_write_stall_is_not_cut() {
    let limits = Limits {
        min_send_rate: 16,
        write_stall: Some(Duration::from_secs(30)),
        first_byte: Some(SHORT),
        ..unlimited()
    };
    let listener = bind(limits);
    let address = address(&listener);
    let ends = Ends::default();
    let served = serving(listener, ends.keep(pour), async || {
        let mut slow = narrow(address).await;
        let mut bytes = vec![0; 64 << 10];
        for _ in 0..2 {
            slow.read_exact(&mut bytes).await.unwrap();
            eventually("the server has written", has_moved).await;
            for _ in 0..2 {
                tokio::time::sleep(SHORT * 2).await; // for the watchdog to look
                Ledger::current().advance_clock(Duration::from_secs(12));
            }
            tokio::time::sleep(SHORT * 2).await;
        }
    });
    assert_eq!(served.await.accepted, 1);
    assert_eq!(ends.take_cuts(), []);
}

#[staunch::test]
async fn a_peer_that_reads_fast_enough_is_not_cut() {
    let limits = Limits { min_send_rate: 1 << 10, first_byte: Some(SHORT), ..unlimited() };
    let listener = bind(limits);
    let address = address(&listener);
    let ends = Ends::default();
    let served = serving(listener, ends.keep(pour), async || {
        let mut steady = narrow(address).await;
        let mut bytes = vec![0; 4 << 10];
        // Some minutes on the ledger's clock, at more than 20 KiB a second.
        let begun = Instant::now();
        while begun.elapsed() < SHORT * 3 {
            steady.read_exact(&mut bytes).await.unwrap();
            Ledger::current().advance_clock(Duration::from_millis(200));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(served.await.accepted, 1);
    assert_eq!(ends.take_cuts(), []);
    let cuts = Ledger::current().observation_counts();
    assert!(cuts.iter().all(|(rule, _)| !rule.starts_with("cut-")), "{cuts:?}");
}

#[staunch::test]
async fn half_an_answer_never_looks_like_a_whole_one() {
    let half = async |connection: Connection| {
        connection.write_all([b"half an answ"]).await?;
        std::future::pending::<()>().await;
        Ok::<_, ReadLineError>(())
    };
    let drain = Duration::from_millis(100);
    let listener = bind(Limits { lifetime: Some(SHORT), drain, ..unlimited() });
    let address = address(&listener);
    let served = serving(listener, half, async || {
        let mut stream = connect(address).await;
        assert_eq!(read_to_end(&mut stream).await, None, "a reset, and no orderly end");
        assert_eq!(observed("cut-lifetime").len(), 1);
    });
    assert_eq!(served.await.cut.len(), 1, "its handler does not look");
}

#[staunch::test]
async fn a_message_that_comes_at_a_drip() {
    let limits = Limits { read_stall: Some(SHORT), message: Some(SHORT * 2), ..unlimited() };
    let client = async |address| {
        let mut drip = connect(address).await;
        while observed("cut-message").is_empty() {
            if drip.write_all(b"x").await.is_err() {
                break; // cut, and not yet observed
            }
            tokio::time::sleep(SHORT / 20).await;
        }
        assert_eq!(read_to_end(&mut drip).await, None);
    };
    check_and_healthy(limits, client, CutReason::Message).await;
}

#[staunch::test]
async fn many_messages_are_not_one_that_takes_long() {
    let limits = Limits { message: Some(SHORT), ..unlimited() };
    let listener = bind(limits);
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut busy = connect(address).await;
        let begun = Instant::now();
        // Each message ends with the first half of the next, so that one is always incomplete.
        busy.write_all(b"half ").await.unwrap();
        while begun.elapsed() < SHORT * 3 {
            assert_eq!(ask(&mut busy, "a line\nhalf").await, "Echo: half a line");
            let mut rest = [0; 11];
            busy.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"Echo: half\n");
            busy.write_all(b"half ").await.unwrap();
            tokio::time::sleep(SHORT / 60).await;
        }
    });
    assert_eq!(served.await.accepted, 1);
    assert!(observed("cut-message").is_empty());
}

#[staunch::test]
async fn drips_that_hold_every_buffer_are_cut_sooner() {
    let message = Some(PATIENCE * 10); // a tenth of it is all the time that the test has
    let limits = Limits { message, buffer: 1024, buffers: 1024, ..unlimited() };
    let listener = bind(Limits { first_byte: Some(SHORT), ..limits });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut drip = connect(address).await;
        drip.write_all(b"half a li").await.unwrap();
        eventually("it holds the buffer", || connections_in(State::ReadRest) == 1).await;
        let mut waiting = connect(address).await;
        waiting.write_all(b"hello\n").await.unwrap();
        eventually("it waits for the buffer", || connections_in(State::Waiting) == 1).await;
        Ledger::current().advance_clock(PATIENCE);
        let mut answer = [0; 12];
        waiting.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"Echo: hello\n");
        assert_eq!(read_to_end(&mut drip).await, None);
    });
    assert_eq!(served.await.accepted, 2);
    assert_eq!(observed("cut-message").len(), 1);
}

/// Reads in one task while another pours.
async fn pour_and_read(connection: Connection) -> Result<(), ReadLineError> {
    let (mut reader, mut writer) = tokio::io::split(connection);
    let much = vec![b'x'; 64 << 10];
    let pouring = async {
        let mut sent = Ok(());
        while sent.is_ok() {
            sent = writer.write_all(&much).await;
        }
        sent
    };
    let reading = async {
        while reader.read(&mut [0; 64]).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    tokio::try_join!(pouring, reading)?;
    Ok(())
}

#[staunch::test]
async fn a_peer_that_stops_reading_but_talks() {
    let limits = Limits { write_stall: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut stalled = narrow(address).await;
        stalled.read_exact(&mut [0; 1024]).await.unwrap();
        while observed("cut-write-stall").is_empty() {
            if stalled.write_all(b"x").await.is_err() {
                break; // cut, and not yet observed
            }
            tokio::time::sleep(SHORT / 20).await;
        }
        assert_eq!(read_to_end(&mut stalled).await, None);
    };
    check(limits, pour_and_read, client, CutReason::WriteStall).await;
}

/// Greets while it waits for the first word.
async fn greet(connection: Connection) -> Result<(), ReadLineError> {
    let (mut reader, mut writer) = tokio::io::split(connection);
    let mut word = [0; 64];
    let mut reading = std::pin::pin!(reader.read(&mut word));
    if poll_once(reading.as_mut()).await.is_none() {
        writer.write_all(b"hello\n").await?;
    }
    reading.await?;
    Ok(())
}

#[staunch::test]
async fn no_first_byte_after_a_greeting() {
    let limits = Limits { first_byte: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut silent = connect(address).await;
        assert_eq!(read_to_end(&mut silent).await.as_deref(), Some(&b"hello\n"[..]));
    };
    check(limits, greet, client, CutReason::FirstByte).await;
}

/// Reads to the end, and then does nothing.
async fn dawdle(mut connection: Connection) -> Result<(), ReadLineError> {
    while connection.read(&mut [0; 64]).await? > 0 {}
    eventually("it is cut", || !observed("cut-half-close").is_empty()).await;
    connection.write_all([b"too late"]).await?;
    Ok(())
}

#[staunch::test]
async fn a_peer_that_has_closed_is_not_kept() {
    let limits = Limits { half_close: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut closed = connect(address).await;
        closed.write_all(b"goodbye").await.unwrap();
        closed.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut closed).await, None);
    };
    let listener = bind(limits);
    let address = address(&listener);
    assert_eq!(serving(listener, dawdle, async || client(address).await).await.accepted, 1);
    assert_eq!(observed("cut-half-close").len(), 1);
}

/// However long it was silent before.
#[staunch::test]
async fn a_peer_that_has_closed_has_its_time_from_then_on() {
    let limits = Limits { half_close: Some(SHORT), ..unlimited() };
    let listener = bind(limits);
    let address = address(&listener);
    let served = serving(listener, dawdle, async || {
        let mut closed = connect(address).await;
        closed.write_all(b"hello").await.unwrap();
        let is_waiting = |state| matches!(state, State::Idle | State::Read);
        let waits = |it: &Entry| it.kind() == Kind::CONNECTION && is_waiting(it.state());
        eventually("it is read", || Ledger::current().snapshot().entries().iter().any(waits)).await;
        Ledger::current().advance_clock(SHORT * 20);
        closed.shutdown().await.unwrap();
        tokio::time::sleep(SHORT * 2).await; // for the watchdog to look; the ledger's clock stands
        assert_eq!(observed("cut-half-close").len(), 0, "it has only just closed");
        eventually("it is cut", || {
            Ledger::current().advance_clock(Duration::from_millis(10));
            !observed("cut-half-close").is_empty()
        })
        .await;
    });
    assert_eq!(served.await.accepted, 1);
    assert_eq!(observed("cut-half-close").len(), 1);
}

/// The misbehaving client among echo's clients, with a healthy one on the same listener.
async fn check_and_healthy(
    limits: Limits,
    client: impl AsyncFnOnce(SocketAddr),
    reason: CutReason,
) {
    let client = async |address| {
        client(address).await;
        healthy(address).await;
    };
    check(limits, echo, client, reason).await;
}
