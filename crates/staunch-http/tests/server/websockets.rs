//! WebSockets, and how they end.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::Request;
use staunch::{Kind, Ledger};
use staunch_http::{
    HttpLimits, Hub, HubOptions, RequestBody, StreamLimits, Streams, WebSocketError, draining,
    handler, peer,
};
use staunch_ledger::State;
use staunch_net::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use crate::{
    streams::Serves,
    support::{SOON, eventually, get, get1, http1, http2, read, with_server},
};

/// Says everything again; "fail" has it fail, "leave" has it end.
fn echo(streams: &Streams) -> impl Serves {
    let streams = streams.clone();
    handler(move |mut request: Request<RequestBody>| {
        let streams = streams.clone();
        async move {
            let admitted = match streams.admit(peer().map(|peer| peer.ip())) {
                Err(refused) => return refused.answer(),
                Ok(admitted) => admitted,
            };
            let answer = admitted.websocket(&mut request, |mut socket| async move {
                while let Some(message) = socket.next().await? {
                    match &message {
                        staunch_http::Message::Text(text) if text == "fail" => {
                            return Err("as told".into());
                        }
                        staunch_http::Message::Text(text) if text == "leave" => break,
                        _ => socket.send(message).await?,
                    }
                }
                Ok(())
            });
            answer.unwrap_or_else(|error| error.answer())
        }
    })
}

type Client = WebSocketStream<TcpStream>;

async fn connect(to: SocketAddr) -> Client {
    let socket = TcpStream::connect(to).await.unwrap();
    client_async(format!("ws://{to}/echo"), socket).await.unwrap().0
}

/// The code and reason that it is closed with; what comes before is passed over.
async fn closed(client: &mut Client) -> Option<(u16, String)> {
    let mut closed = None;
    while let Some(message) = client.next().await {
        match message {
            Ok(Message::Close(frame)) => {
                closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
            Ok(_) => {}
            Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    closed
}

fn because(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

#[staunch::test]
async fn what_is_said_is_said_again() {
    let streams = Streams::new(StreamLimits::default());
    let served =
        with_server(HttpLimits::default(), Limits::default(), echo(&streams), async |to, s| {
            let mut client = connect(to).await;
            let large = Bytes::from(vec![7; 64 << 10]);
            for message in ["one".into(), Message::Binary(large), Message::Text("".into())] {
                client.send(message.clone()).await.unwrap();
                assert_eq!(client.next().await.unwrap().unwrap(), message);
            }
            client.send(Message::Ping("?".into())).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("?".into()));

            let entries = Ledger::current().snapshot();
            let entries = entries.entries();
            let socket = entries.iter().find(|it| it.kind() == Kind::STREAM).unwrap();
            assert_eq!((socket.state(), &*socket.label().to_string()), (State::Sleep, "GET /echo"));
            let owner = entries.iter().find(|it| Some(it.id()) == socket.parent()).unwrap();
            assert_eq!(owner.kind(), Kind::TASK, "the connection's");
            assert!(entries.iter().all(|it| it.kind() != Kind::REQUEST), "it has been answered");

            client.close(None).await.unwrap();
            assert_eq!(closed(&mut client).await, None, "its own close frame again");
            eventually("its place is free", || streams.counts().open == 0).await;

            let refused = read(http2(to, s).await.send_request(get("/echo")).await.unwrap()).await;
            assert_eq!(refused.0, 426, "{}", refused.1);
            let refused = http1(to, s).await.send_request(get1("/echo")).await.unwrap();
            let header = |name: &str| refused.headers()[name].to_str().unwrap();
            assert_eq!((header("upgrade"), header("connection")), ("websocket", "upgrade"));
            assert_eq!(read(refused).await.0, 426);
        })
        .await;
    assert_eq!(served, (3, 0));
    assert_eq!((streams.counts().left, streams.counts().opened), (1, 1));
}

#[staunch::test]
async fn its_messages_may_be_of_any_size() {
    for (message, buffer) in [(usize::MAX, 0), (0, usize::MAX)] {
        let streams = Streams::new(StreamLimits { message, buffer, ..StreamLimits::default() });
        with_server(HttpLimits::default(), Limits::default(), echo(&streams), async |to, _| {
            let mut client = connect(to).await;
            client.send(Message::Text("".into())).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), Message::Text("".into()));
        })
        .await;
    }
}

#[staunch::test]
async fn each_end_has_its_code() {
    let limits = StreamLimits { message: 100, ..StreamLimits::default() };
    let streams = Streams::new(limits);
    with_server(HttpLimits::default(), Limits::default(), echo(&streams), async |to, _| {
        let check = async |say: Message, expected| {
            let mut client = connect(to).await;
            client.send(say.clone()).await.unwrap();
            assert_eq!(closed(&mut client).await, expected, "{say:?}");
        };
        check("leave".into(), Some(because(1000, ""))).await;
        check("fail".into(), Some(because(1011, ""))).await;
        check("x".repeat(101).into(), Some(because(1009, "too large"))).await;
    })
    .await;
    let counts = streams.counts();
    assert_eq!((counts.open, counts.whole, counts.failed), (0, 2, 1));
}

#[staunch::test]
async fn it_ends_when_its_time_is_over_and_with_its_server() {
    let check = async |limits: StreamLimits, expected: Option<(u16, String)>| {
        let streams = Streams::new(limits);
        let server =
            with_server(HttpLimits::default(), Limits::default(), echo(&streams), async |to, _| {
                let mut client = connect(to).await;
                assert_eq!(closed(&mut client).await, expected);
            });
        assert_eq!(server.await, (1, 0));
        assert_eq!(streams.counts().open, 0);
    };
    let idle = StreamLimits { idle: SOON, heartbeat: SOON / 4, ..StreamLimits::default() };
    check(idle, Some(because(1000, "idle"))).await;
    let short = StreamLimits { lifetime: SOON, heartbeat: SOON / 4, ..StreamLimits::default() };
    check(short, Some(because(1001, "lifetime"))).await;

    let streams = Streams::new(StreamLimits::default());
    let mut kept = None;
    let server =
        with_server(HttpLimits::default(), Limits::default(), echo(&streams), async |to, s| {
            let mut client = connect(to).await;
            client.send("one".into()).await.unwrap();
            client.next().await.unwrap().unwrap();
            kept = Some(s.fork(async move { Ok(closed(&mut client).await) }));
            // with_server() stops the server now
        });
    assert_eq!(server.await, (1, 0), "it is not cut");
    assert_eq!(kept.unwrap().join().await.unwrap(), Some(because(1001, "draining")));
}

/// Neither a pong nor anything else.
#[staunch::test]
async fn who_does_not_answer_pings_is_left() {
    let limits = StreamLimits { heartbeat: SOON / 2, ..StreamLimits::default() };
    let streams = Streams::new(limits);
    with_server(HttpLimits::default(), Limits::default(), echo(&streams), async |to, _| {
        let mut dead = TcpStream::connect(to).await.unwrap();
        let request = "GET /echo HTTP/1.1\r\nHost: l\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        dead.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        dead.read_to_end(&mut heard).await.unwrap();
        assert!(heard.ends_with(b"\r\n\r\n\x89\0"), "one ping: {}", heard.escape_ascii());
    })
    .await;
    assert_eq!((streams.counts().left, streams.counts().open), (1, 0));
}

/// A server that only sends ends, too.
#[staunch::test]
async fn who_only_sends_hears_of_the_end() {
    let streams = Streams::new(StreamLimits { lifetime: SOON, ..StreamLimits::default() });
    let (its, ended) = (streams.clone(), Arc::new(Notify::new()));
    let ends = Arc::clone(&ended);
    let service = handler(move |mut request: Request<RequestBody>| {
        let (streams, ended) = (its.clone(), Arc::clone(&ends));
        async move {
            let admitted = streams.admit(Some("somebody")).unwrap();
            let answer = admitted.websocket(&mut request, move |mut socket| async move {
                loop {
                    if let Err(error) = socket.send("tick").await {
                        assert!(matches!(error, WebSocketError::Ended), "{error}");
                        ended.notify_one();
                        return Err(error.into());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            answer.unwrap_or_else(|error| error.answer())
        }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |to, _| {
        let mut client = connect(to).await;
        assert_eq!(closed(&mut client).await, Some(because(1001, "lifetime")));
        ended.notified().await;
    })
    .await;
    assert_eq!((streams.counts().lifetime, streams.counts().open), (1, 0));
}

/// Its `?` hears of the stop first.
#[staunch::test]
async fn who_waits_for_a_hub_goes_away_with_the_server() {
    let (streams, hub) = (Streams::new(StreamLimits::default()), Hub::new(HubOptions::default()));
    let (its, publishes) = (streams.clone(), hub.clone());
    let service = handler(move |mut request: Request<RequestBody>| {
        let (streams, mut values) = (its.clone(), publishes.subscribe().unwrap());
        async move {
            let admitted = streams.admit(Some("somebody")).unwrap();
            let answer = admitted.websocket(&mut request, |mut socket| async move {
                while let Some(value) = values.next().await? {
                    socket.send(value.value).await?;
                }
                Ok(())
            });
            answer.unwrap_or_else(|error| error.answer())
        }
    });
    let mut kept = None;
    with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
        let mut client = connect(to).await;
        hub.publish("one");
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Text("one".into()));
        kept = Some(s.fork(async move { Ok(closed(&mut client).await) }));
        // with_server() stops the server now
    })
    .await;
    assert_eq!(kept.unwrap().join().await.unwrap(), Some(because(1001, "draining")));
    assert_eq!((streams.counts().draining, streams.counts().open), (1, 0));
}

/// Hears one message, and after `pause` whatever there is; `heard` is how many there were.
fn pauses<F>(streams: &Streams, heard: &Arc<AtomicUsize>, pause: fn() -> F) -> impl Serves
where
    F: Future<Output = ()> + Send + 'static,
{
    let (streams, heard) = (streams.clone(), Arc::clone(heard));
    handler(move |mut request: Request<RequestBody>| {
        let (streams, heard) = (streams.clone(), Arc::clone(&heard));
        async move {
            let admitted = streams.admit(Some("somebody")).unwrap();
            let answer = admitted.websocket(&mut request, move |mut socket| async move {
                while socket.next().await?.is_some() {
                    heard.fetch_add(1, Ordering::SeqCst);
                    pause().await;
                }
                Ok(())
            });
            answer.unwrap_or_else(|error| error.answer())
        }
    })
}

/// Whatever of it is there to be read.
#[staunch::test]
async fn who_keeps_talking_is_closed_all_the_same() {
    let two_at_once = async |to| {
        let mut client = connect(to).await;
        client.feed("one".into()).await.unwrap();
        client.feed("two".into()).await.unwrap();
        client.flush().await.unwrap();
        client
    };
    let streams = Streams::new(StreamLimits { lifetime: SOON, ..StreamLimits::default() });
    let heard = Arc::<AtomicUsize>::default();
    let service = pauses(&streams, &heard, || tokio::time::sleep(SOON));
    with_server(HttpLimits::default(), Limits::default(), service, async |to, _| {
        let mut client = two_at_once(to).await;
        assert_eq!(closed(&mut client).await, Some(because(1001, "lifetime")));
    })
    .await;
    assert_eq!((heard.load(Ordering::SeqCst), streams.counts().lifetime), (1, 1));

    let streams = Streams::new(StreamLimits::default());
    let heard = Arc::<AtomicUsize>::default();
    let drains = || async { _ = draining().cancelled().await };
    let (service, mut kept) = (pauses(&streams, &heard, drains), None);
    let server = with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
        let mut client = two_at_once(to).await;
        eventually("it is heard", || heard.load(Ordering::SeqCst) == 1).await;
        kept = Some(s.fork(async move { Ok(closed(&mut client).await) }));
        // with_server() stops the server now
    });
    assert_eq!(server.await, (1, 0), "it is not cut");
    assert_eq!(kept.unwrap().join().await.unwrap(), Some(because(1001, "draining")));
    assert_eq!((heard.load(Ordering::SeqCst), streams.counts().draining), (1, 1));
}
