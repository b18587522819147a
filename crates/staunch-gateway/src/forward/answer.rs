//! Answers: a server's, or our own when there is none.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use staunch_ledger::Account;
use staunch_policy::{Permit, Refusal};
use staunch_pool::PooledBody;
use staunch_scope::BoxError;
use tokio::time::{Sleep, sleep};

use super::trailers::clean;
use crate::{
    balance::InFlight,
    tunnel::{Apart, Driver},
};

/// The body of an answer.
pub(crate) struct AnswerBody {
    kind: Kind,
    /// That of the exchange with the server.
    account: Option<Arc<Account>>,
    /// What the route's policies have decided on: its trailers have nothing to say of that.
    decided: Vec<HeaderName>,
    /// The request counts as in flight as long as this is there.
    _permit: Option<Permit>,
}

enum Kind {
    /// Our own; empty once it is sent.
    Own(Bytes),
    /// A server's, which counts as a request in flight until it is at its end.
    Server { body: PooledBody, _in_flight: InFlight },
    /// A server's, on a connection that is driven here.
    Driven { body: Incoming, driver: Driver, stall: Stall, _in_flight: Apart },
}

impl AnswerBody {
    pub(crate) fn server(body: PooledBody, in_flight: InFlight) -> AnswerBody {
        Kind::Server { body, _in_flight: in_flight }.into()
    }

    pub(crate) fn driven(
        body: Incoming,
        (driver, limit): (Driver, Duration),
        in_flight: Apart,
    ) -> AnswerBody {
        let stall = Stall { limit, timer: None };
        Kind::Driven { body, driver, stall, _in_flight: in_flight }.into()
    }

    pub(crate) fn empty() -> AnswerBody {
        Kind::Own(Bytes::new()).into()
    }

    /// Shows on `account` that it moves, and keeps it until it is at its end.
    pub(crate) fn shown_on(self, account: Arc<Account>) -> AnswerBody {
        AnswerBody { account: Some(account), ..self }
    }

    /// A policy has said what the client is to hear of `name`.
    pub(super) fn decided(&mut self, name: &HeaderName) {
        if matches!(self.kind, Kind::Server { .. }) {
            self.decided.push(name.clone());
        }
    }

    /// Keeps `permit` until it is at its end.
    pub(crate) fn holding(self, permit: Option<Permit>) -> AnswerBody {
        AnswerBody { _permit: permit, ..self }
    }
}

/// How long nothing of a body may come, as the pool has it for those of its connections.
struct Stall {
    limit: Duration,
    /// Since the last frame.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<Stalled> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Stalled(limit))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("nothing of the answer's body came for {0:?} (`stall`)")]
struct Stalled(Duration);

impl From<Kind> for AnswerBody {
    fn from(kind: Kind) -> AnswerBody {
        AnswerBody { kind, account: None, decided: Vec::new(), _permit: None }
    }
}

#[expect(clippy::declare_interior_mutable_const, reason = "it is copied")]
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer of our own: a status, and a line that says why.
pub(crate) fn own(status: StatusCode, text: impl Into<String>) -> Response<AnswerBody> {
    let mut text = text.into();
    text.push('\n');
    let mut answer = Response::new(AnswerBody::from(Kind::Own(Bytes::from(text))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, PLAIN);
    answer
}

/// `503 Service Unavailable`; who comes again after `seconds` may be served.
pub(crate) fn unavailable(text: impl Into<String>, seconds: u16) -> Response<AnswerBody> {
    let mut answer = own(StatusCode::SERVICE_UNAVAILABLE, text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// What a policy says instead of the server.
pub(crate) fn refused(refusal: Refusal) -> Response<AnswerBody> {
    let Refusal { status, headers, body, .. } = refusal;
    let is_line = !headers.contains_key(CONTENT_TYPE) && !body.is_empty();
    let mut body = body.into_owned();
    if is_line {
        body.push(b'\n');
    }
    let mut answer = Response::new(AnswerBody::from(Kind::Own(Bytes::from(body))));
    *answer.status_mut() = status;
    *answer.headers_mut() = *headers;
    if is_line {
        answer.headers_mut().insert(CONTENT_TYPE, PLAIN);
    }
    answer
}

/// `405 Method Not Allowed`, with those that are.
pub(crate) fn not_allowed(methods: Vec<String>) -> Response<AnswerBody> {
    let allowed = allowed(methods);
    let mut answer = own(StatusCode::METHOD_NOT_ALLOWED, format!("Allowed here: {allowed}"));
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// As `Allow` has them.
pub(crate) fn allowed(mut methods: Vec<String>) -> String {
    methods.sort();
    methods.dedup();
    methods.join(", ")
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = match &mut this.kind {
            Kind::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Server { body, .. } => {
                let polled = Pin::new(body).poll_frame(cx).map_err(Into::into);
                polled.map_ok(|mut frame| {
                    clean(&mut frame, &this.decided);
                    frame
                })
            }
            Kind::Driven { body, driver, stall, .. } => {
                driver.drive(cx);
                match Pin::new(body).poll_frame(cx) {
                    Poll::Pending => stall.poll(cx).map(|stalled| Some(Err(stalled.into()))),
                    frame @ Poll::Ready(_) => {
                        stall.timer = None;
                        frame.map_err(Into::into)
                    }
                }
            }
        };
        if let Some(account) = this.account.as_ref().filter(|_| polled.is_ready()) {
            account.touch();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_empty(),
            Kind::Server { body, .. } => body.is_end_stream(),
            Kind::Driven { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Server { body, .. } => body.size_hint(),
            Kind::Driven { body, .. } => body.size_hint(),
        }
    }
}
