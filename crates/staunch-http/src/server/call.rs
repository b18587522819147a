//! One request: its body limited, its service called.

use std::{convert::Infallible, future::poll_fn};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    header::{CONNECTION, CONTENT_TYPE, HeaderValue},
};
use staunch_scope::shield;
use tower_service::Service;

use super::{body::RequestBody, exchange::Exchange};
use crate::limits::HttpLimits;

/// Has `service` answer a request whose body is limited; or says why not.
pub(super) async fn answer<S, B>(
    mut service: S,
    request: Result<Request<RequestBody>, Box<Response<Full<Bytes>>>>,
) -> Response<Either<B, Full<Bytes>>>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return (*refusal).map(Either::Right),
    };
    let called = shield(async {
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        service.call(request).await
    });
    let Ok(answer) = called.await;
    answer.map(Either::Left)
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
