//! Connections that somebody hands on, who says whose they are.

use std::{net::SocketAddr, time::Duration};

use staunch_ledger::Kind;
use staunch_net::{Connection, FIRST_WORDS, Limits, Listener, ProxyHeader, ReadLineError};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::{
    Logged, address, ask, bind, connect, counted, echo, eventually, live, observed, read_to_end,
    serving, unlimited,
};

/// Believes whoever is on this machine.
fn believing(limits: Limits) -> Listener {
    bind(limits).believe_proxies(|peer| peer.is_loopback())
}

/// Says who the peer is, for each line.
async fn who(connection: Connection) -> Result<(), ReadLineError> {
    let mut lines = connection.lines();
    while lines.next().await?.is_some() {
        let peer = connection.peer()?.map_or_else(String::new, |peer| peer.to_string());
        connection.write_all([peer.as_bytes(), b"\n"]).await?;
    }
    Ok(())
}

fn header(client: &str) -> ProxyHeader {
    ProxyHeader::of(client.parse().unwrap(), "198.51.100.1:80".parse().unwrap())
}

async fn introduced(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = connect(address).await;
    stream.write_all(header).await.unwrap();
    stream
}

#[staunch::test]
async fn the_peer_is_the_client_that_was_named() {
    let listener = believing(unlimited());
    let address = address(&listener);
    let served = serving(listener, who, async || {
        for client in ["192.0.2.1:1234", "[2001:db8::1]:1234"] {
            for bytes in [header(client).to_v1(), header(client).to_v2()] {
                // With what follows in the same segment: not a byte of it is lost.
                let mut stream = introduced(address, &[&bytes[..], b"first\n"].concat()).await;
                let mut line = String::new();
                while !line.ends_with('\n') {
                    line.push(tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap().into());
                }
                assert_eq!(line.trim_end(), client);
                assert_eq!(ask(&mut stream, "again").await, client);
            }
        }
        for bytes in [ProxyHeader::local().to_v1(), ProxyHeader::local().to_v2()] {
            let mut stream = introduced(address, &bytes).await;
            let own = stream.local_addr().unwrap().to_string();
            assert_eq!(ask(&mut stream, "who").await, own, "nobody was named");
        }
        // A byte at a time.
        let mut stream = connect(address).await;
        stream.set_nodelay(true).unwrap();
        for byte in header("192.0.2.1:1234").to_v2() {
            stream.write_u8(byte).await.unwrap();
        }
        assert_eq!(ask(&mut stream, "who").await, "192.0.2.1:1234");
    });
    assert_eq!(served.await.accepted, 7);
}

#[staunch::test]
async fn who_is_not_believed_is_not_asked() {
    let listener = bind(unlimited()).believe_proxies(|peer| !peer.is_loopback());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        assert_eq!(ask(&mut connect(address).await, "hello").await, "Echo: hello");
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn who_says_nothing_of_the_kind_is_reset() {
    let listener = believing(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 1 2 3 4\r\n"] {
            let mut stream = introduced(address, nonsense).await;
            assert_eq!(read_to_end(&mut stream).await, None);
        }
        let mut stream = introduced(address, b"PROXY ").await;
        stream.shutdown().await.unwrap();
        let ended = read_to_end(&mut stream).await;
        assert!(ended.is_none_or(|bytes| bytes.is_empty()), "nobody answers half a header");
        eventually("all have gone", || live(Kind::CONNECTION) == 0).await;
    });
    let _ = served.await;
}

#[staunch::test]
async fn a_header_has_the_time_of_a_handshake() {
    let handshake = Duration::from_millis(200);
    let listener = believing(Limits { handshake, ..unlimited() });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut silent = connect(address).await;
        assert_eq!(read_to_end(&mut silent).await, None);
        let mut half = introduced(address, b"PROXY TCP4 192.").await;
        assert_eq!(read_to_end(&mut half).await, None);
        // Once it is there, that time is over.
        let mut client = introduced(address, &header("192.0.2.1:1").to_v1()).await;
        eventually("three were cut or served", || live(Kind::CONNECTION) == 1).await;
        tokio::time::sleep(2 * handshake).await; // the limit that is to be seen not to act
        assert_eq!(ask(&mut client, "late").await, "Echo: late");
    });
    let _ = served.await;
    assert_eq!(observed("cut-handshake").len(), 2);
}

/// Limits are those of the client, not of whoever hands its connections on.
#[staunch::test]
async fn each_client_counts_for_itself() {
    let listener = believing(Limits { connections_per_ip: Some(2), ..unlimited() });
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut held = Vec::new();
        for client in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.3:1"] {
            let mut stream = introduced(address, &header(client).to_v1()).await;
            ask(&mut stream, "in").await;
            held.push(stream);
        }
        let mut third = introduced(address, &header("192.0.2.1:3").to_v1()).await;
        assert_eq!(read_to_end(&mut third).await, None);
        held.remove(0);
        eventually("one has left", || live(Kind::CONNECTION) == 3).await;
        let mut again = introduced(address, &header("192.0.2.1:3").to_v1()).await;
        assert_eq!(ask(&mut again, "room").await, "Echo: room");
    });
    assert_eq!(served.await.accepted, 6);
}

#[staunch::test]
async fn a_drain_does_not_wait_for_a_header() {
    let listener = believing(Limits { drain: Duration::from_secs(10), ..unlimited() });
    let address = address(&listener);
    let mut stream = None;
    let begun = std::time::Instant::now();
    let served = serving(listener, echo, async || {
        stream = Some(introduced(address, b"PROXY ").await);
        eventually("accepted", || live(Kind::CONNECTION) == 1).await;
    });
    assert_eq!(served.await.cut.len(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let ended = read_to_end(&mut stream.unwrap()).await;
    assert!(ended.is_none_or(|bytes| bytes.is_empty()));
}

/// Who was accepted is served, if the header is on its way.
#[staunch::test]
async fn a_header_that_comes_while_it_drains_is_heard() {
    let listener = believing(Limits { drain: Duration::from_secs(10), ..unlimited() });
    let address = address(&listener);
    let greets = |connection: Connection| async move { connection.write_all([b"hello"]).await };
    let mut stream = introduced(address, b"PROXY TCP4 ").await;
    let served = serving(listener, greets, async || {
        eventually("accepted", || live(Kind::CONNECTION) == 1).await;
    });
    let client = async {
        while TcpStream::connect(address).await.is_ok() {}
        tokio::time::sleep(FIRST_WORDS / 6).await; // the handlers are asked right after
        stream.write_all(b"10.0.0.7 10.0.0.8 1 2\r\n").await.unwrap();
        read_to_end(&mut stream).await
    };
    let (served, heard) = tokio::join!(served, client);
    assert_eq!((served.cut.len(), heard.as_deref()), (0, Some(&b"hello"[..])));
}

#[staunch::test]
async fn who_says_nothing_of_the_kind_is_counted_and_said_seldom() {
    let listener = believing(unlimited()).named("web");
    let address = address(&listener);
    let logged = Logged::begin();
    let served = serving(listener, echo, async || {
        for nonsense in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"PROXY TCP4 1 2 3 4\r\n"].repeat(10) {
            let mut stream = introduced(address, nonsense).await;
            assert_eq!(read_to_end(&mut stream).await, None);
        }
        let mut half = introduced(address, b"PROXY ").await;
        half.shutdown().await.unwrap();
        eventually("all are counted", || counted("web") == (21, vec![("proxy-protocol", 21)]))
            .await;
    });
    let _ = served.await;
    let lines = logged.warnings("proxy-protocol");
    let [line, ..] = &lines[..] else { panic!("nothing in {}", logged.text()) };
    for part in ["listener=\"web\"", "times=1 ", "peer=127.0.0.1:", "`proxy_protocol_from`"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(lines.len() < 5 && logged.said().len() == lines.len(), "{}", logged.text());
}

/// As balancers do, every second or so.
#[staunch::test]
async fn who_looks_whether_the_port_is_open_is_no_news() {
    let listener = believing(unlimited()).named("web");
    let address = address(&listener);
    let logged = Logged::begin();
    let served = serving(listener, echo, async || {
        drop(connect(address).await);
        let reset = connect(address).await;
        socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
        drop(reset);
        eventually("both have gone", || counted("web").0 == 2 && live(Kind::CONNECTION) == 0).await;
    });
    let _ = served.await;
    assert!(logged.said().is_empty(), "{}", logged.text());
}

#[staunch::test]
async fn a_header_that_takes_too_long_is_counted_and_is_one_line_of_the_log() {
    let limits = Limits { handshake: Duration::from_millis(200), ..unlimited() };
    let listener = believing(limits).named("web");
    let address = address(&listener);
    let logged = Logged::begin();
    let served = serving(listener, echo, async || {
        let mut silent = connect(address).await;
        assert_eq!(read_to_end(&mut silent).await, None);
        eventually("it is counted", || counted("web") == (1, vec![("proxy-protocol", 1)])).await;
    });
    let _ = served.await;
    assert_eq!(logged.said().len(), 1, "{}", logged.text());
}
