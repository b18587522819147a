//! UDP: answered, bounded, forgotten, drained.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use staunch::{Context, Ledger, testing::cancel_at_every_await};
use staunch_ledger::Kind;
use staunch_net::{BindError, Datagram, UdpLimits, UdpOptions, UdpServed, UdpServer};
use tokio::{net::UdpSocket, sync::Semaphore, time::timeout};

use crate::harness::{Logged, PATIENCE, eventually, live, observed};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn bind(limits: UdpLimits) -> UdpServer {
    UdpServer::bind(ANY, &UdpOptions::default(), limits).unwrap()
}

/// Serves while `client` runs, then drains.
async fn serving<S, H, F>(server: UdpServer, handler: H, client: impl AsyncFnOnce()) -> UdpServed
where
    S: Default + Send + Sync + 'static,
    H: Fn(Datagram<S>) -> F + Send + Sync + 'static,
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let (context, cancel) = Context::current().with_cancel();
    let serve = server.serve(&context, handler);
    let client = async {
        timeout(PATIENCE, client()).await.expect("the client should be done by now");
        cancel.cancel();
    };
    tokio::join!(serve, client).0
}

async fn echo(datagram: Datagram) -> std::io::Result<()> {
    datagram.reply(&[b"Echo: ", datagram.bytes()].concat()).await
}

/// Answers how many datagrams came from the peer.
async fn count(datagram: Datagram<AtomicU64>) -> std::io::Result<()> {
    let count = datagram.state().fetch_add(1, Ordering::Relaxed) + 1;
    datagram.reply(count.to_string().as_bytes()).await
}

async fn client(server: SocketAddr) -> UdpSocket {
    client_at(Ipv4Addr::LOCALHOST, server).await
}

async fn client_at(address: Ipv4Addr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn ask(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).await.unwrap();
    let mut answer = [0; 2048];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

fn peers() -> usize {
    live(Kind::find("udp-peer").unwrap())
}

#[staunch::test]
async fn datagrams_are_echoed() {
    let server = bind(UdpLimits::default());
    let address = server.address();
    let served = serving(server, echo, async || {
        let socket = client(address).await;
        assert_eq!(ask(&socket, "hi there").await, "Echo: hi there");
        assert_eq!(ask(&socket, "").await, "Echo: ");
        assert_eq!((live(Kind::LISTENER), peers()), (1, 1));
    });
    let served = served.await;
    assert_eq!((served.received, served.oversize, served.evicted), (2, 0, 0));
    assert!(served.cut.is_empty());
}

#[staunch::test]
async fn each_peer_has_its_own_state() {
    let server = bind(UdpLimits::default());
    let address = server.address();
    let served = serving(server, count, async || {
        let (first, second) = (client(address).await, client(address).await);
        assert_eq!(ask(&first, "").await, "1");
        assert_eq!(ask(&first, "").await, "2");
        assert_eq!(ask(&second, "").await, "1");
        assert_eq!(ask(&first, "").await, "3");

        let snapshot = Ledger::current().snapshot();
        let kind = Kind::find("udp-peer").unwrap();
        let entry = snapshot.entries().iter().find(|entry| entry.kind() == kind).unwrap();
        assert!(entry.born_at().file().ends_with("udp.rs"));
        assert!(entry.label().to_string().starts_with("127.0.0.1:"));
    });
    assert_eq!(served.await.received, 4);
}

/// What takes the shortcut has no handler.
#[staunch::test]
async fn a_shortcut_spares_a_handler() {
    let server = bind(UdpLimits::default());
    let address = server.address();
    let (context, cancel) = Context::current().with_cancel();
    let (short, seen) = tokio::sync::mpsc::channel(8);
    let shortcut = move |datagram: &Datagram| {
        let is_short = datagram.bytes() == b"short";
        is_short && short.try_send(datagram.peer()).is_ok()
    };
    let serve = server.serve_with_shortcut(&context, shortcut, echo);
    let client = async {
        let (socket, mut seen) = (client(address).await, seen);
        socket.send(b"short").await.unwrap();
        assert_eq!(ask(&socket, "long").await, "Echo: long", "and nothing before that");
        assert_eq!(timeout(PATIENCE, seen.recv()).await.unwrap(), socket.local_addr().ok());
        cancel.cancel();
    };
    let (served, ()) = tokio::join!(serve, client);
    assert_eq!(served.received, 2);
}

#[staunch::test]
async fn ten_thousand_peers_do_not_make_it_grow() {
    let server = bind(UdpLimits { peers: 1_000, ..UdpLimits::default() });
    let (address, counts) = (server.address(), server.counts());
    let served = serving(server, count, async || {
        let loyal = client(address).await;
        for number in 0..10_000_u32 {
            let stranger = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number);
            assert_eq!(ask(&client_at(stranger, address).await, "").await, "1");
            assert!(peers() <= 1_001, "at most, and one in flight");
            if number % 500 == 0 {
                // Who is heard of often enough is never forgotten.
                assert_eq!(ask(&loyal, "").await, (number / 500 + 1).to_string());
            }
        }
        let observed = observed("udp-peers-full");
        assert!(observed[0].text.contains("raise `peers`"), "{}", observed[0].text);
        assert!(observed.len() < 100, "not once for each");
        assert_eq!(counts.evicted(), 9_001, "it can be read meanwhile");
    });
    let served = served.await;
    assert_eq!((served.received, served.evicted), (10_020, 9_001));
}

#[staunch::test]
async fn a_peer_that_is_silent_is_forgotten() {
    let server = bind(UdpLimits { peer_idle: Duration::from_mins(1), ..UdpLimits::default() });
    let address = server.address();
    let served = serving(server, count, async || {
        let (silent, loud) = (client(address).await, client(address).await);
        assert_eq!(ask(&silent, "").await, "1");
        Ledger::current().advance_clock(Duration::from_secs(40));
        assert_eq!(ask(&loud, "").await, "1");
        assert_eq!(peers(), 2);
        Ledger::current().advance_clock(Duration::from_secs(30));
        eventually("the silent one is forgotten", || peers() == 1).await;
        assert_eq!(ask(&loud, "").await, "2");
        assert_eq!(ask(&silent, "").await, "1", "as if never heard of");
    });
    assert_eq!(served.await.evicted, 0);
}

/// Answers the first datagram, and keeps its peer's place until that is wanted for another.
async fn keep(datagram: Datagram) -> std::io::Result<()> {
    datagram.reply(datagram.bytes()).await?;
    datagram.forgotten().await.map_err(std::io::Error::other)
}

#[staunch::test]
async fn what_is_open_for_a_peer_hears_that_it_is_forgotten() {
    let limits = UdpLimits { peers: 2, peer_idle: Duration::from_mins(1), ..UdpLimits::default() };
    let server = bind(limits);
    let address = server.address();
    let served = serving(server, keep, async || {
        for number in 0..10 {
            ask(&client(address).await, "").await;
            let most = (number + 1).min(2);
            eventually("who made room has gone", || peers() == most).await;
        }
        Ledger::current().advance_clock(Duration::from_mins(2));
        eventually("those that were silent have gone", || peers() == 0).await;
    });
    let served = served.await;
    assert_eq!((served.received, served.evicted), (10, 8));
    assert!(served.cut.is_empty(), "nobody had to be cut");
}

#[staunch::test]
async fn who_is_answered_is_remembered() {
    let server = bind(UdpLimits { peer_idle: Duration::from_mins(1), ..UdpLimits::default() });
    let address = server.address();
    let again = Arc::new(Semaphore::new(0));
    let answers = Arc::clone(&again);
    let handler = move |datagram: Datagram<AtomicU64>| {
        let answers = Arc::clone(&answers);
        async move {
            let count = datagram.state().fetch_add(1, Ordering::Relaxed) + 1;
            datagram.reply(count.to_string().as_bytes()).await?;
            while datagram.bytes() == b"more"
                && let Ok(permit) = answers.acquire().await
            {
                permit.forget();
                datagram.reply(b"more").await?;
            }
            Ok(())
        }
    };
    let served = serving(server, handler, async || {
        let socket = client(address).await;
        assert_eq!(ask(&socket, "more").await, "1");
        for _ in 0..3 {
            assert_eq!(ask(&client(address).await, "").await, "1");
            Ledger::current().advance_clock(Duration::from_secs(40));
            again.add_permits(1);
            let mut answer = [0; 16];
            let length = socket.recv(&mut answer).await.unwrap();
            assert_eq!(&answer[..length], b"more");
            Ledger::current().advance_clock(Duration::from_secs(40));
            eventually("the one without an answer is forgotten", || peers() == 1).await;
        }
        assert_eq!(ask(&socket, "").await, "2", "it said nothing itself for four minutes");
        again.close();
    });
    assert_eq!(served.await.received, 5);
}

#[staunch::test]
async fn new_peers_are_refused_for_a_while_and_others_go_on() {
    let refuses = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&refuses);
    let server = bind(UdpLimits { peers: 1, ..UdpLimits::default() });
    let server = server.refuse_while(move || asked.load(Ordering::Relaxed));
    let (address, counts) = (server.address(), server.counts());
    let served = serving(server, count, async || {
        let (old, new) = (client(address).await, client(address).await);
        assert_eq!(ask(&old, "").await, "1");
        refuses.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            new.send(b"").await.unwrap();
        }
        eventually("all were refused", || counts.refused() == 100).await;
        assert_eq!(ask(&old, "").await, "2", "it has made room for nobody");
        assert_eq!(observed("udp-refused").len(), 1, "it is said once");
        refuses.store(false, Ordering::Relaxed);
        assert_eq!(ask(&new, "").await, "1");
    });
    let served = served.await;
    assert_eq!((served.received, served.refused, served.evicted), (3, 100, 1));
}

#[staunch::test]
async fn a_datagram_that_is_too_long_is_dropped_and_counted() {
    let server = bind(UdpLimits { datagram: 100, ..UdpLimits::default() });
    let address = server.address();
    let served = serving(server, echo, async || {
        let socket = client(address).await;
        let longest = "x".repeat(100);
        assert_eq!(ask(&socket, &longest).await, format!("Echo: {longest}"));
        for length in [101, 102, 60_000] {
            socket.send(&vec![0; length]).await.unwrap();
        }
        assert_eq!(ask(&socket, "still there").await, "Echo: still there");
        let observed = observed("udp-oversize");
        assert_eq!(observed.len(), 1, "the first of them");
        assert!(observed[0].text.contains("more than 100 bytes from 127.0.0.1"));
        assert_eq!(observed[0].kind, Kind::LISTENER);
    });
    let served = served.await;
    assert_eq!((served.received, served.oversize), (2, 3));
}

#[staunch::test]
async fn no_more_than_so_many_are_handled_at_a_time() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let (running, most, gate) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
        move |datagram: Datagram| {
            let (running, most, gate) =
                (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::Relaxed);
                echo(datagram).await
            }
        }
    };
    let server = bind(UdpLimits { in_flight: 3, ..UdpLimits::default() });
    let address = server.address();
    let served = serving(server, handler, async || {
        let socket = client(address).await;
        for _ in 0..10 {
            socket.send(b"x").await.unwrap();
        }
        eventually("all places are taken", || running.load(Ordering::Relaxed) == 3).await;
        gate.add_permits(10);
        for _ in 0..10 {
            socket.recv(&mut [0; 16]).await.unwrap();
        }
    });
    assert_eq!(served.await.received, 10);
    assert_eq!(most.load(Ordering::Relaxed), 3);
}

#[staunch::test]
async fn draining_waits_for_handlers_and_cuts_who_is_stuck() {
    let server = bind(UdpLimits { drain: Duration::from_millis(200), ..UdpLimits::default() });
    let address = server.address();
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = Arc::clone(&begun);
    let handler = move |datagram: Datagram| {
        begins.fetch_add(1, Ordering::Relaxed);
        async move {
            if datagram.bytes() == b"stuck" {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            echo(datagram).await
        }
    };
    let socket = client(address).await;
    let served = serving(server, handler, async || {
        socket.send(b"stuck").await.unwrap();
        socket.send(b"quick").await.unwrap();
        eventually("both have begun", || begun.load(Ordering::Relaxed) == 2).await;
    });
    let served = served.await;
    assert_eq!(served.cut.len(), 1);
    assert!(served.cut[0].born_at.file().ends_with("udp.rs"));
    let mut answer = [0; 16];
    let length = socket.recv(&mut answer).await.unwrap();
    assert_eq!(&answer[..length], b"Echo: quick");
}

#[staunch::test]
async fn an_idle_server_drains_at_once() {
    let begun = Instant::now();
    let served = serving(bind(UdpLimits::default()), echo, async || {});
    assert_eq!(served.await.received, 0);
    assert!(begun.elapsed() < UdpLimits::default().drain);
}

#[staunch::test]
async fn a_handler_that_fails_or_panics_harms_nobody_else() {
    let server = bind(UdpLimits { in_flight: 1, ..UdpLimits::default() });
    let address = server.address();
    let handler = |datagram: Datagram| {
        assert_ne!(datagram.bytes(), b"panic", "as the client wished");
        async move {
            match datagram.bytes() {
                b"fail" => Err(std::io::ErrorKind::Other.into()),
                b"too much" => datagram.reply(&vec![0; 70_000]).await,
                _ => echo(datagram).await,
            }
        }
    };
    let served = serving(server, handler, async || {
        let socket = client(address).await;
        for text in ["panic", "fail", "too much"] {
            socket.send(text.as_bytes()).await.unwrap();
        }
        assert_eq!(ask(&socket, "fine").await, "Echo: fine");
    });
    assert_eq!(served.await.received, 4);
}

#[staunch::test]
async fn options_reach_the_kernel_and_what_it_refuses_is_said() {
    let logged = Logged::begin();
    let options = UdpOptions { receive_buffer: Some(1 << 30), reuse_port: true };
    let first = UdpServer::bind(ANY, &options, UdpLimits::default()).unwrap();
    assert!(logged.text().contains("raise net.core.rmem_max"), "{}", logged.text());
    let second = UdpServer::bind(first.address(), &options, UdpLimits::default());
    assert!(second.is_ok(), "SO_REUSEPORT");
    let third = UdpServer::bind(first.address(), &UdpOptions::default(), UdpLimits::default());
    let error = third.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("udp:{}", first.address())), "{error}");
}

#[staunch::test]
async fn serving_can_be_dropped_at_every_await() {
    let awaits = cancel_at_every_await(|| async {
        let server = bind(UdpLimits { drain: Duration::from_millis(100), ..UdpLimits::default() });
        let address = server.address();
        let served = serving(server, echo, async || {
            let socket = client(address).await;
            ask(&socket, "hello").await;
        });
        assert_eq!(served.await.received, 1);
    });
    assert!(awaits.await >= 2);
}
