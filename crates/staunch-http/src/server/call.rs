//! One request: its body limited, its service called, its time limited.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    header::{CONTENT_LENGTH, COOKIE, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};
use pin_project_lite::pin_project;
use staunch_ledger::Obligation;
use staunch_scope::{Piece, Shield, shield};
use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep},
};
use tower_service::Service;

use super::{
    body::{AnswerBody, RequestBody},
    exchange::Exchange,
    head, refusal,
    request::Requests,
};
use crate::limits::{Allowance, HttpLimits};

/// Has `service` answer a request; or says why not.
pub(super) fn answer<S, B>(
    service: S,
    request: Request<Incoming>,
    requests: &Requests<'_>,
    exchange: Exchange,
) -> Answering<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    let may = requests.limits().allowance(request.uri().path());
    let piece = requests.begin(&request, Instant::now(), may.time);
    match within(requests, &may, request, exchange.clone()) {
        Ok(request) => Answering::Called {
            called: shield(Working::new(service, request, piece, exchange, &may)),
        },
        Err(refusal) => Answering::Refused { refused: Some((refusal, piece)) },
    }
}

/// Has `service` answer a request that came at `begun`, has no body, and whose head is fit.
pub(super) fn call<S, B>(
    service: S,
    (request, begun): (Request<()>, Instant),
    requests: &Requests<'_>,
    exchange: Exchange,
) -> Shield<Working<S>>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    let may = requests.limits().allowance(request.uri().path());
    let piece = requests.begin(&request, begun, may.time);
    let request = request.map(|()| RequestBody::empty(&may, exchange.clone()));
    shield(Working::new(service, request, piece, exchange, &may))
}

type Refusal = Response<Full<Bytes>>;

pin_project! {
    /// An answer in the making. By hand, like [`Call`]: an `async` block has room for the request
    /// in each of its states, and each of a connection's streams moves all of it.
    #[project = AnsweringProjection]
    pub(super) enum Answering<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Called { #[pin] called: Shield<Working<S>> },
        Refused { refused: Option<(Box<Refusal>, Piece)> },
        Answered,
    }
}

impl<S, B> Future for Answering<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    type Output = (Response<Either<B, Full<Bytes>>>, Piece);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let answered = match self.as_mut().project() {
            AnsweringProjection::Called { called } => ready!(called.poll(cx)),
            AnsweringProjection::Refused { refused } => {
                let (refusal, piece) = refused.take().expect(ONCE);
                (refusal.map(Either::Right), piece)
            }
            AnsweringProjection::Answered => return Poll::Pending, // it has just answered
        };
        self.set(Answering::Answered); // the handler leaves what it has of the request
        Poll::Ready(answered)
    }
}

pin_project! {
    /// A handler at work, within its time.
    pub(super) struct Working<S>
    where
        S: Service<Request<RequestBody>>,
    {
        #[pin]
        call: Call<S>,
        piece: Option<Piece>,
        exchange: Exchange,
        limit: Duration,
        // From the first wait: an answer at once needs no timer.
        due: Option<Pin<Box<Sleep>>>,
    }
}

impl<S: Service<Request<RequestBody>>> Working<S> {
    fn new(
        service: S,
        request: Request<RequestBody>,
        piece: Piece,
        exchange: Exchange,
        may: &Allowance,
    ) -> Working<S> {
        let call = Call::Waits { service, request: Some(request) };
        Working { call, piece: Some(piece), exchange, limit: may.time, due: None }
    }
}

impl<S, B> Future for Working<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    type Output = (Response<Either<B, Full<Bytes>>>, Piece);

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let piece = this.piece.as_ref().expect(ONCE);
        let answer = match piece.poll(|| this.call.poll(cx)) {
            Poll::Ready(Ok(answer)) => {
                refusal::amended(piece.account(), answer, this.exchange.breach())
            }
            Poll::Pending => {
                let limit = *this.limit;
                let due = this.due.get_or_insert_with(|| Box::pin(sleep(limit)));
                // Whatever the handler has used up of what tokio lets a task do in one turn.
                ready!(pin!(unconstrained(due.as_mut())).poll(cx));
                refusal::late(piece.account(), limit).map(Either::Right)
            }
        };
        Poll::Ready((answer, this.piece.take().expect(ONCE)))
    }
}

pin_project! {
    /// An answer whose body keeps what follows from `guard`, which is kept until then.
    pub(super) struct Answered<F, G> {
        #[pin]
        answering: F,
        guard: Option<G>,
        // Over HTTP/2: whether to a `HEAD`.
        over_http2: Option<bool>,
    }
}

impl<F, G> Answered<F, G> {
    pub(super) fn new(answering: F, guard: G) -> Answered<F, G> {
        Answered { answering, guard: Some(guard), over_http2: None }
    }

    /// Of the answer to a `HEAD`, and of one whose status has no content, the headers alone are sent,
    /// whatever was made for it (RFC 9110, section 6.4.1). Over HTTP/1 hyper sees to it, or whoever sends
    /// the answer instead.
    pub(super) fn over_http2(self, is_head: bool) -> Answered<F, G> {
        Answered { over_http2: Some(is_head), ..self }
    }
}

impl<F, G, B> Future for Answered<F, G>
where
    F: Future<Output = (Response<B>, Piece)>,
    G: Guard,
    B: Body,
{
    type Output = Result<Response<AnswerBody<B, G::OfBody>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut answer, piece) = ready!(this.answering.poll(cx));
        let is_silent = silence(&mut answer, *this.over_http2);
        piece.account().set_obligation(Obligation::EndsWithParent); // a body takes its time
        let guard = this.guard.take().expect(ONCE).answered();
        Poll::Ready(Ok(answer.map(|body| AnswerBody::new(body, guard, piece, is_silent))))
    }
}

/// Whether nothing of the answer's body is sent. What its head says of it is made to fit.
fn silence<B: Body>(answer: &mut Response<B>, over_http2: Option<bool>) -> bool {
    match (answer.status(), over_http2) {
        // RFC 9110, 8.6 and 15.3.6: of the first nothing is said; the other's is empty, and hyper says so.
        (StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT, _) => {
            answer.headers_mut().remove(CONTENT_LENGTH);
            answer.headers_mut().remove(TRANSFER_ENCODING);
            true
        }
        // What a GET would have been told may be said, of which the handler alone knows.
        (StatusCode::NOT_MODIFIED, Some(_)) => true,
        (_, Some(true)) => {
            say_length(answer);
            true
        }
        _ => false,
    }
}

/// Says how long the body is that is not sent, as hyper says it of one that is.
fn say_length<B: Body>(answer: &mut Response<B>) {
    let length = answer.body().size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length
        && !answer.headers().contains_key(CONTENT_LENGTH)
    {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// What is kept while a handler works.
pub(super) trait Guard {
    /// What is kept while the body of its answer is made.
    type OfBody;

    /// The handler has answered.
    fn answered(self) -> Self::OfBody;
}

const ONCE: &str = "a future is not polled after its end";

pin_project! {
    /// A call of a service, which may not be ready for it.
    #[project = CallProjection]
    pub(super) enum Call<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Waits { service: S, request: Option<Request<RequestBody>> },
        Answers { #[pin] answer: S::Future },
    }
}

impl<S> Future for Call<S>
where
    S: Service<Request<RequestBody>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        if let CallProjection::Waits { service, request } = self.as_mut().project() {
            ready!(service.poll_ready(cx))?;
            let answer = service.call(request.take().expect(ONCE));
            self.set(Call::Answers { answer });
        }
        match self.project() {
            CallProjection::Answers { answer } => answer.poll(cx),
            CallProjection::Waits { .. } => Poll::Pending, // it has just answered
        }
    }
}

/// The request with its body limited; a refusal when its head is unfit or says that it is over a limit.
fn within(
    requests: &Requests<'_>,
    may: &Allowance,
    mut request: Request<Incoming>,
    exchange: Exchange,
) -> Result<Request<RequestBody>, Box<Refusal>> {
    let refused = refused(requests.limits(), may, &mut request);
    // Also of one that is refused: its client may be sending it.
    let request = request.map(|body| RequestBody::new(body, may, exchange));
    match refused {
        None => Ok(request),
        Some(refusal) => {
            requests.refused(refusal.status(), Some(&request));
            Err(Box::new(refusal))
        }
    }
}

fn refused(
    limits: &HttpLimits,
    may: &Allowance,
    request: &mut Request<Incoming>,
) -> Option<Refusal> {
    let is_http2 = request.version() == Version::HTTP_2;
    if let Err(unfit) = head::check(request) {
        return Some(refusal::unfit(unfit, is_http2));
    }
    let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri > limits.uri_bytes {
        return Some(refusal::long_uri(uri, limits.uri_bytes, is_http2));
    }
    let headers = lines(request.headers());
    if is_http2 && headers > limits.headers {
        return Some(refusal::many_headers(headers, limits.headers));
    }
    let announced = request.body().size_hint().lower();
    (announced > may.body_bytes as u64).then(|| refusal::large(announced, may.body_bytes, is_http2))
}

/// How many headers a client of HTTP/1 would have sent: over HTTP/2 each cookie may be one (RFC 9113, 8.2.3).
fn lines(headers: &HeaderMap) -> usize {
    headers.len() - headers.get_all(COOKIE).iter().count().saturating_sub(1)
}
