//! Bytes that go from one connection to another within the kernel.

use std::{future::poll_fn, io, net::SocketAddr};

use staunch::{BoxError, Context};
use staunch_ledger::{Kind, State};
use staunch_net::{Connection, DialOptions, Endpoint, Listener, Pipe, SocketOptions, dial_tcp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
};

use crate::harness::{
    address, bind, connect, connections_in, eventually, live, poll_once, serving, unlimited,
};

/// More than both sockets and the pipe take.
const LENGTH: usize = 20 << 20;

fn byte(at: usize) -> u8 {
    (at / 251 + at) as u8
}

/// Says as much to whoever connects, and closes.
async fn source(listener: TcpListener) {
    let (mut to, _) = listener.accept().await.unwrap();
    let bytes: Vec<u8> = (0..LENGTH).map(byte).collect();
    to.write_all(&bytes).await.unwrap();
}

/// Hands over what `from` says.
async fn hand_over(client: Connection, from: SocketAddr) -> Result<(), BoxError> {
    let server = dial_tcp(&Context::current(), from, &DialOptions::default()).await?;
    let mut pipe = Pipe::new()?;
    while poll_fn(|cx| server.poll_fill_pipe(&mut pipe, usize::MAX, cx)).await? > 0 {
        while !pipe.is_empty() {
            poll_fn(|cx| client.poll_empty_pipe(&mut pipe, cx)).await?;
        }
    }
    Ok(())
}

async fn read_all(mut client: impl AsyncReadExt + Unpin) {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), LENGTH);
    assert!(bytes.iter().enumerate().all(|(at, it)| *it == byte(at)));
}

#[staunch::test]
async fn what_goes_through_a_pipe_arrives_whole() {
    let listener = bind(unlimited());
    let to = address(&listener);
    let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let from = behind.local_addr().unwrap();
    let served = serving(
        listener,
        move |client| hand_over(client, from),
        async || {
            let client = async {
                let client = connect(to).await;
                // It is waited for, and so the pipe is full, and so is its server.
                eventually("nobody takes it", || connections_in(State::Write) == 1).await;
                assert_eq!(live(Kind::BUFFER), 2, "both ends of the pipe");
                read_all(client).await;
            };
            tokio::join!(client, source(behind));
        },
    );
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn unix_sockets_can_be_emptied_so_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("to.sock");
    let endpoint = Endpoint::Unix(path.clone());
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), unlimited()).unwrap();
    let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let from = behind.local_addr().unwrap();
    let served = serving(
        listener,
        move |client| hand_over(client, from),
        async || {
            let client = async { read_all(UnixStream::connect(&path).await.unwrap()).await };
            tokio::join!(client, source(behind));
        },
    );
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn no_more_is_taken_than_was_asked_for_and_a_peer_that_goes_is_noticed() {
    let listener = bind(unlimited());
    let to = address(&listener);
    let (seen, mut sees) = staunch_scope::mpsc::channel(1);
    let handler = move |peer: Connection| {
        let seen = seen.clone();
        async move {
            let mut pipe = Pipe::new()?;
            let fill = poll_fn(|cx| peer.poll_fill_pipe(&mut pipe, 3, cx));
            assert!(poll_once(fill).await.is_none(), "nothing has come");
            seen.send(()).await.unwrap();
            assert_eq!(poll_fn(|cx| peer.poll_fill_pipe(&mut pipe, 3, cx)).await?, 3);
            assert_eq!(pipe.len(), 3);
            poll_fn(|cx| peer.poll_empty_pipe(&mut pipe, cx)).await?;
            assert_eq!(poll_fn(|cx| peer.poll_fill_pipe(&mut pipe, 9, cx)).await?, 2);
            assert_eq!(poll_fn(|cx| peer.poll_fill_pipe(&mut Pipe::new()?, 9, cx)).await?, 0);
            Ok::<_, io::Error>(())
        }
    };
    let served = serving(listener, handler, async || {
        let mut client = connect(to).await;
        sees.recv().await.unwrap();
        client.write_all(b"abcde").await.unwrap();
        let mut said = [0; 3];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"abc");
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut said).await.unwrap(), 0);
    });
    assert_eq!(served.await.accepted, 1);
}
