//! Answers that take their time.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming};
use staunch::{BoxError, Context, Kind, Ledger, Scope, sleep};
use staunch_http::{
    Event, EventSender, HttpLimits, Hub, HubOptions, RequestBody, SendError, StreamBody,
    StreamLimits, Streams, handler, peer,
};
use staunch_ledger::State;
use staunch_net::Limits;
use tokio::sync::mpsc;

use crate::support::{
    AtWork, Http1, Http2, SOON, eventually, get, get1, http1, http2, with_server,
};

/// A client of either version.
enum Client {
    One(Http1),
    Two(Http2),
}

impl Client {
    async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.try_get(path).await.unwrap()
    }

    async fn try_get(&mut self, path: &str) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Client::One(client) => client.send_request(get1(path)).await,
            Client::Two(client) => client.send_request(get(path)).await,
        }
    }
}

async fn clients(address: std::net::SocketAddr, scope: &Scope<BoxError>) -> [Client; 2] {
    [Client::One(http1(address, scope).await), Client::Two(http2(address, scope).await)]
}

/// What comes next of a body.
async fn next(answer: &mut Response<Incoming>) -> Option<String> {
    let frame = answer.body_mut().frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// The rest of a body; or that it breaks.
async fn rest(answer: Response<Incoming>) -> Result<String, hyper::Error> {
    let bytes = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn admit_all(
    streams: &Streams,
    make: impl FnOnce(staunch_http::Admitted) -> Response<StreamBody>,
) -> Response<StreamBody> {
    streams.admit(peer().map(|peer| peer.ip())).map_or_else(|refused| refused.answer(), make)
}

const PIECES: usize = 2_000;

#[staunch::test]
async fn what_is_made_in_pieces_waits_for_whom_it_is_for() {
    let (streams, made) = (Streams::new(StreamLimits::default()), Arc::new(AtomicUsize::new(0)));
    let (its, count) = (streams.clone(), Arc::clone(&made));
    let service = handler(move |_: Request<RequestBody>| {
        let (streams, made) = (its.clone(), Arc::clone(&count));
        async move {
            admit_all(&streams, |admitted| {
                admitted.stream(|mut pieces| async move {
                    for _ in 0..PIECES {
                        pieces.send(vec![b'x'; 16 << 10]).await?;
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
        }
    });
    let served = with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
        for mut client in clients(to, s).await {
            made.store(0, Ordering::Relaxed);
            let answer = client.get("/").await;
            // As far as the kernel and the buffers take it, and no further.
            let mut seen = 0;
            eventually("it stands still", || {
                let before = std::mem::replace(&mut seen, made.load(Ordering::Relaxed));
                seen > 0 && seen == before && {
                    let entries = Ledger::current().snapshot();
                    let mut entries = entries.entries().iter();
                    entries.any(|it| it.kind() == Kind::STREAM && it.state() == State::Write)
                }
            })
            .await;
            assert!(made.load(Ordering::Relaxed) < PIECES / 2, "{seen} were made");
            let all = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(all.len(), PIECES * (16 << 10));
        }
    })
    .await;
    assert_eq!(served, (2, 0));
    let counts = streams.counts();
    assert_eq!((counts.opened, counts.whole, counts.open, counts.clients), (2, 2, 0, 0));
}

fn events_every(pause: Duration, limits: StreamLimits) -> (Streams, AtWork, impl Serves) {
    let (streams, at_work) = (Streams::new(limits), AtWork::default());
    let (its, works) = (streams.clone(), at_work.clone());
    let service = handler(move |_: Request<RequestBody>| {
        let (streams, at_work) = (its.clone(), works.clone());
        async move {
            admit_all(&streams, |admitted| {
                admitted.events(move |mut events| async move {
                    let _working = at_work.begin();
                    for tick in 1.. {
                        events
                            .send(&Event::data(format!("{tick}")).with_id(tick.to_string())?)
                            .await?;
                        sleep(pause).await?;
                    }
                    Ok(())
                })
            })
        }
    });
    (streams, at_work, service)
}

pub(crate) trait Serves:
    tower_service::Service<
        Request<RequestBody>,
        Response = Response<StreamBody>,
        Error = std::convert::Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Serves for S where
    S: tower_service::Service<
            Request<RequestBody>,
            Response = Response<StreamBody>,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

#[staunch::test]
async fn events_have_a_last_one_when_the_server_is_to_stop() {
    let limits = StreamLimits { heartbeat: SOON / 3, ..StreamLimits::default() };
    let (streams, at_work, service) = events_every(Duration::from_hours(1), limits);
    let heard = Arc::new(OnceLock::new());
    let hears = Arc::clone(&heard);
    let served = with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
        let mut rests = Vec::new();
        for mut client in clients(to, s).await {
            let mut answer = client.get("/").await;
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            assert_eq!(next(&mut answer).await.as_deref(), Some("id: 1\ndata: 1\n\n"));
            assert_eq!(next(&mut answer).await.as_deref(), Some(":\n\n"), "a sign of life");
            rests.push(answer);
        }
        let streams = Ledger::current().snapshot();
        let streams: Vec<_> =
            streams.entries().iter().filter(|it| it.kind() == Kind::STREAM).collect();
        assert_eq!(streams.len(), 2);
        for stream in streams {
            assert_eq!((stream.state(), &*stream.label().to_string()), (State::Sleep, "GET /"));
        }
        s.spawn(async move {
            let mut all = Vec::new();
            for answer in rests {
                all.push(rest(answer).await.map_err(|error| error.to_string()));
            }
            hears.set(all).map_err(|_| "twice".into())
        });
    })
    .await;
    assert_eq!(served, (2, 0), "none is cut");
    let close = "event: close\ndata: draining\n\n";
    for heard in heard.get().unwrap() {
        assert!(heard.as_ref().unwrap().ends_with(close), "{heard:?}");
    }
    let counts = streams.counts();
    assert_eq!((counts.draining, counts.open, at_work.count()), (2, 0, 0));
}

/// There is always an event: made within the body, and by somebody else.
#[staunch::test]
async fn events_without_a_pause_end_when_the_server_is_to_stop() {
    let check = async |is_elsewhere: bool| {
        let streams = Streams::new(StreamLimits::default());
        let (gives, mut given) = mpsc::channel(1);
        let its = streams.clone();
        let service = handler(move |_: Request<RequestBody>| {
            let (streams, gives) = (its.clone(), gives.clone());
            async move {
                admit_all(&streams, |admitted| {
                    admitted.events(move |events| async move {
                        if is_elsewhere {
                            return gives.send(events).await.map_err(Into::into);
                        }
                        ticks(events).await
                    })
                })
            }
        });
        let net = Limits { drain: 5 * SOON, ..Limits::default() };
        let mut heard = None;
        let served = with_server(HttpLimits::default(), net, service, async |to, s| {
            s.spawn(async move {
                while let Some(events) = given.recv().await {
                    assert!(ticks(events).await.unwrap_err().is::<SendError>());
                }
                Ok(())
            });
            let mut answer = Client::One(http1(to, s).await).get("/").await;
            assert!(next(&mut answer).await.is_some());
            heard = Some(s.fork(async move { Ok(rest(answer).await?) }));
        })
        .await;
        assert_eq!(served, (1, 0), "it is not cut: {is_elsewhere}");
        let heard = heard.unwrap().join().await.unwrap();
        assert!(heard.ends_with("event: close\ndata: draining\n\n"), "{is_elsewhere}");
        assert_eq!((streams.counts().draining, streams.counts().open), (1, 0));
    };
    check(false).await;
    check(true).await;
}

/// Who makes it hears of the drain, too, and may say so.
#[staunch::test]
async fn who_makes_events_has_a_last_word() {
    let streams = Streams::new(StreamLimits::default());
    let its = streams.clone();
    let service = handler(move |_: Request<RequestBody>| {
        let streams = its.clone();
        async move {
            admit_all(&streams, |admitted| {
                admitted.events(move |mut events| async move {
                    events.send(&Event::data("hello")).await?;
                    let _the_server_is_to_stop = staunch_http::draining().cancelled().await;
                    Ok(events.send(&Event::data("goodbye")).await?)
                })
            })
        }
    });
    let mut heard = None;
    let served = with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
        let mut answer = Client::One(http1(to, s).await).get("/").await;
        assert!(next(&mut answer).await.is_some());
        heard = Some(s.fork(async move { Ok(rest(answer).await?) }));
    })
    .await;
    assert_eq!(served, (1, 0));
    let heard = heard.unwrap().join().await.unwrap();
    assert!(heard.contains("data: goodbye\n\n"), "{heard}");
}

async fn ticks(mut events: EventSender) -> Result<(), BoxError> {
    loop {
        events.send(&Event::data("tick")).await?;
    }
}

#[staunch::test]
async fn events_end_after_their_lifetime_and_when_there_are_none() {
    let check = async |pause: Duration, limits: StreamLimits, why: &str| {
        let (streams, at_work, service) = events_every(pause, limits);
        with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
            for mut client in clients(to, s).await {
                let begun = Instant::now();
                let heard = rest(client.get("/").await).await.unwrap();
                assert!(begun.elapsed() >= SOON, "{:?}", begun.elapsed());
                assert!(heard.ends_with(&format!("event: close\ndata: {why}\n\n")), "{heard}");
                assert_eq!(heard.contains("data: 2\n"), why == "lifetime");
            }
        })
        .await;
        let counts = streams.counts();
        let by_reason = if why == "idle" { counts.idle } else { counts.lifetime };
        assert_eq!((by_reason, counts.open, at_work.count()), (2, 0, 0));
    };
    let heartbeat = SOON / 4;
    let short = StreamLimits { heartbeat, lifetime: SOON, ..StreamLimits::default() };
    check(SOON / 10, short, "lifetime").await;
    let still = StreamLimits { heartbeat, idle: SOON, ..StreamLimits::default() };
    check(Duration::from_hours(1), still, "idle").await;
}

/// A client must not take a part for all.
#[staunch::test]
async fn what_is_not_whole_breaks() {
    let check = async |limits: StreamLimits, rule: Option<&'static str>| {
        let streams = Streams::new(limits);
        let service = handler(move |_: Request<RequestBody>| {
            let streams = streams.clone();
            async move {
                admit_all(&streams, |admitted| {
                    admitted.stream(move |mut pieces| async move {
                        pieces.send("a part").await?;
                        if rule.is_none() {
                            return Err("no more rows".into());
                        }
                        std::future::pending().await
                    })
                })
            }
        });
        let before = Ledger::current().observations().len();
        with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
            for mut client in clients(to, s).await {
                // At once, or when some of it has come.
                if let Ok(answer) = client.try_get("/").await {
                    assert!(rest(answer).await.is_err(), "{rule:?}");
                }
            }
        })
        .await;
        let observed = Ledger::current().observations();
        let rules: Vec<_> = observed[before..].iter().map(|it| it.rule).collect();
        assert_eq!(rules, rule.map_or(vec![], |rule| vec![rule; 2]));
    };
    check(StreamLimits::default(), None).await;
    let idle = StreamLimits { idle: SOON / 3, ..StreamLimits::default() };
    check(idle, Some("stream-idle")).await;
    let short = StreamLimits { lifetime: SOON / 3, ..StreamLimits::default() };
    check(short, Some("stream-lifetime")).await;
}

#[staunch::test]
async fn who_has_enough_is_refused_until_one_of_its_own_has_ended() {
    let limits = StreamLimits { per_client: 2, ..StreamLimits::default() };
    let (streams, at_work, service) = events_every(Duration::from_hours(1), limits);
    let served = with_server(HttpLimits::default(), Limits::default(), service, async |to, s| {
        let [mut one, mut two] = clients(to, s).await;
        let mut first = one.get("/").await;
        let mut second = two.get("/").await;
        assert!(next(&mut first).await.is_some() && next(&mut second).await.is_some());
        let refused = two.get("/").await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "5");
        let told = rest(refused).await.unwrap();
        assert_eq!(told, "No stream: this client has 2 streams, and no more (`per_client`).\n");
        assert_eq!(at_work.count(), 2);
        drop((one, first)); // it leaves
        eventually("its stream ends", || at_work.count() == 1 && streams.counts().open == 1).await;
        drop(second); // it resets the stream
        eventually("it ends", || at_work.count() == 0).await;
        assert!(next(&mut two.get("/").await).await.is_some());
    })
    .await;
    assert_eq!(served.1, 0);
    let counts = streams.counts();
    assert_eq!((counts.opened, counts.full, counts.open, counts.clients), (3, 1, 0, 0));
}

#[staunch::test]
async fn who_is_unknown_is_refused_at_once() {
    let streams = Streams::new(StreamLimits { streams: 1, in_process: 0, ..Default::default() });
    let answer = streams.admit(None::<&str>).unwrap_err().answer();
    assert_eq!(answer.status(), 403);
    let answer = streams.admit(Some("ann")).unwrap_err().answer();
    assert_eq!(answer.status(), 503, "there is no room in the process");
    assert_eq!(streams.counts().open, 0);
}

/// The request's time is for its head; and a task of the handler's may send, too.
#[staunch::test]
async fn a_stream_has_its_own_deadline_and_may_be_made_elsewhere() {
    let hub = Hub::new(HubOptions::default());
    let streams = Streams::new(StreamLimits::default());
    let (publishes, its) = (hub.clone(), streams.clone());
    let service = handler(move |_: Request<RequestBody>| {
        let (streams, mut values) = (its.clone(), publishes.subscribe().unwrap());
        async move {
            admit_all(&streams, |admitted| {
                admitted.events(move |mut events| async move {
                    let left = Context::current().remaining().unwrap_or_default();
                    events.send(&Event::data(format!("{}", left > SOON))).await?;
                    staunch::scope(&Context::current(), |s| async move {
                        s.spawn(async move {
                            while let Some(value) = values.next().await? {
                                events.send(&Event::data(value.value)).await?;
                            }
                            Ok::<_, BoxError>(())
                        });
                        Ok(())
                    })
                    .await?;
                    Ok(())
                })
            })
        }
    });
    let http = HttpLimits { request_time: SOON, ..HttpLimits::default() };
    with_server(http, Limits::default(), service, async |to, s| {
        for mut client in clients(to, s).await {
            let mut answer = client.get("/").await;
            assert_eq!(next(&mut answer).await.as_deref(), Some("data: true\n\n"));
            tokio::time::sleep(2 * SOON).await;
            hub.publish("late");
            assert_eq!(next(&mut answer).await.as_deref(), Some("data: late\n\n"));
        }
    })
    .await;
    eventually("all have ended", || hub.subscribers() == 0).await;
}
