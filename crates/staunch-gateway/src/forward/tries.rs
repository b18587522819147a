//! A request and its tries, each at another server if there is one.

use std::{
    error::Error,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use hyper::{Request, Response, StatusCode, Version};
use staunch_ledger::Account;
use staunch_pool::{HttpError, PooledBody, RequestBody};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    answer::AnswerBody,
    body::Progress,
    failure::Failure,
    gives_up,
    headers::{TwoEnds, of_answer},
};
use crate::{
    access::Slot,
    balance::InFlight,
    plan::RoutePlan,
    upstream::{Server, Upstream},
};

/// What the tries of a request have in common.
pub(crate) struct Tries<'r> {
    pub(crate) route: &'r RoutePlan,
    pub(crate) upstream: &'r Upstream,
    pub(crate) client: Option<IpAddr>,
    /// Of the request's body, if it has one that is sent as it comes.
    pub(crate) progress: Option<&'r Progress>,
    /// What will be logged of it.
    pub(crate) slot: Option<&'r Slot>,
    /// That of the exchange.
    pub(crate) account: Arc<Account>,
}

/// A try that took too long, and which time it was.
enum TooLate {
    /// That of the route, and so of all tries.
    Route,
    FirstByte,
    /// For as long the server has taken nothing of the body.
    Stall,
}

/// How a try failed.
enum Failed {
    /// The time of the route is over, which says nothing of the server.
    Late,
    Try(Box<FailedTry>),
}

struct FailedTry {
    failure: Failure,
    /// The request, if it is safe to try again.
    again: Option<Request<RequestBody>>,
    /// For our own log.
    why: String,
}

impl Failed {
    fn of(error: &HttpError, again: Option<Request<RequestBody>>) -> Failed {
        let (failure, why) = (Failure::of(error), with_sources(error));
        Failed::Try(Box::new(FailedTry { failure, again, why }))
    }

    fn for_good(failure: Failure, why: String) -> Failed {
        Failed::Try(Box::new(FailedTry { failure, again: None, why }))
    }
}

impl Tries<'_> {
    /// The answer of the first server that has one.
    ///
    /// # Cancel safety
    /// Dropped before its end, the request is given up.
    pub(crate) async fn answer(&self, mut request: Request<RequestBody>) -> Response<AnswerBody> {
        let service = &self.upstream.plan;
        service.budget.deposit();
        let mut tried = Vec::new();
        let begun = Instant::now();
        let mut tried_at = begun;
        let mut timer = pin!(sleep_until(begun));
        loop {
            let Some((index, server)) = self.upstream.pick(&tried, self.client, tried_at) else {
                return self.gives_up(Failure::NoServer);
            };
            let in_flight = server.begin(tried_at);
            if let Some(slot) = self.slot {
                slot.note(|entry| entry.asks(index));
            }
            self.account.set_upstream(&server.plan.name);
            let FailedTry { failure, again, why } =
                match self.once(server, request, begun, timer.as_mut()).await {
                    Ok(answer) => return self.answered(server, in_flight, answer),
                    Err(Failed::Late) => return self.gives_up(Failure::Late),
                    Err(Failed::Try(failed)) => *failed,
                };
            let failure = match self.progress {
                Some(progress) if progress.has_failed() => Failure::Client,
                _ => failure,
            };
            if failure.is_servers() {
                self.upstream.failed(server, &in_flight, failure, &why);
            }
            tried.push(index);
            let may_again =
                failure != Failure::Ours && tried.len() < service.service.retry.tries.get();
            match again {
                // The budget last: it is for those that can be tried again.
                Some(again) if may_again && service.budget.withdraw() => {
                    self.route.counts.retried();
                    request = again;
                    tried_at = Instant::now();
                }
                _ => return self.gives_up(failure),
            }
        }
    }

    async fn once(
        &self,
        server: &Server,
        request: Request<RequestBody>,
        begun: Instant,
        mut timer: Pin<&mut Sleep>,
    ) -> Result<Response<PooledBody>, Failed> {
        let opened = self.in_time((begun, None), timer.as_mut(), server.pool.open()).await;
        let opened = match opened.map_err(|_: TooLate| Failed::Late)? {
            Ok(opened) => opened,
            Err(error) => return Err(Failed::of(&error, Some(request))),
        };
        let asked = Instant::now(); // there may have been a line for the connection
        let sent = opened.try_send(request);
        match self.in_time((begun, Some(asked)), timer, sent).await {
            Ok(Ok(answer)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let why = "101, and nobody has asked for another protocol".to_owned();
                Err(Failed::for_good(Failure::Malformed, why))
            }
            Ok(Ok(mut answer)) => {
                of_answer(answer.headers_mut()).map(|()| answer).map_err(|TwoEnds| {
                    Failed::for_good(Failure::Malformed, Failure::Malformed.to_string())
                })
            }
            Ok(Err(failed)) => Err(Failed::of(&failed.error, failed.request)),
            Err(TooLate::Route) => Err(Failed::Late),
            Err(TooLate::FirstByte) => {
                let limit = self.upstream.plan.service.timeouts.first_byte;
                let why = format!("nothing came within {limit:?} (`first_byte`)");
                Err(Failed::for_good(Failure::Late, why))
            }
            Err(TooLate::Stall) => {
                let why = untaken(self.upstream.plan.service.timeouts.stall);
                Err(Failed::for_good(Failure::Late, why))
            }
        }
    }

    fn gives_up(&self, failure: Failure) -> Response<AnswerBody> {
        // That the body was too large or too slow has an answer of its own.
        let of_body = self.progress.and_then(Progress::answer);
        of_body.unwrap_or_else(|| gives_up(self.route, self.slot, failure))
    }

    /// Waits for a connection, which has a limit of its own, or for the head of an answer to what was `asked`
    /// on it: as long as the service has for that, and the route for all tries. The time counts from
    /// when all of the request's body is sent, which has limits of its own. One timer for all of that.
    async fn in_time<T>(
        &self,
        (begun, asked): (Instant, Option<Instant>),
        mut timer: Pin<&mut Sleep>,
        sent: impl Future<Output = T>,
    ) -> Result<T, TooLate> {
        let mut sent = pin!(sent);
        let mut is_set = false;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            loop {
                let (due, late) = self.due(begun, asked);
                if !is_set || timer.is_elapsed() {
                    timer.as_mut().reset(due);
                    is_set = true;
                }
                ready!(timer.as_mut().poll(cx));
                if let Some(late) = late
                    && due <= Instant::now()
                {
                    return Poll::Ready(Err(late));
                }
            }
        })
        .await
    }

    /// When it is too late, and for what; while the body is on its way, when to look again.
    fn due(&self, begun: Instant, asked: Option<Instant>) -> (Instant, Option<TooLate>) {
        let first_byte = self.upstream.plan.service.timeouts.first_byte;
        let over = match self.progress.map(Progress::over) {
            Some(None) => return self.untaken(asked),
            Some(Some(over)) => over,
            None => begun,
        };
        let last = self.route.route.timeout.map(|limit| begun.max(over) + limit);
        let of_try = asked.map(|asked| asked.max(over) + first_byte);
        match (last, of_try) {
            (None, None) => (Instant::now() + first_byte, None),
            (Some(due), None) => (due, Some(TooLate::Route)),
            (last, Some(of_try)) => {
                let due = last.map_or(of_try, |last| last.min(of_try));
                let is_servers = is_to_blame(of_try, first_byte, due);
                (due, Some(if is_servers { TooLate::FirstByte } else { TooLate::Route }))
            }
        }
    }

    /// The same, while the body is on its way: its client has limits of its own, and the server is to take it. That
    /// it is at its end wakes nobody, so it is looked at as soon as anything could be too late from there on.
    fn untaken(&self, asked: Option<Instant>) -> (Instant, Option<TooLate>) {
        let timeouts = &self.upstream.plan.service.timeouts;
        let soonest = self.route.route.timeout.unwrap_or(Duration::MAX).min(timeouts.first_byte);
        let look_at = Instant::now() + soonest.min(timeouts.stall);
        let since = self.progress.and_then(Progress::untaken_since);
        let due = asked.zip(since).map(|(asked, since)| asked.max(since) + timeouts.stall);
        match due.filter(|due| *due <= look_at) {
            Some(due) => (due, Some(TooLate::Stall)),
            None => (look_at, None),
        }
    }

    fn answered(
        &self,
        server: &Server,
        in_flight: InFlight,
        answer: Response<PooledBody>,
    ) -> Response<AnswerBody> {
        self.upstream.answered(server, &in_flight, answer.status(), Instant::now());
        let account = Arc::clone(&self.account);
        let as_ours = |body| AnswerBody::server(body, in_flight).shown_on(account);
        let mut answer = answer.map(as_ours);
        *answer.version_mut() = Version::HTTP_11; // ours, whatever the server speaks
        answer
    }
}

/// Whether a server is to blame for an answer that has not begun at `now`, of whose time `first_byte` the end
/// is `due`. Nine tenths of it are enough: some went by before it could be asked, and what all tries have may be
/// the same time.
pub(crate) fn is_to_blame(due: Instant, first_byte: Duration, now: Instant) -> bool {
    now + first_byte / 10 >= due
}

/// Why a server is given up that does not take a body.
pub(crate) fn untaken(stall: Duration) -> String {
    format!("nothing of the body was taken for {stall:?} (`stall`)")
}

/// What an error says, and those behind it.
fn with_sources(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        source = error.source();
    }
    said
}

/// Whether a server that answers so had better be left out.
pub(crate) fn speaks_against(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
