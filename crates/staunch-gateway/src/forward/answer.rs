//! Answers: a server's, or our own when there is none.

use std::{
    pin::Pin,
    task::{Context as Poller, Poll},
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use staunch_pool::PooledBody;
use staunch_scope::BoxError;

use crate::{balance::InFlight, tunnel::Driver};

/// The body of an answer.
pub(crate) struct AnswerBody(Kind);

enum Kind {
    /// Our own; empty once it is sent.
    Own(Bytes),
    /// A server's, which counts as a request in flight until it is at its end.
    Server { body: PooledBody, _in_flight: InFlight },
    /// A server's, on a connection that is driven here.
    Driven { body: Incoming, driver: Driver, _in_flight: InFlight },
}

impl AnswerBody {
    pub(crate) fn server(body: PooledBody, in_flight: InFlight) -> AnswerBody {
        AnswerBody(Kind::Server { body, _in_flight: in_flight })
    }

    pub(crate) fn driven(body: Incoming, driver: Driver, in_flight: InFlight) -> AnswerBody {
        AnswerBody(Kind::Driven { body, driver, _in_flight: in_flight })
    }

    pub(crate) fn empty() -> AnswerBody {
        AnswerBody(Kind::Own(Bytes::new()))
    }
}

/// An answer of our own: a status, and a line that says why.
pub(crate) fn own(status: StatusCode, text: impl Into<String>) -> Response<AnswerBody> {
    let mut text = text.into();
    text.push('\n');
    let mut answer = Response::new(AnswerBody(Kind::Own(Bytes::from(text))));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// `503 Service Unavailable`; who comes again after `seconds` may be served.
pub(crate) fn unavailable(text: impl Into<String>, seconds: u16) -> Response<AnswerBody> {
    let mut answer = own(StatusCode::SERVICE_UNAVAILABLE, text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
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
        match &mut self.get_mut().0 {
            Kind::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Server { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Driven { body, driver, .. } => {
                driver.drive(cx);
                Pin::new(body).poll_frame(cx).map_err(Into::into)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(bytes) => bytes.is_empty(),
            Kind::Server { body, .. } => body.is_end_stream(),
            Kind::Driven { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Server { body, .. } => body.size_hint(),
            Kind::Driven { body, .. } => body.size_hint(),
        }
    }
}
