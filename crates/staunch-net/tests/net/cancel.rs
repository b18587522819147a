//! Every await of every public async function may be the last one: nothing is left, and what is
//! documented as cancel safe loses nothing.

use staunch::{Context, testing::cancel_at_every_await};
use staunch_net::{LineReader, chunks, read_to_end};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{address, ask, bind, connect, echo, poll_once, serving, unlimited};

#[staunch::test]
async fn serve_can_be_dropped_at_every_await() {
    let awaits = cancel_at_every_await(|| async {
        let listener = bind(unlimited());
        let address = address(&listener);
        let (context, cancel) = Context::current().with_cancel();
        let client = async {
            let mut stream = connect(address).await;
            ask(&mut stream, "hello").await;
            cancel.cancel();
        };
        let (_served, ()) = tokio::join!(listener.serve(&context, echo), client);
    });
    assert!(awaits.await > 3);
}

#[staunch::test]
async fn a_line_is_not_lost_with_the_future_that_waited_for_it() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(
        listener,
        |connection| async move {
            let mut lines = connection.lines();
            let mut count = 0;
            loop {
                // Polls once and drops the future, again and again.
                match poll_once(lines.next()).await {
                    None => tokio::task::yield_now().await,
                    Some(Ok(Some(line))) => {
                        assert_eq!(line, format!("line {count}").as_bytes());
                        count += 1;
                    }
                    Some(Ok(None)) => break,
                    Some(Err(error)) => return Err(error),
                }
            }
            connection.write_all([count.to_string().as_bytes()]).await?;
            Ok(())
        },
        async || {
            let mut stream = connect(address).await;
            for number in 0..100 {
                let line = format!("line {number}\n");
                let (first, rest) = line.split_at(number % line.len());
                stream.write_all(first.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(rest.as_bytes()).await.unwrap();
            }
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "100");
        },
    );
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn readers_can_be_dropped_at_every_await() {
    let awaits = cancel_at_every_await(|| async {
        let (mut near, far) = tokio::io::duplex(8);
        let write = async move {
            for piece in [&b"a li"[..], b"ne\nand ", b"more"] {
                tokio::task::yield_now().await;
                near.write_all(piece).await.unwrap();
            }
        };
        let read = async {
            let mut lines = LineReader::new(far, 64);
            while let Ok(Some(_)) = lines.next().await {}
        };
        tokio::join!(write, read);
    });
    assert!(awaits.await >= 3);
    let awaits = cancel_at_every_await(|| async {
        let (mut near, far) = tokio::io::duplex(4);
        let write = async move { near.write_all(&[b'x'; 64]).await.unwrap() };
        let read = async {
            let mut chunks = chunks(far, 8);
            while let Ok(Some(_)) = chunks.next().await {}
        };
        tokio::join!(write, read);
    });
    assert!(awaits.await >= 3);
    let awaits = cancel_at_every_await(|| async {
        let (mut near, far) = tokio::io::duplex(4);
        let write = async move { near.write_all(&[b'x'; 64]).await.unwrap() };
        let ((), read) = tokio::join!(write, read_to_end(far, 1024));
        assert_eq!(read.unwrap().len(), 64);
    });
    assert!(awaits.await >= 3);
}

#[staunch::test]
async fn writing_can_be_dropped_at_every_await() {
    let awaits = cancel_at_every_await(|| async {
        let listener = bind(unlimited());
        let address = address(&listener);
        let (context, cancel) = Context::current().with_cancel();
        let answer = |connection: staunch_net::Connection| async move {
            connection.write_all([&vec![b'x'; 256 << 10], b"the end"]).await
        };
        let client = async {
            let mut stream = connect(address).await;
            let mut bytes = vec![0; 16 << 10];
            while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
            cancel.cancel();
        };
        let (_served, ()) = tokio::join!(listener.serve(&context, answer), client);
    });
    assert!(awaits.await >= 2);
}
