//! Events over TLS: HTTP/2 is agreed on, and sources share a connection.

use std::time::Duration;

use hyper::{Request, Version};
use staunch::{BoxError, Context, Kind, Scope, sleep};
use staunch_harness::{eventually, live};
use staunch_http::{
    Client, ClientOptions, Event, EventSource, HttpLimits, RequestBody, Server, StreamLimits,
    Streams, handler, last_event_id,
};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions, TlsConfig};

use crate::{
    events::fast,
    support::{localhost, sockets_to, with_client},
};

/// A server over TLS that counts on from `last-event-id`, a number every few milliseconds; `/short`
/// three at a time.
async fn serves(
    s: &Scope<BoxError>,
    tls: TlsConfig,
    streams: Streams,
    test: impl AsyncFnOnce(u16),
) {
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), Limits::default()).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let (context, cancel) = Context::current().with_cancel();
    let service = handler(move |request: Request<RequestBody>| {
        let streams = streams.clone();
        async move {
            let seen: u64 = last_event_id(request.headers()).map_or(0, |id| id.parse().unwrap());
            let last = if request.uri().path() == "/short" { seen + 3 } else { u64::MAX };
            streams.admit(Some(1)).unwrap().events(move |mut events| async move {
                for number in seen + 1..=last {
                    events.send(&Event::data("tick").with_id(number.to_string())?).await?;
                    sleep(Duration::from_millis(2)).await?;
                }
                Ok(())
            })
        }
    });
    let server = Server::new(HttpLimits::default());
    let served =
        s.fork(async move { Ok(server.serve_tls(listener, &context, &tls, service).await) });
    test(address.port()).await;
    cancel.cancel();
    let _ = served.join().await.unwrap();
}

fn open(client: &Client, url: &str) -> EventSource {
    client.events(url).options(fast()).open().unwrap()
}

async fn ticks(source: &mut EventSource, from: u64, to: u64) {
    for number in from..=to {
        let event = source.next().await.unwrap().unwrap();
        assert_eq!((event.text(), event.id().unwrap()), ("tick", number.to_string().as_str()));
    }
}

#[staunch::test(flavor = "multi_thread")]
async fn sources_share_a_connection_and_leave_it_one_by_one() {
    let own = localhost();
    let (streams, trust) = (Streams::new(StreamLimits::default()), Some(own.trust));
    let counts = streams.clone();
    with_client(ClientOptions { trust, ..ClientOptions::default() }, async |client, s| {
        serves(s, own.tls, streams, async |port| {
            let url = format!("https://localhost:{port}/");
            let mut all = [open(client, &url), open(client, &url), open(client, &url)];
            for source in &mut all {
                ticks(source, 1, 5).await;
            }
            assert_eq!(sockets_to(port), 1, "one for all");
            assert_eq!(counts.counts().open, 3);
            let [one, mut other, third] = all;
            drop(one);
            eventually("its stream is reset", async || counts.counts().left == 1).await;
            ticks(&mut other, 6, 50).await;
            assert_eq!((counts.counts().open, other.connected(), sockets_to(port)), (2, 1, 1));
            drop((other, third));
            eventually("all are left", async || counts.counts().open == 0).await;
            let mut again = open(client, &url);
            ticks(&mut again, 1, 5).await;
            assert_eq!(sockets_to(port), 1, "the connection went on");
            drop(again);
            assert_eq!(live(Kind::STREAM), counts.counts().open, "none of the client's");
            assert_eq!(client.status().bodies.dropped_by, [], "a source is left, not leaked");
        })
        .await;
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_stream_that_ends_goes_on_with_the_next() {
    let own = localhost();
    let (streams, trust) = (Streams::new(StreamLimits::default()), Some(own.trust));
    with_client(ClientOptions { trust, ..ClientOptions::default() }, async |client, s| {
        serves(s, own.tls, streams, async |port| {
            let mut source = open(client, &format!("https://localhost:{port}/short"));
            ticks(&mut source, 1, 9).await;
            assert_eq!((source.connected(), sockets_to(port)), (3, 1));
            let answer =
                client.get(format!("https://localhost:{port}/short")).send().await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2, "it is what is spoken here");
            assert_eq!(sockets_to(port), 2, "streams have connections of their own");
            answer.bytes(10 << 10).await.unwrap();
        })
        .await;
    })
    .await;
}
