//! Through a proxy that does as it should, and through some that do not.

use std::time::Duration;

use staunch::{BoxError, Context, Scope, scope, testing::cancel_at_every_await};
use staunch_ledger::{Kind, Ledger, State};
use staunch_net::{DialError, DialOptions, Dialer, HttpProxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    dial::{black_hole, deserted},
    harness::{PATIENCE, eventually, live, poll_once},
};

const TARGET: &str = "target.internal:443";

/// A proxy that says `says` to each head, and closes.
async fn proxy(s: &Scope<BoxError>, says: &'static [u8]) -> HttpProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    s.spawn(async move {
        while let Ok(accepted) = Context::current().run(listener.accept()).await {
            let answered = Context::current().run(answer(accepted?.0, says)).await;
            let _ = answered; // either may have left
        }
        Ok(())
    });
    HttpProxy::new(address.to_string())
}

async fn answer(mut socket: TcpStream, says: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let begin = format!("CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n");
    assert!(head.starts_with(begin.as_bytes()), "{}", head.escape_ascii());
    socket.write_all(says).await?;
    socket.shutdown().await?;
    let _ = socket.read(&mut [0]).await?; // so that what was said is not lost with a reset
    Ok(())
}

fn within(timeout: Duration) -> Dialer {
    Dialer::unwatched(DialOptions { timeout, ..DialOptions::default() })
}

async fn through(says: &'static [u8]) -> Result<Vec<u8>, DialError> {
    let mut result = None;
    let ended = scope(&Context::current(), |s| {
        let result = &mut result;
        async move {
            let proxy = proxy(&s, says).await;
            let dialled = within(PATIENCE).tcp_through(s.context(), &proxy, TARGET).await;
            *result = Some(match dialled {
                Ok(mut connection) => {
                    let mut bytes = Vec::new();
                    connection.read_to_end(&mut bytes).await?;
                    Ok(bytes)
                }
                Err(error) => {
                    assert!(error.to_string().contains(proxy.address()), "{error}");
                    Err(error)
                }
            });
            assert_eq!(live(Kind::CONNECTION), 0);
            s.stop();
            Ok::<_, BoxError>(())
        }
    });
    ended.await.unwrap();
    result.unwrap()
}

#[staunch::test]
async fn what_comes_after_the_head_is_the_tunnels() {
    let all = through(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n220 mail\r\n").await;
    assert_eq!(all.unwrap(), b"220 mail\r\n");
    let all = through(b"HTTP/1.1 103 \r\nLink: x\r\n\r\nHTTP/1.0 200\n\nhello").await;
    assert_eq!(all.unwrap(), b"hello");
}

#[staunch::test]
async fn a_refusal_says_what_to_do() {
    for (says, status, remedy) in [
        (&b"HTTP/1.1 407 Who?\r\nContent-Length: 3\r\n\r\nno!"[..], 407, "name and a password"),
        (b"HTTP/1.0 403 No\r\n\r\n", 403, "its rules forbid it"),
        (b"HTTP/1.1 502 \r\n\r\n", 502, "cannot reach the host"),
        (b"HTTP/1.1 302 \r\nLocation: http://else/\r\n\r\n", 302, "its log"),
    ] {
        let error = through(says).await.unwrap_err();
        assert!(matches!(error, DialError::ProxyRefused { status: s, .. } if s == status));
        let text = error.to_string();
        assert!(text.contains(&status.to_string()) && text.contains(remedy), "{text}");
        assert!(text.starts_with(TARGET), "{text}");
    }
}

/// A head of so many bytes, whose status is 200.
fn long(bytes: usize) -> &'static [u8] {
    let mut head = b"HTTP/1.1 200 \r\nX: ".to_vec();
    head.resize(bytes - 4, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    head.leak()
}

#[staunch::test]
async fn what_is_no_answer_is_an_error() {
    for (says, reason) in [
        (&b""[..], "unexpected end"),
        (b"HTTP/1.1 200 Conn", "unexpected end"),
        (b"HTTP/1.1 200 \r\nVia: x\r\n", "unexpected end"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP/1"),
        (b"\x16\x03\x01\0\n\r\n", "not HTTP/1"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "no status"),
        (long((16 << 10) + 1), "more than 16384 bytes"),
        (vec![b'x'; 20 << 10].leak(), "more than 16384 bytes"),
    ] {
        let error = through(says).await.unwrap_err();
        assert!(matches!(error, DialError::ProxyBroke { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert_eq!(through(long(16 << 10)).await.unwrap(), b"", "as long as it may be");
}

#[staunch::test]
async fn a_proxy_that_is_not_there_is_named() {
    let address = deserted().await;
    let proxy = HttpProxy::new(address.to_string()).basic("me", "secret");
    let dialer = within(PATIENCE);
    let error = dialer.tcp_through(&Context::current(), &proxy, TARGET).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("proxy {address}")) && text.contains("refused"), "{text}");
    assert!(!format!("{text}{error:?}{proxy:?}").contains("c2VjcmV0"), "{error:?}");
    for wrong in ["a b:1", "a:1\r\nx: y", ""] {
        let error = dialer.tcp_through(&Context::current(), &proxy, wrong).await.unwrap_err();
        assert!(matches!(error, DialError::Unresolved { .. }), "{error}");
    }
}

#[staunch::test]
async fn a_proxy_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap(); // nobody accepts
    let (hole, _waiting) = black_hole().await;
    for address in [listener.local_addr().unwrap(), hole.local_addr().unwrap()] {
        let proxy = HttpProxy::new(address.to_string());
        let (short, context) = (within(Duration::from_millis(100)), Context::current());
        let error = short.tcp_through(&context, &proxy, TARGET).await.unwrap_err();
        let DialError::TimedOut { address: told, .. } = error else { panic!("{error}") };
        assert_eq!(told, format!("{TARGET} (proxy {address})"));
        assert_eq!(live(Kind::CONNECTION), 0);
    }
}

#[staunch::test]
async fn a_tunnel_is_an_idle_connection_and_can_be_dropped_at_every_await() {
    let ended = scope(&Context::current(), |s| async move {
        let proxy = proxy(&s, b"HTTP/1.1 200 \r\n\r\n").await;
        let dialer = within(PATIENCE);
        let connection = dialer.tcp_through(s.context(), &proxy, TARGET).await?;
        let entry = Ledger::current().entry(connection.id()).unwrap();
        assert_eq!((entry.kind(), entry.state()), (Kind::CONNECTION, State::Idle));
        drop(connection);
        let awaits = cancel_at_every_await(|| async {
            drop(dialer.tcp_through(s.context(), &proxy, TARGET).await.unwrap());
        });
        assert!(awaits.await >= 2);
        let stuck = TcpListener::bind("127.0.0.1:0").await?;
        let stuck = HttpProxy::new(stuck.local_addr()?.to_string());
        let mut dial = Box::pin(dialer.tcp_through(s.context(), &stuck, TARGET));
        let _ = poll_once(dial.as_mut()).await;
        drop(dial);
        eventually("nothing is left", || live(Kind::CONNECTION) == 0).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}
