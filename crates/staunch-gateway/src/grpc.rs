//! What clients of gRPC are told when there is no answer of gRPC.
//!
//! They read the status of a call in `grpc-status`, and some of them take the text of an error for a
//! message that is broken. So an error that is none of gRPC, ours or a server's, becomes the
//! answer without a body that the protocol has for that ("Trailers-Only",
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::{
    Request, Response, StatusCode, Version,
    body::Body,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use pin_project_lite::pin_project;
use staunch_http::RequestBody;
use staunch_scope::BoxError;
use tower_service::Service;

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const GRPC: &str = "application/grpc";

/// The status that an answer had before a client of gRPC was told in other words; in the extensions of
/// that answer, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meant(pub(crate) StatusCode);

/// Answers as `S` does, and tells clients of gRPC in their own words when something is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Grpc<S>(pub(crate) S);

impl<S, B> Service<Request<RequestBody>> for Grpc<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Response = Response<Either<B, Empty<Bytes>>>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Answering<S::Future> {
        // gRPC is spoken on HTTP/2 alone.
        let is_grpc = request.version() == Version::HTTP_2 && is_grpc(request.headers());
        Answering { answering: self.0.call(request), is_grpc }
    }
}

pin_project! {
    /// An answer in the making.
    pub(crate) struct Answering<F> {
        #[pin]
        answering: F,
        is_grpc: bool,
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Either<B, Empty<Bytes>>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(answer) = ready!(this.answering.poll(cx));
        let status = answer.status();
        let is_error = status.is_client_error() || status.is_server_error();
        if !*this.is_grpc || !is_error || is_grpc(answer.headers()) {
            return Poll::Ready(Ok(answer.map(Either::Left)));
        }
        let mut told = answer.map(|_| Either::Right(Empty::new()));
        *told.status_mut() = StatusCode::OK;
        tell(told.headers_mut(), status);
        told.extensions_mut().insert(Meant(status));
        Poll::Ready(Ok(told))
    }
}

/// Whether this is a message of gRPC, and not of its relative for browsers (`application/grpc-web`).
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let rest = kind.and_then(|kind| kind.strip_prefix(GRPC));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

fn tell(headers: &mut HeaderMap, status: StatusCode) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert(STATUS.clone(), HeaderValue::from(code(status)));
    let reason = status.canonical_reason().unwrap_or_default();
    if let Ok(message) = HeaderValue::try_from(format!("{} {reason}", status.as_str())) {
        headers.insert(MESSAGE.clone(), message);
    }
}

/// What a client would make of the status itself
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>); and what a server of
/// gRPC says of a message that is too large.
fn code(status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status {
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND => UNIMPLEMENTED,
        StatusCode::PAYLOAD_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_grpc_are_known_by_their_type() {
        let check = |kind: &'static str, expected| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        };
        check("application/grpc", true);
        check("application/grpc+proto", true);
        check("application/grpc;charset=utf-8", true);
        check("application/grpc-web", false);
        check("text/plain", false);
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn an_error_says_what_it_is_and_keeps_what_else_was_said() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(17));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert("retry-after", HeaderValue::from(2));
        tell(&mut headers, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((headers[&STATUS].as_bytes(), headers.len()), (&b"14"[..], 4));
        assert_eq!(headers[&MESSAGE], "503 Service Unavailable");
    }
}
