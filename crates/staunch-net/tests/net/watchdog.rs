//! The watchdog: who stops without closing is cut, for the right reason, and nobody else is.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use staunch_ledger::{Kind, Ledger};
use staunch_net::{Connection, CutReason, Limits, ReadLineError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{
    Ends, address, ask, bind, connect, echo, eventually, healthy, observed, read_to_end, serving,
    unlimited,
};

const SHORT: Duration = Duration::from_millis(300);

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
        tokio::time::sleep(SHORT / 30).await; // well within every limit
    }
}

#[staunch::test]
async fn no_first_byte() {
    let limits = Limits { first_byte: Some(SHORT), ..unlimited() };
    let client = async |address| {
        let mut silent = connect(address).await;
        tokio::join!(
            async { assert_eq!(read_to_end(&mut silent).await, Some(Vec::new())) },
            talks_on(address, SHORT * 3),
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
            talks_on(address, SHORT * 3),
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
            talks_on(address, SHORT * 3),
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
        while begun.elapsed() < SHORT * 6 {
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
