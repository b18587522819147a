//! Every await of every public async function may be the last one: nothing is left, and what is
//! documented as cancel safe loses nothing.

use staunch::{Context, testing::cancel_at_every_await};
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
