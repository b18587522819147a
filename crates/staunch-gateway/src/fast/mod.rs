//! The fast path: plain requests of HTTP/1.1 to servers of HTTP/1.1.
//!
//! Most requests are plain ([`plain`]): there is one way to read them, and they ask for nothing but
//! an answer. For these it is enough to look at the head, to write the one for the server, and to
//! hand over bytes: no map of headers is built, no task drives a connection to a server, nothing is
//! woken but by the kernel. Everything else goes the long way ([`forward`](crate::forward)), from
//! its first byte on; that is the one that knows how to refuse.
//!
//! A connection that is at rest holds no memory of either way. While something of it is in hand,
//! what is read goes into a buffer of the thread ([`scratch`](crate::scratch)), and what cannot be
//! handed over at once is kept, in as much memory as it takes.

mod answer;
mod asked;
mod chunked;
mod client;
mod download;
mod edits;
mod exchange;
mod field;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod lines;
mod outgoing;
mod plain;
mod server;
mod stopping;
mod times;
mod tries;
mod upload;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Body};
use staunch_guard::Guard;
use staunch_http::{
    Heard, HttpLimits, RequestBody, Resting, ServeHttpError, Server, Transport, take_turns,
    wire::{self, Alarm, Looked},
};
use staunch_ledger::Obligation;
use staunch_net::ReadFor;
use staunch_scope::{BoxError, shield};
use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    time::Instant,
};
use tower_service::Service;

use self::{
    answer::Own,
    asked::{Asked, Judged},
    client::Client,
    exchange::Broken,
    stopping::Stopping,
    tries::{Begun, Tries, Unanswered},
};
pub(crate) use self::{field::is_claim, server::Dials};
use crate::{
    access::End,
    forward::{Cancelling, Failure, Forward},
    scratch,
};

/// The requests of a listener on one core; `S` answers those that are not plain.
pub(crate) struct Fast<S> {
    pub(crate) forward: Arc<Forward>,
    pub(crate) limits: HttpLimits,
    pub(crate) guard: Option<Guard>,
    pub(crate) born_at: &'static Location<'static>,
    /// Speaks for `service`, which answers what is not plain.
    pub(crate) long: Server,
    pub(crate) service: S,
}

/// What is larger and not whole is left to hyper: it is copied each time that more of it comes.
const PART_MAX: usize = 64 << 10;

/// Why a connection has ended in the middle of something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FastError {
    #[error("the client left before it had its answer")]
    Left,
    #[error("the server broke off in the middle of an answer")]
    Cut,
    #[error("the client took too long over its body, of which the answer has begun")]
    Slow,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Long(#[from] ServeHttpError),
}

/// What becomes of a connection.
enum Turn {
    /// Nothing of it is in hand.
    Rests,
    /// What it has said is not plain, or not a whole head by then.
    Other(Option<Instant>),
    Ended,
}

/// What there is of a client's next request.
enum Next {
    Judged(Judged),
    Rests,
    Ended,
}

impl<S, B> Fast<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// Answers the requests of one connection.
    pub(crate) fn serve<T: Transport>(
        self: Arc<Self>,
        transport: T,
    ) -> impl Future<Output = Result<(), FastError>> + Send {
        take_turns(transport, move |resting, heard| Arc::clone(&self).work(resting, heard))
    }

    async fn work<T: Transport>(
        self: Arc<Self>,
        resting: Resting<T>,
        heard: Heard,
    ) -> Result<Option<Resting<T>>, FastError> {
        let (alarm, stopping) = (pin!(Alarm::default()), Stopping::default());
        let mut client = Client::new(resting, heard.bytes(), self.forward.is_secure, alarm);
        let turn = {
            let talk = pin!(shield(self.talk(&mut client, &stopping)));
            stopping.tell(talk).await?
        };
        client.gives_room();
        let Client { io, said, begun, .. } = client;
        let resting = Resting::new(io, begun);
        match turn {
            Turn::Rests => Ok(Some(resting)),
            Turn::Other(head_due) => {
                let heard = (&said[..], head_due);
                Ok(Box::pin(self.long.resume(resting, heard, self.service.clone())).await?)
            }
            Turn::Ended => Ok(None),
        }
    }
}

impl<S: Sync> Fast<S> {
    /// Answers plain requests, until there is something else to do.
    async fn talk<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        stopping: &Stopping,
    ) -> Result<Turn, FastError> {
        loop {
            let mut head_due = None;
            let rests_at = client.idle_since.checked_add(self.limits.park_after);
            let next =
                poll_fn(|cx| self.poll_next(client, stopping, (rests_at, &mut head_due), cx));
            // By reference all the way down: a future has room for each name that is held over an await.
            let mut next = next.await;
            let goes_on = match &mut next {
                Next::Judged(Judged::Ask(asked)) => self.answer(client, asked, stopping).await?,
                Next::Judged(Judged::Tell { own, is_head, is_last }) => {
                    let is_whole = client.forgets_body().await;
                    let is_last = *is_last || !is_whole || stopping.is_asked();
                    tell(client, own, *is_head, is_last).await?;
                    !is_last
                }
                Next::Judged(Judged::Other | Judged::Part) => return Ok(Turn::Other(head_due)),
                Next::Rests => return Ok(Turn::Rests),
                Next::Ended => {
                    if stopping.is_asked() {
                        let _ = client.io.shutdown().await; // the client may have gone meanwhile
                    }
                    return Ok(Turn::Ended);
                }
            };
            drop(next);
            if !goes_on {
                client.said = Vec::new();
                wire::linger(&mut client.io).await?;
                return Ok(Turn::Ended);
            }
        }
    }

    fn poll_next<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        stopping: &Stopping,
        (rests_at, head_due): (Option<Instant>, &mut Option<Instant>),
        cx: &mut Poller<'_>,
    ) -> Poll<Next> {
        let heard = scratch::with_scratch(|scratch| {
            let mut filled = client.said.len();
            scratch[..filled].copy_from_slice(&client.said);
            loop {
                let most = self.limits.head_bytes.min(PART_MAX);
                if filled > 0 && client.looked.is_due(&scratch[..filled], most) {
                    let judged = self.judge(client, &scratch[..filled]);
                    if !matches!(judged, Judged::Part) {
                        client.looked = Looked::default();
                        if matches!(judged, Judged::Other) {
                            client.said = scratch[..filled].to_vec();
                        }
                        return Poll::Ready(Next::Judged(judged));
                    }
                }
                let end = (filled + self.limits.head_bytes).min(scratch::LENGTH);
                if end == filled || filled >= PART_MAX {
                    client.said = scratch[..filled].to_vec();
                    client.looked = Looked::default();
                    return Poll::Ready(Next::Judged(Judged::Other));
                }
                let mut buffer = ReadBuf::new(&mut scratch[filled..end]);
                let read = Pin::new(&mut client.io).poll_read(cx, &mut buffer);
                let came = buffer.filled().len();
                if read.is_pending() && filled > 0 {
                    client.said = scratch[..filled].to_vec();
                }
                if ready!(read).is_err() || came == 0 {
                    return Poll::Ready(Next::Ended);
                }
                client.io.rests(false);
                filled += came;
            }
        });
        if heard.is_ready() {
            return heard;
        }
        if !client.said.is_empty() {
            client.io.reads_for(ReadFor::TimedRest);
            let due = *head_due.get_or_insert_with(|| wire::head_due(self.limits.head_time));
            if !stopping.is_asked() {
                ready!(client.alarm.as_mut().poll(due, cx));
            }
            return Poll::Ready(Next::Judged(Judged::Part));
        }
        if stopping.is_asked() {
            return Poll::Ready(Next::Ended);
        }
        client.gives_room();
        client.io.reads_for(ReadFor::Message);
        client.io.rests(true);
        let Some(rests_at) = rests_at else { return Poll::Pending }; // never
        ready!(client.alarm.as_mut().poll(rests_at, cx));
        Poll::Ready(Next::Rests)
    }

    /// Answers a request; whether the client may go on with the next.
    async fn answer<T: Transport>(
        &self,
        client: &mut Client<'_, T>,
        asked: &mut Asked,
        stopping: &Stopping,
    ) -> Result<bool, FastError> {
        let state = Arc::clone(&asked.state);
        let (Some(route), Some(upstream)) =
            (state.plan.routes.get(asked.route), state.upstreams.get(asked.upstream))
        else {
            return Err(FastError::Left); // what was found is there
        };
        let mut cancelling = Cancelling(Some(route));
        let tries = Tries {
            asked: &*asked,
            route,
            upstream,
            body_rate: self.limits.body_rate,
            stopping,
            is_last: asked.is_last,
        };
        let mut begun = tries.answer(client).await;
        let own = match &mut begun {
            Ok(begun) => {
                cancelling.0 = None;
                let status = StatusCode::from_u16(begun.answered.status).unwrap_or_default();
                client.note(|entry| entry.answered(status.as_u16()));
                route.counts.answered(status, begun.at - asked.begun);
                client.idle_since = begun.at;
                return hand_over(client, asked, begun).await;
            }
            Err(Unanswered::Gone) => return Err(FastError::Left),
            Err(Unanswered::Slow) => {
                Own::new(StatusCode::REQUEST_TIMEOUT, "The body took too long to come")
            }
            Err(Unanswered::Late) => Own::from(Failure::Late),
            Err(Unanswered::Failed(failure)) => Own::from(*failure),
        };
        cancelling.0 = None;
        if let Some(failure) = begun.err().and_then(Unanswered::failure) {
            route.counts.failed(failure);
            client.note(|entry| entry.failed(failure));
        }
        let own = own.edited(&asked.edits);
        if let Some(admission) = &mut asked.admission {
            admission.answered();
        }
        route.counts.answered(own.status, asked.begun.elapsed());
        let is_last = !client.forgets_body().await || asked.is_last || stopping.is_asked();
        tell(client, &own, asked.is_head, is_last).await?;
        Ok(!is_last)
    }
}

/// Hands over the rest of an answer; whether the client may go on with the next request.
async fn hand_over<T: Transport>(
    client: &mut Client<'_, T>,
    asked: &mut Asked,
    begun: &mut Begun,
) -> Result<bool, FastError> {
    let Begun { exchange, answered, upload, in_flight, .. } = begun;
    let mut has_waited = false;
    if let Some(admission) = &mut asked.admission {
        admission.answered();
    }
    asked.account.set_obligation(Obligation::EndsWithParent); // a body takes its time
    let rest = poll_fn(|cx| {
        let rest = exchange.poll_rest(client, cx);
        exchange.show(&asked.account);
        client.note(|entry| entry.moved(exchange.upload.got(), exchange.handed()));
        if let Poll::Ready(rest) = rest {
            return Poll::Ready(Some(rest));
        }
        has_waited = true;
        while exchange.upload.is_coming() {
            ready!(client.alarm.as_mut().poll(exchange.upload.due(upload), cx));
            if exchange.upload.is_late(upload, Instant::now()) {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    });
    let rest = rest.await;
    if has_waited {
        client.idle_since = Instant::now();
    }
    *in_flight = None;
    match rest {
        Some(Ok(())) => {
            exchange.end(client);
            client.noted(End::Whole);
            Ok(!answered.is_last)
        }
        Some(Err(Broken::Client)) => Err(FastError::Left),
        None => {
            client.noted(End::Slow);
            if exchange.ends_with_connection() {
                client.io.reset_on_close();
            }
            Err(FastError::Slow)
        }
        Some(Err(Broken::Server { .. } | Broken::Stalled | Broken::Nonsense(_))) => {
            client.noted(End::Server);
            if exchange.ends_with_connection() {
                client.io.reset_on_close();
            }
            Err(FastError::Cut)
        }
    }
}

/// Tells the client something of our own.
async fn tell<T: Transport>(
    client: &mut Client<'_, T>,
    own: &Own,
    is_head: bool,
    is_last: bool,
) -> io::Result<()> {
    wire::clear_room(&mut client.out);
    own.write(&mut client.out, is_head, is_last);
    let body = if is_head { 0 } else { own.body.len() as u64 };
    client.note(|entry| {
        entry.answered(own.status.as_u16());
        entry.sent = body;
    });
    client.io.write_all(&client.out).await?;
    client.io.flush().await?;
    client.idle_since = Instant::now();
    client.noted(End::Whole);
    Ok(())
}
