//! Requests without a body over HTTP/1.1, answered without hyper.
//!
//! Most requests are plain ([`head`]): there is one way to read them, and they ask for nothing but an
//! answer. Of these the head is read where the kernel puts it, the service is called, and its answer
//! written. Everything else is hyper's, from its first byte on, on the same connection; that is the one
//! who knows how to refuse. What a request is to its service, and to the ledger, is the same either way.

mod head;
mod sending;

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use hyper::{Method, Request, Response, body::Body};
use staunch_ledger::Obligation;
use staunch_net::ReadFor;
use staunch_scope::{BoxError, Wait};
use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    time::Instant,
};
use tower_service::Service;

use self::{
    head::{Plain, Said},
    sending::Sending,
};
use super::{
    body::{AnswerBody, RequestBody},
    call::call,
    exchange::Exchange,
    request::Requests,
    resting::Resting,
    socket::Transport,
    wire::{self, Alarm, Looked},
};
use crate::error::ServeHttpError;

/// Read at a time: a head that is larger is not plain.
const ROOM: usize = 16 << 10;

/// A connection while something of it is in hand.
pub(super) struct Quick<'s, T> {
    io: T,
    /// What its client has said and nobody has read.
    said: Vec<u8>,
    looked: Looked,
    /// Until when the head must be whole of which that is a part.
    head_due: Option<Instant>,
    /// Requests that it has had.
    begun: u32,
    requests: &'s Requests<'s>,
    exchange: Exchange,
    alarm: Pin<&'s mut Alarm>,
    /// Since when nothing is in hand, while that is so.
    idle_since: Instant,
    wait: Wait,
    /// The task is asked to stop: no request follows the one in hand.
    is_stopping: bool,
}

/// What becomes of a connection.
pub(super) enum Turn<T> {
    /// Nothing of it is in hand.
    Rests(Resting<T>),
    /// What its client has said is not plain, or did not become a whole head in time.
    Other(Resting<T>, Vec<u8>, Option<Instant>),
    Ended,
}

/// What there is of a client's next request.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, and most are plain")]
enum Next {
    Plain(Plain),
    Other,
    Rests,
    /// An error when some of a head was there.
    Ended(Result<(), ServeHttpError>),
}

impl<'s, T: Transport> Quick<'s, T> {
    /// One whose client has begun to speak; its head must be whole by `head_due`, if that is known.
    pub(super) fn new(
        resting: Resting<T>,
        (heard, head_due): (&[u8], Option<Instant>),
        requests: &'s Requests<'s>,
        alarm: Pin<&'s mut Alarm>,
    ) -> Quick<'s, T> {
        let Resting { transport: io, begun } = resting;
        let (said, exchange, wait) = (heard.to_vec(), Exchange::default(), Wait::new());
        let idle_since = Instant::now();
        Quick {
            io,
            said,
            looked: Looked::default(),
            head_due,
            begun,
            requests,
            exchange,
            alarm,
            idle_since,
            wait,
            is_stopping: false,
        }
    }

    /// Answers plain requests, until there is something else to do.
    pub(super) async fn talk<S, B>(mut self, service: &S) -> Result<Turn<T>, ServeHttpError>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        loop {
            let rests_at = self.idle_since.checked_add(self.requests.limits().park_after);
            let mut next = poll_fn(|cx| self.poll_next(rests_at, cx)).await;
            let plain = match &mut next {
                Next::Plain(plain) => plain,
                Next::Rests => return Ok(Turn::Rests(Resting::new(self.io, self.begun))),
                Next::Other => {
                    let resting = Resting::new(self.io, self.begun);
                    return Ok(Turn::Other(resting, self.said, self.head_due));
                }
                Next::Ended(Ok(())) => {
                    if self.is_stopping {
                        let _ = self.io.shutdown().await; // the client may have gone meanwhile
                    }
                    return Ok(Turn::Ended);
                }
                Next::Ended(ended) => {
                    return std::mem::replace(ended, Ok(())).map(|()| Turn::Ended);
                }
            };
            self.head_due = None;
            let says_no_more = plain.is_last && self.said.is_empty();
            let goes_on = self.answer(plain, service.clone()).await?;
            if !goes_on {
                let ended = if says_no_more {
                    self.io.shutdown().await
                } else {
                    wire::linger(&mut self.io).await
                };
                return ended.map(|()| Turn::Ended).map_err(broken);
            }
        }
    }

    /// What is next; it rests from `rests_at` on, where `None` is never.
    fn poll_next(&mut self, rests_at: Option<Instant>, cx: &mut Poller<'_>) -> Poll<Next> {
        self.hear_of_stop(cx);
        if let Poll::Ready(next) = self.poll_head(cx) {
            return Poll::Ready(next);
        }
        if !self.said.is_empty() {
            self.io.reads_for(ReadFor::TimedRest);
            let head_time = self.requests.limits().head_time;
            let due = *self.head_due.get_or_insert_with(|| wire::head_due(head_time));
            if !self.is_stopping {
                ready!(self.alarm.as_mut().poll(due, cx));
            }
            return Poll::Ready(Next::Other); // hyper's socket says that it is late
        }
        if self.is_stopping {
            return Poll::Ready(Next::Ended(Ok(())));
        }
        self.io.reads_for(ReadFor::Message);
        self.io.rests(true);
        let Some(rests_at) = rests_at else { return Poll::Pending };
        ready!(self.alarm.as_mut().poll(rests_at, cx));
        Poll::Ready(Next::Rests)
    }

    /// Reads until it is clear what the next request is. Of a plain one the head is taken from what was
    /// said.
    fn poll_head(&mut self, cx: &mut Poller<'_>) -> Poll<Next> {
        if self.said.len() >= ROOM {
            return Poll::Ready(Next::Other);
        }
        let mut room = [const { MaybeUninit::uninit() }; ROOM];
        let mut buffer = ReadBuf::uninit(&mut room);
        buffer.put_slice(&self.said);
        loop {
            let filled = buffer.filled().len();
            let said = match filled {
                0 => Said::Part,
                ROOM => Said::Other,
                _ if !self.looked.is_due(buffer.filled(), self.requests.limits().head_bytes) => {
                    Said::Part
                }
                _ => head::read(buffer.filled(), self.requests.limits()),
            };
            if !matches!(said, Said::Part) {
                self.looked = Looked::default();
            }
            match said {
                Said::Part => {}
                Said::Other => {
                    self.said = buffer.filled().to_vec();
                    return Poll::Ready(Next::Other);
                }
                Said::Plain(plain) => {
                    self.said = buffer.filled().get(plain.length..).unwrap_or_default().to_vec();
                    return Poll::Ready(Next::Plain(plain));
                }
            }
            let read = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
            let is_over = buffer.filled().len() == filled;
            if read.is_pending() && filled > self.said.len() {
                self.said = buffer.filled().to_vec();
            }
            match ready!(read) {
                Ok(()) if !is_over => {}
                Ok(()) | Err(_) if filled == 0 => return Poll::Ready(Next::Ended(Ok(()))),
                Ok(()) => return Poll::Ready(Next::Ended(Err(ServeHttpError::ClientLeft))),
                Err(error) => return Poll::Ready(Next::Ended(Err(broken(error)))),
            }
            self.io.rests(false);
        }
    }

    /// Answers a request; whether the client may go on with the next.
    async fn answer<S, B>(&mut self, plain: &mut Plain, service: S) -> Result<bool, ServeHttpError>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        self.begun = self.begun.saturating_add(1);
        let is_head = plain.request.method() == Method::HEAD;
        let limit = self.requests.limits().requests;
        let mut is_last = plain.is_last || self.begun >= limit;
        let (begun, mut has_waited) = (Instant::now(), false);
        let (answer, piece) = {
            let request = (std::mem::take(&mut plain.request), begun);
            let mut call = pin!(call(service, request, self.requests, self.exchange.clone()));
            poll_fn(|cx| {
                self.hear_of_stop(cx);
                if let Poll::Ready(answered) = call.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answered));
                }
                has_waited = true;
                let left = wire::poll_leaving(&mut self.io, &mut self.said, cx);
                self.io.account().touch();
                self.io.reads_for(ReadFor::Leaving);
                left.map(|left| Err(gone(left)))
            })
            .await?
        };
        is_last |= self.is_stopping;
        piece.account().set_obligation(Obligation::EndsWithParent); // a body takes its time
        let (mut sending, body) = Sending::begin(answer, is_head, &mut is_last);
        let mut body = pin!(Some(AnswerBody::new(body, (), piece, is_head)));
        poll_fn(|cx| {
            let sent = self.poll_sent(&mut sending, body.as_mut(), cx);
            has_waited |= sent.is_pending();
            sent
        })
        .await?;
        self.io.reads_for(ReadFor::Message);
        self.idle_since = if has_waited { Instant::now() } else { begun };
        Ok(!is_last)
    }

    /// Ready when the client has all of its answer. The body is dropped as soon as all of it is made.
    fn poll_sent<B>(
        &mut self,
        sending: &mut Sending,
        mut body: Pin<&mut Option<B>>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), ServeHttpError>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        loop {
            let is_made = match body.as_mut().as_pin_mut() {
                Some(body) => make(sending, body, cx).is_ready(),
                None => true,
            };
            if sending.has_ended() {
                body.set(None);
            }
            match sending.poll_sent(&mut self.io, cx) {
                Poll::Ready(Ok(())) if sending.has_ended() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if is_made => {}
                Poll::Ready(Ok(())) | Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let left = wire::poll_leaving(&mut self.io, &mut self.said, cx);
        left.map(|left| Err(gone(left)))
    }

    fn hear_of_stop(&mut self, cx: &mut Poller<'_>) {
        self.is_stopping |= self.wait.poll_cancelled(cx).is_ready();
    }
}

/// Has the body make what there is room for; pending when that is not there yet.
fn make<B>(sending: &mut Sending, mut body: Pin<&mut B>, cx: &mut Poller<'_>) -> Poll<()>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    while sending.has_room() {
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                // Trailers are left out: the client has not said that it takes them.
                if let Ok(data) = frame.into_data() {
                    sending.add(data);
                }
            }
            Some(Err(error)) => sending.fail(error),
            None => sending.end(),
        }
        if body.is_end_stream() {
            sending.end();
        }
    }
    Poll::Ready(())
}

/// Why the client cannot be heard any more.
fn gone(left: io::Result<()>) -> ServeHttpError {
    left.map_or_else(broken, |()| ServeHttpError::ClientLeft)
}

/// Where the head of a plain request ends.
#[cfg(feature = "fuzzing")]
pub(super) fn plain_head(bytes: &[u8], limits: &crate::HttpLimits) -> Option<usize> {
    match head::read(bytes, limits) {
        Said::Plain(plain) => Some(plain.length),
        Said::Part | Said::Other => None,
    }
}

fn broken(error: impl Into<BoxError>) -> ServeHttpError {
    ServeHttpError::Broken(error.into())
}
