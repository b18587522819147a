//! HTTP/1 (RFC 9110, RFC 9112): one request after the other.

use std::{convert::Infallible, pin::pin};

use bytes::Bytes;
use hyper::{Request, Response, body::Body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use staunch_scope::{BoxError, Context};
use tower_service::Service;

use super::{
    body::RequestBody,
    call::{Answered, answer, within},
    exchange::Exchange,
    socket::{Socket, Transport},
};
use crate::limits::HttpLimits;

/// hyper can hold no less.
const HEAD_BYTES_MIN: usize = 8 << 10;

pub(super) async fn serve<S, B>(
    socket: Socket<impl Transport>,
    limits: &HttpLimits,
    exchange: &Exchange,
    service: S,
) -> Result<(), hyper::Error>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    let context = Context::current();
    let service = service_fn(|request| {
        let handling = exchange.begin();
        let answer = answer(service.clone(), within(limits, request, exchange.clone()));
        Answered::new(answer, Some(handling))
    });
    let connection = builder(limits).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        _ = context.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

fn builder(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    let head_bytes = limits.head_bytes.max(HEAD_BYTES_MIN);
    builder
        .header_read_timeout(None) // the socket has the clock
        .max_headers(limits.headers)
        .max_header_size(head_bytes)
        .max_buf_size(head_bytes);
    builder
}
