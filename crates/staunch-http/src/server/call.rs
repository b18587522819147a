//! One request: its body limited, its service called.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    header::{CONNECTION, CONTENT_TYPE, HeaderValue},
};
use pin_project_lite::pin_project;
use staunch_scope::{Shield, shield};
use tower_service::Service;

use super::{
    body::{AnswerBody, RequestBody},
    exchange::Exchange,
};
use crate::limits::HttpLimits;

/// Has `service` answer a request whose body is limited; or says why not.
pub(super) fn answer<S, B>(
    service: S,
    request: Result<Request<RequestBody>, Box<Response<Full<Bytes>>>>,
) -> Answering<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    match request {
        Ok(request) => {
            Answering::Called { called: shield(Call::Waits { service, request: Some(request) }) }
        }
        Err(refusal) => Answering::Refused { refusal: Some(refusal) },
    }
}

pin_project! {
    /// An answer in the making. By hand, like [`Call`]: an `async` block has room for the request
    /// in each of its states, and each of a connection's streams moves all of it.
    #[project = AnsweringProjection]
    pub(super) enum Answering<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Called { #[pin] called: Shield<Call<S>> },
        Refused { refusal: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<S, B> Future for Answering<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    type Output = Response<Either<B, Full<Bytes>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProjection::Called { called } => {
                called.poll(cx).map(|Ok(answer)| answer.map(Either::Left))
            }
            AnsweringProjection::Refused { refusal } => {
                Poll::Ready((*refusal.take().expect(ONCE)).map(Either::Right))
            }
        }
    }
}

pin_project! {
    /// An answer whose body keeps what follows from `guard`, which is kept until then.
    pub(super) struct Answered<F, G> {
        #[pin]
        answering: F,
        guard: Option<G>,
    }
}

impl<F, G> Answered<F, G> {
    pub(super) fn new(answering: F, guard: G) -> Answered<F, G> {
        Answered { answering, guard: Some(guard) }
    }
}

impl<F, G, B> Future for Answered<F, G>
where
    F: Future<Output = Response<B>>,
    G: Guard,
{
    type Output = Result<Response<AnswerBody<B, G::OfBody>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answering.poll(cx));
        let guard = this.guard.take().expect(ONCE).answered();
        Poll::Ready(Ok(answer.map(|body| AnswerBody::new(body, guard))))
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

/// The request with its body limited; a refusal when it announces more.
pub(super) fn within(
    limits: &HttpLimits,
    request: Request<Incoming>,
    exchange: Exchange,
) -> Result<Request<RequestBody>, Box<Response<Full<Bytes>>>> {
    let announced = request.body().size_hint().lower();
    if announced <= limits.body_bytes as u64 {
        return Ok(request.map(|body| RequestBody::new(body, limits, exchange)));
    }
    let text = format!(
        "The request announces a body of {announced} bytes; at most {} are taken.\n",
        limits.body_bytes
    );
    let mut refusal = Response::new(Full::new(Bytes::from(text)));
    *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    let headers = refusal.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if request.version() != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close")); // its body was not read
    }
    Err(Box::new(refusal))
}
