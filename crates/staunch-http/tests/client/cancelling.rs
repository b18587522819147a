//! Requests that are given up, in each phase and by each way: nothing is left.

use std::{net::SocketAddr, time::Duration};

use staunch::{BoxError, Context, Kind, scope, timeout};
use staunch_harness::{eventually, live};
use staunch_http::{Client, ClientError, ClientOptions, ClientRequest, ReadAnswerError};
use tokio::{
    join,
    net::{TcpSocket, TcpStream},
};

use crate::support::{localhost, nothing_left, says, with_client};

/// By what a request is given up.
#[derive(Clone, Copy, Debug)]
enum By {
    Dropping,
    Context,
    Handle,
    Deadline,
}

const ALL: [By; 4] = [By::Dropping, By::Context, By::Handle, By::Deadline];

/// Sends it, reads it, and gives it up once it has come as far as `phase` says.
async fn give_up(request: ClientRequest, by: By, phase: impl AsyncFn()) {
    let read = async |request: ClientRequest| {
        let answer = request.send().await.map_err(|error| error.to_string())?;
        answer.bytes(100).await.map_err(|error| error.to_string())
    };
    let ended = match by {
        By::Dropping => {
            tokio::select! {
                biased;
                ended = read(request) => ended,
                () = phase() => return,
            }
        }
        By::Context => {
            let (context, cancel) = Context::current().with_cancel();
            join!(read(request.context(&context)), async {
                phase().await;
                cancel.cancel();
            })
            .0
        }
        By::Handle => {
            let (request, cancel) = request.cancellable();
            join!(read(request), async {
                phase().await;
                cancel.cancel();
            })
            .0
        }
        By::Deadline => read(request.timeout(Duration::from_millis(50))).await,
    };
    let error = ended.unwrap_err();
    let says = if matches!(by, By::Deadline) { "within 50ms" } else { "cancelled" };
    assert!(error.contains(says), "{by:?}: {error}");
}

/// Gives up a request in each way, in the phase in which there is one connection in use.
async fn check(client: &Client, url: &str, body: usize, port: u16) {
    for by in ALL {
        let request = client.post(url).body(vec![b'x'; body]);
        let connected =
            async || eventually("it is begun", async || live(Kind::CONNECTION) > 0).await;
        give_up(request, by, connected).await;
        nothing_left(&format!("{url} {by:?}"), client, port).await;
    }
}

/// A port whose backlog is full: who connects waits.
async fn full() -> (SocketAddr, Vec<TcpStream>, tokio::net::TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        held.push(stream.unwrap());
    }
    (address, held, listener)
}

#[staunch::test]
async fn while_it_connects() {
    let (address, held, listener) = full().await;
    with_client(ClientOptions::default(), async |client, _| {
        for by in ALL {
            let begun = async || eventually("begun", async || live(Kind::CONNECTION) > 0).await;
            give_up(client.get(format!("http://{address}/")), by, begun).await;
            eventually("no attempt goes on", async || live(Kind::CONNECTION) == 0).await;
        }
    })
    .await;
    drop((held, listener));
}

#[staunch::test]
async fn while_it_speaks_tls_sends_waits_or_reads() {
    let trust = Some(localhost().trust);
    with_client(ClientOptions { trust, ..ClientOptions::default() }, async |client, s| {
        let silent = says(s, "").await;
        check(client, &format!("https://{silent}/"), 0, silent.port()).await;
        check(client, &format!("http://{silent}/"), 64 << 20, silent.port()).await;
        check(client, &format!("http://{silent}/"), 0, silent.port()).await;
        let short = says(s, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        check(client, &format!("http://{short}/"), 0, short.port()).await;
    })
    .await;
}

#[staunch::test]
async fn before_it_is_sent_or_while_its_body_is_read() {
    with_client(ClientOptions::default(), async |client, s| {
        let short = says(s, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        let url = format!("http://{short}/");
        let (request, cancel) = client.get(&url).cancellable();
        drop(cancel);
        assert!(matches!(request.send().await, Err(ClientError::Cancelled { .. })));
        assert_eq!(live(Kind::CONNECTION), 0);

        let (request, cancel) = client.get(&url).cancellable();
        let mut body = request.send().await.unwrap().into_body();
        assert_eq!(body.chunk().await.unwrap().unwrap(), "half");
        cancel.cancel();
        let error = body.chunk().await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::Cancelled { .. }), "{error}");
        nothing_left("its connection is closed", client, short.port()).await;
        assert_eq!(body.chunk().await.unwrap(), None);
    })
    .await;
}

#[staunch::test]
async fn a_client_that_is_dropped_ends_with_its_last_body() {
    let ended = scope(&Context::current(), |s| async move {
        let before = s.live();
        let client = Client::new(&s, ClientOptions::default())?;
        let other = scope(&Context::current(), |other| async move {
            let short = says(&other, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf").await;
            let answer = client.get(format!("http://{short}/")).send().await?.success()?;
            drop(client);
            assert_eq!(answer.text(4).await?, "half");
            eventually("its tasks have ended", async || s.live() == before).await;
            other.stop();
            Ok::<_, BoxError>(())
        });
        other.await.map_err(BoxError::from)
    });
    ended.await.unwrap();
}
