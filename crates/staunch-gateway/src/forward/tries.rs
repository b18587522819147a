//! A request and its tries, each at another server if there is one.

use std::{
    error::Error,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
};

use hyper::{Request, Response, StatusCode, Version};
use staunch_ledger::Account;
use staunch_pool::{PooledBody, RequestBody};
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
struct TooLate {
    /// That of the route, and so of all tries.
    is_last: bool,
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
        let mut tried_at = begun; // exactly, or a server that has all of the time would not have its own
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
            let sent = server.pool.try_send(request);
            let (failure, again, why) = match self
                .in_time((begun, tried_at), timer.as_mut(), sent)
                .await
            {
                Ok(Ok(mut answered)) => match of_answer(answered.headers_mut()) {
                    Ok(()) => return self.answered(server, in_flight, answered),
                    Err(TwoEnds) => (Failure::Malformed, None, Failure::Malformed.to_string()),
                },
                Ok(Err(failed)) => {
                    let failure = Failure::of(&failed.error);
                    (failure, failed.request, with_sources(&failed.error))
                }
                Err(TooLate { is_last: true }) => return self.gives_up(Failure::Late),
                Err(TooLate { is_last: false }) => {
                    let limit = service.service.timeouts.first_byte;
                    (Failure::Late, None, format!("nothing came within {limit:?} (`first_byte`)"))
                }
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

    fn gives_up(&self, failure: Failure) -> Response<AnswerBody> {
        // That the body was too large or too slow has an answer of its own.
        let of_body = self.progress.and_then(Progress::answer);
        of_body.unwrap_or_else(|| gives_up(self.route, self.slot, failure))
    }

    /// Waits for the head of an answer: as long as the service has for a try, and the route for all
    /// of them. The time counts from when all of the request's body is sent, which has limits of
    /// its own. One timer for all of that.
    async fn in_time<T>(
        &self,
        (begun, tried): (Instant, Instant),
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
                let (due, late) = self.due(begun, tried);
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
    fn due(&self, begun: Instant, tried: Instant) -> (Instant, Option<TooLate>) {
        let of_try = self.upstream.plan.service.timeouts.first_byte;
        let over = match self.progress.map(Progress::over) {
            Some(None) => return (Instant::now() + of_try, None),
            Some(Some(over)) => over,
            None => begun,
        };
        let for_try = tried.max(over) + of_try;
        let last = self.route.route.timeout.map(|limit| begun.max(over) + limit);
        match last.filter(|last| *last < for_try) {
            Some(last) => (last, Some(TooLate { is_last: true })),
            None => (for_try, Some(TooLate { is_last: false })),
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
