//! Events that are received, mostly from a server of ours.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{Request, Response, StatusCode};
use staunch::{BoxError, Cancelled, Context, Kind, Ledger, Scope, sleep};
use staunch_harness::{eventually, free_port, live, poll_times};
use staunch_http::{
    Client, ClientOptions, Event, EventSource, EventSourceError, EventsLost, EventsOptions,
    HttpLimits, RequestBody, Server, StreamBody, StreamLimits, Streams, handler, last_event_id,
};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use staunch_pool::{HttpOptions, HttpProtocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::support::{nothing_left, says, with_client};

const SOON: Duration = Duration::from_millis(300);

/// Pauses that a test can wait for.
pub(crate) fn fast() -> EventsOptions {
    let pause = Duration::from_millis(10);
    EventsOptions { pause, pause_min: pause, pause_max: 5 * pause, ..EventsOptions::default() }
}

type Answer = Response<StreamBody>;

/// Serves at an address of 127.0.0.1 until it is told to stop; then it has stopped.
async fn serves(
    s: &Scope<BoxError>,
    port: u16,
    answer: impl Fn(&Request<RequestBody>) -> Answer + Clone + Send + Sync + 'static,
    test: impl AsyncFnOnce(SocketAddr),
) {
    let at = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    let listener = Listener::bind(&at, &SocketOptions::default(), Limits::default()).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let (context, cancel) = Context::current().with_cancel();
    let service = handler(move |request| {
        let answer = answer(&request);
        async move { answer }
    });
    let server = Server::new(HttpLimits::default());
    let served = s.fork(async move { Ok(server.serve(listener, &context, service).await) });
    test(address).await;
    cancel.cancel();
    let _ = served.join().await.unwrap();
}

fn status(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(StreamBody::whole(text.to_owned()));
    *answer.status_mut() = status;
    answer
}

/// Numbers that go on after the last that was seen, so many a time; then it ends.
fn counting(streams: &Streams, request: &Request<RequestBody>, at_a_time: u64) -> Answer {
    let seen: u64 = last_event_id(request.headers()).map_or(0, |id| id.parse().unwrap());
    let admitted = streams.admit(Some(1)).unwrap();
    admitted.events(move |mut events| async move {
        for number in seen + 1..=seen + at_a_time {
            let event = Event::data(format!("no. {number}")).with_id(number.to_string())?;
            events.send(&event.with_retry(Duration::ZERO)).await?;
        }
        Ok(())
    })
}

/// The next event's data, unless it says that the server is about to stop.
async fn next(source: &mut EventSource) -> String {
    loop {
        let event = source.next().await.unwrap().unwrap();
        if event.name() != Some("close") {
            return event.text().to_owned();
        }
    }
}

/// Ids are any text: those that no header can have do not end it.
#[staunch::test]
async fn they_go_on_after_an_id_that_is_not_ascii() {
    with_client(ClientOptions::default(), async |client, s| {
        let streams = Streams::new(StreamLimits::default());
        let answer = move |request: &Request<_>| match last_event_id(request.headers()) {
            Some("\u{e9}1") => status(StatusCode::NO_CONTENT, ""),
            _ => streams.admit(Some(1)).unwrap().events(|mut events| async move {
                for (id, data) in [("\u{e9}1", "one"), ("\u{1}", "two")] {
                    let event = Event::data(data).with_id(id)?;
                    events.send(&event.with_retry(Duration::ZERO)).await?;
                }
                Ok(())
            }),
        };
        serves(s, 0, answer, async |address| {
            let events = client.events(format!("http://{address}/"));
            let mut source = events.options(fast()).open().unwrap();
            assert_eq!(next(&mut source).await, "one");
            assert_eq!(next(&mut source).await, "two");
            assert_eq!(source.next().await.unwrap(), None);
            assert_eq!((source.connected(), source.last_id()), (1, "\u{e9}1"));
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn they_go_on_after_the_last_that_came() {
    for protocol in [HttpProtocol::Http1, HttpProtocol::Http2] {
        let http = HttpOptions { protocol, ..HttpOptions::default() };
        with_client(ClientOptions { http, ..ClientOptions::default() }, async |client, s| {
            let streams = Streams::new(StreamLimits::default());
            let answer = move |request: &Request<_>| match last_event_id(request.headers()) {
                Some("9") => status(StatusCode::NO_CONTENT, ""),
                _ => counting(&streams, request, 3),
            };
            serves(s, 0, answer, async |address| {
                let events = client.events(format!("http://{address}/numbers?secret"));
                let mut source = events.options(fast()).open().unwrap();
                for number in 1_u64..=9 {
                    assert_eq!(next(&mut source).await, format!("no. {number}"));
                    assert_eq!(source.last_id(), number.to_string());
                    assert_eq!(source.connected(), number.div_ceil(3));
                }
                assert_eq!(source.next().await.unwrap(), None);
                assert_eq!(source.next().await.unwrap(), None, "for good");

                let mut source = client.events(format!("http://{address}/")).after("7");
                source = source.header("x-own", "1").options(fast());
                assert_eq!(next(&mut source.open().unwrap()).await, "no. 8");
                eventually("nothing is in use", async || {
                    let keys = client.status().pool.keys;
                    keys.iter().map(|key| key.status.leased).sum::<usize>() == 0
                })
                .await;
                assert_eq!(client.status().bodies.dropped_by, [], "a source is left, not leaked");
            })
            .await;
        })
        .await;
    }
}

#[staunch::test]
async fn a_source_is_on_the_ledger() {
    with_client(ClientOptions::default(), async |client, s| {
        let text = "HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n\r\n\
                    data: a\n\ndata: half";
        let server = says(s, text).await;
        let (source, born) = (client.events(format!("http://{server}/path?secret")), line!());
        let mut source = source.open().unwrap();
        let entry = || {
            let entries = Ledger::current().snapshot();
            let found = entries.entries().iter().find(|it| it.kind() == Kind::STREAM).unwrap();
            let at = found.born_at();
            assert_eq!((at.file(), at.line()), (file!(), born));
            (found.label().to_string(), found.bytes())
        };
        assert_eq!(entry(), ("events /path".into(), 0));
        assert_eq!(next(&mut source).await, "a");
        assert_eq!(entry(), ("events /path".into(), "data: half".len() as u64));
        assert!(poll_times(1, source.next()).await.is_none());
        drop(source);
        assert_eq!(live(Kind::STREAM), 0);
        nothing_left("its connection is closed", client, server.port()).await;
    })
    .await;
}

/// Receives from a server that gives a sign of life every `heartbeat`, and makes an event in the
/// third idle time; how often it connected until then.
async fn connects(heartbeat: Duration) -> u64 {
    let connected = AtomicU64::new(0);
    let (count, streams) =
        (&connected, Streams::new(StreamLimits { heartbeat, ..StreamLimits::default() }));
    // Far less time than it takes: that is for answers with an end.
    let http = HttpOptions { body_stall: SOON / 12, ..HttpOptions::default() };
    let options = ClientOptions { total_timeout: SOON, http, ..ClientOptions::default() };
    with_client(options, async |client, s| {
        let answer = move |request: &Request<_>| {
            let is_first = last_event_id(request.headers()).is_none();
            streams.admit(Some(1)).unwrap().events(move |mut events| async move {
                if is_first {
                    events.send(&Event::data("first").with_id("1")?).await?;
                    sleep(3 * SOON).await?;
                }
                events.send(&Event::data("second")).await?;
                std::future::pending().await
            })
        };
        serves(s, 0, answer, async |address| {
            let options = EventsOptions { idle: SOON, ..fast() };
            let source = client.events(format!("http://{address}/")).options(options);
            let mut source = source.open().unwrap();
            assert_eq!(next(&mut source).await, "first");
            assert_eq!(next(&mut source).await, "second");
            count.store(source.connected(), Ordering::Relaxed);
        })
        .await;
    })
    .await;
    connected.into_inner()
}

#[staunch::test]
async fn what_is_silent_is_left_and_a_sign_of_life_is_enough() {
    assert_eq!(connects(SOON / 6).await, 1);
    assert_eq!(connects(Duration::from_hours(1)).await, 2);
}

#[staunch::test]
async fn the_time_in_which_nobody_waits_is_not_silence() {
    with_client(ClientOptions::default(), async |client, s| {
        let streams = Streams::new(StreamLimits::default());
        let (more, waits) = (Arc::new(Notify::new()), Arc::<AtomicUsize>::default());
        let (told, listens) = (Arc::clone(&more), Arc::clone(&waits));
        let answer = move |_: &Request<_>| {
            let (more, waits) = (Arc::clone(&told), Arc::clone(&listens));
            streams.admit(Some(1)).unwrap().events(move |mut events| async move {
                events.send(&Event::data("first")).await?;
                waits.fetch_add(1, Ordering::SeqCst);
                more.notified().await;
                events.send(&Event::data("second")).await?;
                Ok(())
            })
        };
        serves(s, 0, answer, async |address| {
            let options = EventsOptions { idle: SOON, ..fast() };
            let source = client.events(format!("http://{address}/")).options(options);
            let mut source = source.open().unwrap();
            assert_eq!(next(&mut source).await, "first");
            tokio::time::sleep(SOON + SOON / 3).await; // what the test is about
            let (second, ()) = tokio::join!(next(&mut source), async {
                tokio::task::yield_now().await; // nothing is there when it comes back
                eventually("it listens", async || waits.load(Ordering::SeqCst) > 0).await;
                more.notify_one();
            });
            assert_eq!((second.as_str(), source.connected()), ("second", 1));
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn silence_is_not_in_vain() {
    with_client(ClientOptions::default(), async |client, s| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let server = says(s, head).await;
        let options = EventsOptions { idle: SOON / 10, max_attempts: 2, ..fast() };
        let source = client.events(format!("http://{server}/")).options(options);
        let mut source = source.open().unwrap();
        tokio::select! {
            biased;
            found = source.next() => panic!("{found:?}"),
            () = eventually("it goes on", async || client.status().requests > 4) => {}
        }
        assert!(source.connected() >= 4);
    })
    .await;
}

#[staunch::test]
async fn streams_take_no_connection_from_requests() {
    let mut options = ClientOptions::default();
    options.pool.per_key.max_total = 1;
    with_client(options, async |client, s| {
        let streams = Streams::new(StreamLimits::default());
        let answer = move |request: &Request<_>| match request.uri().path() {
            "/events" => streams.admit(Some(1)).unwrap().events(|mut events| async move {
                events.send(&Event::data("a")).await?;
                std::future::pending().await
            }),
            _ => status(StatusCode::OK, "answer"),
        };
        serves(s, 0, answer, async |address| {
            let mut source = client.events(format!("http://{address}/events")).open().unwrap();
            assert_eq!(next(&mut source).await, "a");
            let answer = client.get(format!("http://{address}/")).send().await.unwrap();
            assert_eq!(answer.text(10).await.unwrap(), "answer");
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn a_server_that_is_killed_and_comes_back_is_found_again() {
    with_client(ClientOptions::default(), async |client, s| {
        let streams = Streams::new(StreamLimits::default());
        let port = free_port().unwrap();
        let source = client.events(format!("http://127.0.0.1:{port}/"));
        let options = EventsOptions { max_attempts: u32::MAX, ..fast() };
        let mut source = source.options(options).open().unwrap();
        let killed = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let dies = async {
            let mut socket = killed.accept().await.unwrap().0;
            drop(killed);
            assert!(socket.read(&mut [0; 1024]).await.unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            let event = "id: 1\nretry: 1\ndata: no. 1\n\nid: 2\ndata: ha";
            let all = format!("{head}{:x}\r\n{event}\r\n", event.len());
            socket.write_all(all.as_bytes()).await.unwrap();
        };
        assert_eq!(tokio::join!(next(&mut source), dies).0, "no. 1");
        // Whoever asks meanwhile is refused.
        let refused = || {
            let keys = client.status().pool.keys;
            keys.iter().map(|key| key.status.failed).sum::<u64>()
        };
        tokio::select! {
            biased;
            found = next(&mut source) => panic!("{found}"),
            () = eventually("it is refused", async || refused() >= 2) => {}
        }
        let answer = move |request: &Request<_>| counting(&streams, request, 2);
        serves(s, port, answer, async |_| {
            assert_eq!(next(&mut source).await, "no. 2");
            assert_eq!(next(&mut source).await, "no. 3");
        })
        .await;
    })
    .await;
}

/// What becomes of a source whose server has `answers`, one after the other: the data of its first
/// event, or the end, or an error; and how often the server was asked.
async fn check(
    answers: &[(u16, &'static str, &'static str)],
    expected: Result<Option<&str>, &str>,
) {
    let answers = answers.to_vec();
    let asked = Arc::<AtomicUsize>::default();
    let (count, given) = (Arc::clone(&asked), answers.clone());
    with_client(ClientOptions::default(), async |client, s| {
        let answer = move |_: &Request<_>| {
            let (code, kind, text) = given[count.fetch_add(1, Ordering::SeqCst)];
            let mut answer = status(StatusCode::from_u16(code).unwrap(), text);
            answer.headers_mut().insert("content-type", kind.parse().unwrap());
            answer
        };
        serves(s, 0, answer, async |address| {
            let options = EventsOptions { max_attempts: 3, max_line: 10, max_event: 15, ..fast() };
            let source = client.events(format!("http://{address}/")).options(options);
            let mut source = source.open().unwrap();
            let found = source.next().await.map_err(|error| error.to_string());
            match (&found, expected) {
                (Err(error), Err(says)) => assert!(error.contains(says), "{error}"),
                (Ok(event), Ok(data)) => {
                    assert_eq!(event.as_ref().map(Event::text), data, "{answers:?}");
                }
                _ => panic!("{answers:?}: {found:?}"),
            }
            if !matches!(found, Ok(Some(_))) {
                assert_eq!(source.next().await.unwrap(), None, "it is over");
            }
        })
        .await;
    })
    .await;
    assert_eq!(asked.load(Ordering::SeqCst), answers.len(), "{answers:?}");
}

const EVENTS: &str = "text/event-stream";

#[staunch::test]
async fn what_stays_wrong_ends_it_and_trouble_passes() {
    check(&[(200, EVENTS, "data: a\n\n")], Ok(Some("a"))).await;
    check(&[(204, EVENTS, "")], Ok(None)).await;
    check(&[(404, "text/plain", "who?")], Err("404 Not Found")).await;
    check(&[(200, "text/html", "<html>")], Err("200 text/html, not text/event-stream")).await;
    check(&[(200, "text/event-streams", "data: a\n\n")], Err("event-streams, not")).await;
    check(&[(206, EVENTS, "data: a\n\n")], Err("206 text/event-stream")).await;
    check(&[(304, EVENTS, "")], Err("304 text/event-stream")).await;
    let good = (200, EVENTS, "data: a\n\n");
    check(&[(503, "a/b", "x"), (500, "a/b", "x"), good], Ok(Some("a"))).await;
    check(&[(429, "a/b", "x"), good], Ok(Some("a"))).await;
    check(&[(503, "a/b", "x"); 3], Err("after 3 attempts (max_attempts): 503")).await;
    check(&[(200, EVENTS, ""); 3], Err("3 attempts (max_attempts): the stream ended")).await;
    // A byte is enough to begin to count anew.
    let (bad, life) = ((503, "a/b", "x"), (200, EVENTS, ":\n"));
    check(&[bad, bad, life, bad, bad, good], Ok(Some("a"))).await;
    check(&[(200, EVENTS, "data: abcde\n\n")], Err("a line has more than 10 bytes")).await;
    check(
        &[(200, EVENTS, "data: ab\ndata: ab\ndata:abcd\ndata:abcde\n")],
        Err("an event has more than 15 bytes: raise EventsOptions::max_event"),
    )
    .await;
}

#[staunch::test]
async fn a_server_can_say_when_it_is_to_be_asked_for_events() {
    with_client(ClientOptions::default(), async |client, s| {
        let asked = Arc::<AtomicUsize>::default();
        let answer = move |_: &Request<_>| {
            let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            let mut answer = status(StatusCode::OK, "data: a\n\n");
            answer.headers_mut().insert("content-type", EVENTS.parse().unwrap());
            if is_first {
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                answer.headers_mut().insert("retry-after", "1".parse().unwrap());
            }
            answer
        };
        serves(s, 0, answer, async |address| {
            let begun = Instant::now();
            let options = EventsOptions { pause_max: SOON, ..fast() };
            let source = client.events(format!("http://{address}/")).options(options);
            assert_eq!(next(&mut source.open().unwrap()).await, "a");
            let waited = begun.elapsed();
            assert!(waited >= SOON && waited < 3 * SOON, "as far as pause_max: {waited:?}");
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn an_error_has_the_answer_that_says_why() {
    with_client(ClientOptions::default(), async |client, s| {
        let answer = |_: &Request<_>| status(StatusCode::FORBIDDEN, "because");
        serves(s, 0, answer, async |address| {
            let mut source = client.events(format!("http://{address}/")).open().unwrap();
            let Err(EventSourceError::Status(error)) = source.next().await else { panic!() };
            assert_eq!(error.answer.text(10).await.unwrap(), "because");
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn what_cannot_be_asked_for_is_an_error_at_once() {
    with_client(ClientOptions::default(), async |client, _| {
        assert!(client.events("ftp://a/").open().is_err());
        assert!(client.events("http://a/").header("a b", "c").open().is_err());
        let port = free_port().unwrap();
        let options = EventsOptions { max_attempts: 2, ..fast() };
        let source = client.events(format!("http://127.0.0.1:{port}/")).options(options);
        let error = source.open().unwrap().next().await.unwrap_err();
        let EventSourceError::GaveUp { attempts: 2, source, .. } = &error else {
            panic!("{error}")
        };
        assert!(matches!(**source, EventsLost::Request(_)), "{error}");
        let mut source = client.events(format!("http://127.0.0.1:{port}/")).after("a\u{1}b");
        source = source.options(fast());
        let error = source.open().unwrap().next().await.unwrap_err().to_string();
        assert!(error.contains("last-event-id"), "{error}");
    })
    .await;
}

/// Gives a source up while it waits, by each way.
async fn give_up(client: &Client, url: &str, options: EventsOptions, port: u16) {
    let source = || client.events(url).options(options);
    let begun = async || {
        eventually("it is begun", async || client.status().requests > 0).await;
        tokio::time::sleep(Duration::from_millis(30)).await; // it waits, for whatever it is
    };
    let mut dropped = source().open().unwrap();
    tokio::select! {
        biased;
        found = dropped.next() => panic!("{found:?}"),
        () = begun() => drop(dropped),
    }
    nothing_left(&format!("{url} dropped"), client, port).await;

    let (request, cancel) = source().cancellable();
    let mut source_of = request.open().unwrap();
    let (found, ()) = tokio::join!(source_of.next(), async {
        begun().await;
        cancel.cancel();
    });
    let cancelled = Err(Cancelled::Requested);
    let found = found.map_err(|error| match error {
        EventSourceError::Cancelled { cause, .. } => cause,
        other => panic!("{other}"),
    });
    assert_eq!(found.map(drop), cancelled);
    nothing_left(&format!("{url} cancelled"), client, port).await;

    let mut late = source().timeout(Duration::from_millis(50)).open().unwrap();
    let error = late.next().await.unwrap_err();
    assert!(error.to_string().contains("the events' time of 50ms is over"), "{error}");
    nothing_left(&format!("{url} late"), client, port).await;
}

#[staunch::test]
async fn it_is_given_up_in_every_phase() {
    with_client(ClientOptions::default(), async |client, s| {
        let long = EventsOptions { pause: Duration::from_hours(1), ..EventsOptions::default() };
        let long = EventsOptions { pause_max: Duration::from_hours(1), ..long };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
        let (silent, half) = (says(s, "").await, says(s, format!("{head}\r\n:\n")).await);
        let trouble = says(s, "HTTP/1.1 503 Trouble\r\ncontent-length: 0\r\n\r\n").await;
        for server in [silent, half] {
            give_up(client, &format!("http://{server}/"), long, server.port()).await;
        }
        // While it pauses its connection is idle in the pool; it goes with the client.
        let request = client.events(format!("http://{trouble}/")).options(long);
        let mut source = request.timeout(SOON).open().unwrap();
        let error = source.next().await.unwrap_err();
        assert!(matches!(error, EventSourceError::TimedOut { .. }), "{error}");
        assert_eq!(client.status().bodies.dropped_by, []);
    })
    .await;
}

/// As in a `select!` whose other branches win.
#[staunch::test]
async fn next_can_be_dropped_at_every_await() {
    with_client(ClientOptions::default(), async |client, s| {
        let streams = Streams::new(StreamLimits::default());
        let answer = move |request: &Request<_>| {
            let mut answer = counting(&streams, request, 50);
            answer.headers_mut().remove("content-length");
            answer
        };
        serves(s, 0, answer, async |address| {
            let source = client.events(format!("http://{address}/")).options(fast());
            let mut source = source.open().unwrap();
            for number in 1..=120 {
                let event = loop {
                    if let Some(event) = poll_times(1, source.next()).await {
                        break event.unwrap().unwrap();
                    }
                    tokio::task::yield_now().await; // the others' turn
                };
                assert_eq!(event.text(), format!("no. {number}"));
            }
            assert_eq!(source.connected(), 3);
        })
        .await;
    })
    .await;
}
