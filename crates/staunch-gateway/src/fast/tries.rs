//! The tries of a plain request, each at another server if there is one.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use hyper::StatusCode;
use staunch_http::Transport;
use tokio::time::Instant;

use super::{
    asked::Asked,
    client::Client,
    exchange::{Answered, Broken, Exchange, Telling},
    server::{self, Leased, Unleased},
    stopping::Stopping,
    times::{Late, Times},
    upload::UploadLimits,
};
use crate::{
    balance::InFlight,
    forward::{Failure, untaken},
    plan::RoutePlan,
    upstream::{Server, Upstream},
};

/// The end of a connection that was idle may cross with a request: so much later it is no end of that kind,
/// since a request takes no longer to a server.
const CROSSING: Duration = Duration::from_millis(500);

/// There is no answer of a server.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Its client has gone.
    Gone,
    /// Its client took too long over the body.
    Slow,
    /// The time of its route is over, which says nothing of the server that was asked last.
    Late,
    Failed(Failure),
}

impl Unanswered {
    /// Why no server has answered, if that is what its client is told.
    pub(crate) fn failure(self) -> Option<Failure> {
        match self {
            Unanswered::Gone | Unanswered::Slow => None,
            Unanswered::Late => Some(Failure::Late),
            Unanswered::Failed(failure) => Some(failure),
        }
    }
}

/// How a try failed.
struct Failed {
    why: Unanswered,
    /// It is safe to try again.
    again: bool,
    /// For our own log, if more is known than what kind of failure it was.
    text: Option<String>,
}

impl Failed {
    fn for_good(why: Unanswered) -> Failed {
        Failed { why, again: false, text: None }
    }
}

/// What the tries of a request have in common.
pub(crate) struct Tries<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) route: &'a RoutePlan,
    pub(crate) upstream: &'a Upstream,
    pub(crate) body_rate: u32,
    pub(crate) stopping: &'a Stopping,
    /// The client says no more after this request, or may not.
    pub(crate) is_last: bool,
}

/// An answer whose head the client has.
pub(crate) struct Begun {
    pub(crate) exchange: Exchange,
    pub(crate) answered: Answered,
    /// Until all of it is with the client.
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) at: Instant,
    /// What the rest of the request's body may cost.
    pub(crate) upload: UploadLimits,
}

impl Tries<'_> {
    /// The answer of the first server that has one.
    ///
    /// # Cancel safety
    /// Dropped before its end, the request is given up.
    pub(crate) async fn answer<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
    ) -> Result<Begun, Unanswered> {
        let service = &self.upstream.plan;
        service.budget.deposit();
        let (mut tried, mut now) = (Vec::new(), self.asked.begun);
        loop {
            let Some((index, server)) = self.upstream.pick(&tried, client.ip, now) else {
                return Err(Unanswered::Failed(Failure::NoServer));
            };
            let in_flight = server.begin(now);
            client.note(|entry| entry.asks(index));
            self.asked.account.set_upstream(&server.plan.name);
            let failed = match self.once(client, server).await {
                Ok((exchange, answered)) => {
                    let status = StatusCode::from_u16(answered.status).unwrap_or_default();
                    let at = Instant::now();
                    self.upstream.answered(server, &in_flight, status, at);
                    let upload = self.upload();
                    let in_flight = Some(in_flight);
                    return Ok(Begun { exchange, answered, in_flight, at, upload });
                }
                Err(failed) => failed,
            };
            let Unanswered::Failed(failure) = failed.why else { return Err(failed.why) };
            if failure.is_servers() {
                let why: &dyn fmt::Display = failed.text.as_ref().map_or(&failure, |text| text);
                self.upstream.failed(server, &in_flight, failure, why);
            }
            tried.push(index);
            let may_again = failed.again
                && failure != Failure::Ours
                && tried.len() < service.service.retry.tries.get();
            // The budget last: it is for those that can be tried again.
            if !may_again || !service.budget.withdraw() {
                return Err(Unanswered::Failed(failure));
            }
            self.route.counts.retried();
            now = Instant::now();
        }
    }

    async fn once<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        server: &Server,
    ) -> Result<(Exchange, Answered), Failed> {
        let (leased, was_used) = self.lease(client, server).await?;
        let asked = Instant::now(); // there may have been a line for the connection
        let mut exchange = Exchange::new(leased, self.asked, asked);
        match self.head(client, &mut exchange, &self.times(asked)).await {
            Ok(answered) => Ok((exchange, answered)),
            Err(why) => {
                client.unread = exchange.upload.left();
                Err(self.failed(&why, &exchange, was_used, asked))
            }
        }
    }

    fn times(&self, asked: Instant) -> Times {
        let (route, service) = (&self.route.route, &self.upstream.plan.service);
        Times {
            begun: self.asked.begun,
            asked,
            first_byte: service.timeouts.first_byte,
            total: route.timeout,
            upload: self.upload(),
        }
    }

    fn upload(&self) -> UploadLimits {
        UploadLimits { time: self.route.route.body_time, rate: self.body_rate }
    }

    /// A connection, while the client is there and the time of the request lasts.
    async fn lease<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        server: &Server,
    ) -> Result<(Leased, bool), Failed> {
        let mut leasing = pin!(server::lease(&server.direct));
        let last = self.route.route.timeout.map(|total| self.asked.begun + total);
        poll_fn(|cx| {
            if let Poll::Ready(leased) = leasing.as_mut().poll(cx) {
                let unsent = |Unleased { failure, why }| Failed {
                    why: Unanswered::Failed(failure),
                    again: true,
                    text: Some(why),
                };
                return Poll::Ready(leased.map_err(unsent));
            }
            if client.poll_leaving(cx).is_ready() {
                return Poll::Ready(Err(Failed::for_good(Unanswered::Gone)));
            }
            let Some(last) = last else { return Poll::Pending };
            ready!(client.alarm.as_mut().poll(last, cx));
            Poll::Ready(Err(Failed::for_good(Unanswered::Late)))
        })
        .await
    }

    /// The head of the answer, while its time lasts.
    async fn head<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        exchange: &mut Exchange,
        times: &Times,
    ) -> Result<Answered, Why> {
        poll_fn(|cx| {
            let is_last = self.is_last || self.stopping.is_asked();
            let telling = Telling { is_last, edits: &self.asked.edits };
            let answered = exchange.poll_answer(client, telling, cx);
            exchange.show(&self.asked.account);
            if let Poll::Ready(answered) = answered {
                return Poll::Ready(answered.map_err(Why::Broken));
            }
            loop {
                ready!(client.alarm.as_mut().poll(times.due(&exchange.upload), cx));
                if let Some(late) = times.late(&mut exchange.upload, Instant::now()) {
                    return Poll::Ready(Err(Why::Late(late)));
                }
            }
        })
        .await
    }

    fn failed(&self, why: &Why, exchange: &Exchange, was_used: bool, asked: Instant) -> Failed {
        let may_have_crossed = was_used && asked.elapsed() < CROSSING;
        match why {
            Why::Broken(Broken::Client) => Failed::for_good(Unanswered::Gone),
            Why::Late(Late::Body) => Failed::for_good(Unanswered::Slow),
            Why::Late(Late::Total) => Failed::for_good(Unanswered::Late),
            Why::Late(Late::Answer) => Failed::for_good(Unanswered::Failed(Failure::Late)),
            Why::Broken(Broken::Stalled) => {
                let text = Some(untaken(self.upstream.plan.service.timeouts.stall));
                Failed { text, ..Failed::for_good(Unanswered::Failed(Failure::Late)) }
            }
            Why::Broken(Broken::Nonsense(why)) => {
                let failure = Failure::Malformed;
                let text = Some(format!("{failure}: {why}"));
                Failed { text, ..Failed::for_good(Unanswered::Failed(failure)) }
            }
            // A connection that had been used may have ended just before it was used again.
            Why::Broken(Broken::Server { is_unanswered }) => Failed {
                why: Unanswered::Failed(if may_have_crossed && *is_unanswered {
                    Failure::Stale
                } else {
                    Failure::Closed
                }),
                again: *is_unanswered && self.asked.is_idempotent && !exchange.upload.has_begun(),
                text: None,
            },
        }
    }
}

/// Why a try came to nothing.
enum Why {
    Broken(Broken),
    Late(Late),
}
