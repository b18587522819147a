//! Requests that lead to another protocol, as WebSocket does (RFC 9110, 7.8): each has a connection
//! of its own to the server, and both sides are copied to each other once the server has agreed.

use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Poller, Poll},
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode, Version,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use staunch_config::UpstreamProtocol;
use staunch_http::RequestBody;
use staunch_ledger::Account;
use staunch_net::Closer;
use staunch_policy::{Pass, Permit};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use crate::{
    access::{End, Slot},
    accounts,
    balance::InFlight,
    connect::{Connect, Connected},
    forward::{
        AnswerBody, Failure, Forward, Origin, TwoEnds, gives_up, is_to_blame, of_answer,
        of_request, version,
    },
    link::{Carries, Link},
    plan::RoutePlan,
    relay::{Closers, relay},
    upstream::{Server, Upstream},
};

/// What hyper's client sends, which has no body.
type Empty = http_body_util::Empty<bytes::Bytes>;

/// Whether a request leads to another protocol, one that the servers of `upstream` may know. To
/// HTTP/2 none does here: whoever asks for that is answered in HTTP/1.1 (RFC 9113, 3.1), or a
/// server would be spoken to past all that holds for requests.
pub(crate) fn is_wanted(request: &Request<RequestBody>, upstream: &Upstream) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && upstream.plan.service.protocol == UpstreamProtocol::Http1
        && request.extensions().get::<OnUpgrade>().is_some()
        && tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
        && headers.contains_key(UPGRADE)
        && !tokens(headers, &UPGRADE).any(is_http)
        && hyper::body::Body::is_end_stream(request.body())
}

/// The parts of a list of names, over all of its lines.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// `h2c`, and whatever else is HTTP, perhaps within TLS (RFC 2817).
fn is_http(protocol: &[u8]) -> bool {
    let protocol = protocol.to_ascii_lowercase();
    [&b"h2"[..], b"h3", b"http", b"tls"].iter().any(|http| protocol.starts_with(http))
}

/// Asks a server to speak another protocol; if it agrees, its client's connection is copied to its
/// own and back from then on.
pub(crate) async fn open(
    forward: &Forward,
    route: &RoutePlan,
    upstream: &Upstream,
    uri: hyper::Uri,
    mut request: Request<RequestBody>,
    (pass, permit): (Option<&Pass<'_>>, Option<Permit>),
) -> Response<AnswerBody> {
    let client = staunch_http::peer().map(|peer| peer.ip());
    let Some(mut asked) = head(forward, route, uri, &request, client) else {
        return gives_up(route, request.extensions().get(), Failure::Circle);
    };
    if let Some(pass) = pass {
        pass.request(&mut |edit| edit.apply(asked.headers_mut()));
    }
    let slot = request.extensions_mut().remove::<Slot>();
    let what = [asked.method().as_str(), " ", asked.uri().path()];
    let account = accounts::exchange(&route.route.name, &what);
    let due = route.route.timeout.map(|limit| Instant::now() + limit);
    let mut is_again = false;
    let asks = |index| {
        if std::mem::replace(&mut is_again, true) {
            route.counts.retried();
        }
        if let Some(slot) = &slot {
            slot.note(|entry| entry.asks(index));
        }
    };
    let connect = Connect { upstream, client, carries: Carries::Http, account: &account };
    let connected = match until(due, connect.first(Server::room_apart, asks)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return gives_up(route, slot.as_ref(), error.failure()),
        Err(Elapsed) => return gives_up(route, slot.as_ref(), Failure::Late),
    };
    let Connected { link, server, in_flight, room } = connected;
    match ask(upstream, server, link, asked, due).await {
        Ok(answer) => {
            upstream.answered(server, &in_flight, answer.head.status(), Instant::now());
            let stall = upstream.plan.service.timeouts.stall;
            speak(&mut request, (answer, stall), ((in_flight, room), permit), slot, account)
        }
        Err(Unanswered { failure, blames }) => {
            if let Some(why) = blames.filter(|_| failure.is_servers()) {
                upstream.failed(server, &in_flight, failure, &why);
            }
            gives_up(route, slot.as_ref(), failure)
        }
    }
}

/// Waits until `due`, if it is due at all.
async fn until<F: Future>(due: Option<Instant>, work: F) -> Result<F::Output, Elapsed> {
    match due {
        Some(due) => timeout_at(due, work).await.map_err(|_| Elapsed),
        None => Ok(work.await),
    }
}

/// It was too late.
struct Elapsed;

/// What the server is asked.
fn head(
    forward: &Forward,
    route: &RoutePlan,
    uri: hyper::Uri,
    request: &Request<RequestBody>,
    client: Option<IpAddr>,
) -> Option<Request<Empty>> {
    let protocol = request.headers().get(UPGRADE).cloned()?;
    let host = request.headers().get(HOST).cloned();
    let origin = Origin { client, host: host.as_ref(), is_secure: forward.is_secure };
    let mut headers = request.headers().clone();
    of_request(&mut headers, version(request.version()), &origin).ok()?;
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    if let Some(named) = route.upstream_host.clone().or(host) {
        headers.insert(HOST, named);
    }
    let mut asked = Request::new(Empty::new());
    *asked.method_mut() = request.method().clone();
    *asked.uri_mut() = uri;
    *asked.headers_mut() = headers;
    Some(asked)
}

/// The answer of a server, and its connection, which is driven by whoever has it.
struct Answer {
    head: Response<Incoming>,
    closer: Closer,
    /// What it agrees to speak.
    protocol: Option<HeaderValue>,
    driver: Driver,
}

/// A connection's other half, until it has ended.
pub(crate) struct Driver(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Driver {
    /// Drives it a little. Its end, good or bad, is told by what comes of it, too.
    pub(crate) fn drive(&mut self, cx: &mut Poller<'_>) {
        if let Some(running) = &mut self.0
            && let Poll::Ready(ended) = running.as_mut().poll(cx)
        {
            self.0 = None;
            if let Err(error) = ended {
                tracing::debug!("a tunnel's connection: {error}");
            }
        }
    }

    /// Drives it to its end.
    async fn ended(mut self) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.0.is_none() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// There is no answer.
struct Unanswered {
    failure: Failure,
    /// What is said of the server, if it is to blame.
    blames: Option<String>,
}

async fn ask(
    upstream: &Upstream,
    server: &Server,
    link: Link,
    mut asked: Request<Empty>,
    due: Option<Instant>,
) -> Result<Answer, Unanswered> {
    if !asked.headers().contains_key(HOST)
        && let Ok(named) = HeaderValue::from_str(server.authority())
    {
        asked.headers_mut().insert(HOST, named);
    }
    let first_byte = upstream.plan.service.timeouts.first_byte;
    let of_server = Instant::now() + first_byte;
    let limit = due.map_or(of_server, |due| due.min(of_server));
    let blamed = |failure, why: String| Unanswered { failure, blames: Some(why) };
    let mut answer = match timeout_at(limit, exchange(link, asked)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(blamed(Failure::of_hyper(&error), error.to_string())),
        Err(_) => {
            let is_its_own = is_to_blame(of_server, first_byte, Instant::now());
            let why = || format!("nothing came within {first_byte:?} (`first_byte`)");
            return Err(Unanswered { failure: Failure::Late, blames: is_its_own.then(why) });
        }
    };
    let is_one = of_answer(answer.head.headers_mut());
    is_one.map_err(|TwoEnds| blamed(Failure::Malformed, Failure::Malformed.to_string()))?;
    Ok(answer)
}

async fn exchange(connection: Link, asked: Request<Empty>) -> hyper::Result<Answer> {
    let closer = connection.closer();
    let (mut sender, driver): (SendRequest<Empty>, _) =
        http1::handshake(TokioIo::new(connection)).await?;
    let mut driver = Driver(Some(Box::pin(driver.with_upgrades())));
    let mut sent = pin!(sender.send_request(asked));
    let answer = poll_fn(|cx| {
        driver.drive(cx);
        sent.as_mut().poll(cx)
    });
    let head = answer.await?;
    let protocol = head.headers().get(UPGRADE).cloned();
    Ok(Answer { head, closer, protocol, driver })
}

/// A connection of its own, as long as it is one that its server may have.
pub(crate) type Apart = (InFlight, OwnedSemaphorePermit);

/// What is answered, and what follows it.
fn speak(
    request: &mut Request<RequestBody>,
    (answer, stall): (Answer, Duration),
    (in_flight, permit): (Apart, Option<Permit>),
    slot: Option<Slot>,
    account: Account,
) -> Response<AnswerBody> {
    let Answer { head: mut answer, closer, protocol, driver } = answer;
    *answer.version_mut() = Version::HTTP_11;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let account = Arc::new(account);
        let as_ours = |body| AnswerBody::driven(body, (driver, stall), in_flight).shown_on(account);
        return answer.map(as_ours).map(|body| body.holding(permit));
    }
    let upgraded = hyper::upgrade::on(&mut answer);
    let mut agreed = answer.map(|_| AnswerBody::empty());
    agreed.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        agreed.headers_mut().insert(UPGRADE, protocol);
    }
    let speaking = staunch_http::upgrade(request, agreed, |client| async move {
        let _until_its_end = (in_flight, permit);
        let account = accounts::succeeding(account); // the request has ended
        driver.ended().await;
        let copied = match upgraded.await {
            Ok(server) => {
                let moved = |received, sent| {
                    account.touch();
                    if let Some(slot) = &slot {
                        slot.note(|entry| entry.moved(received, sent));
                    }
                };
                // Its client's socket is hyper's. Of WebSocket the end is said in the words of that.
                let closers = Closers { a: None, b: Some(closer) };
                relay(client, TokioIo::new(server), closers, moved).await
            }
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let (Ok(()), Some(slot)) = (&copied, &slot) {
            slot.note(|entry| entry.ends(End::Whole));
        }
        if let Err(error) = copied {
            tracing::debug!("a tunnel broke off: {error}");
        }
    });
    speaking.unwrap_or_else(|_| Failure::Client.answer())
}
