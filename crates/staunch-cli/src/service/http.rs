//! A small HTTP service: something to point a browser, a probe or a load generator at.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use staunch_console::http::{self, HttpLimits, RequestBody, ServeHttpError};
use staunch_net::Connection;

const GREETING: &str = "Served by staunch. POST /echo answers your body.\n";

pub(crate) async fn serve(
    connection: Connection,
    limits: Arc<HttpLimits>,
) -> Result<(), ServeHttpError> {
    http::serve(connection, &limits, answer).await
}

async fn answer(request: Request<RequestBody>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => text(StatusCode::OK, GREETING),
        (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::POST, "/echo") => echo(request).await,
        (_, "/" | "/healthz") => not_allowed("GET, HEAD"),
        (_, "/echo") => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "Nothing here; there are /, /healthz and /echo.\n"),
    }
}

/// The body goes back whole; its length is limited by the server.
async fn echo(request: Request<RequestBody>) -> Response<Full<Bytes>> {
    match request.into_body().collect().await {
        Ok(body) => {
            let mut response = Response::new(Full::new(body.to_bytes()));
            let any = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(CONTENT_TYPE, any);
            response
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("The body broke off: {error}\n")),
    }
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("Allowed: {allowed}.\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
