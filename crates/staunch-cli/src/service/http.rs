//! A small HTTP service: something to point a browser, a probe or a load generator at.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use staunch_http::{
    HttpLimits, RequestBody, ServeHttpError, SlowBodyError, Transport, handler, serve,
};

use super::bodies::{Bodies, NoRoomError};

const GREETING: &str = "Served by staunch. POST /echo answers your body.\n";

/// The service of one listener. Clones are the same.
#[derive(Clone)]
pub(crate) struct Http {
    limits: Arc<HttpLimits>,
    bodies: Bodies,
}

impl Http {
    pub(crate) fn new(limits: HttpLimits, bodies: Bodies) -> Http {
        Http { limits: Arc::new(limits), bodies }
    }

    pub(crate) async fn serve(self, transport: impl Transport) -> Result<(), ServeHttpError> {
        let limits = Arc::clone(&self.limits);
        let service = handler(move |request| answer(self.clone(), request));
        serve(transport, &limits, service).await
    }
}

async fn answer(http: Http, request: Request<RequestBody>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => text(StatusCode::OK, GREETING),
        (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::POST, "/echo") => echo(&http, request).await,
        (_, "/" | "/healthz") => not_allowed("GET, HEAD"),
        (_, "/echo") => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "Nothing here; there are /, /healthz and /echo.\n"),
    }
}

/// The body goes back whole; its length and time are limited by the server.
async fn echo(http: &Http, request: Request<RequestBody>) -> Response<Full<Bytes>> {
    match receive(http, request.into_body()).await {
        Ok(body) => {
            let mut response = Response::new(Full::new(body));
            let any = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(CONTENT_TYPE, any);
            response
        }
        Err(refused) => refused,
    }
}

/// The whole body, or the answer that says why not.
async fn receive(http: &Http, mut body: RequestBody) -> Result<Bytes, Response<Full<Bytes>>> {
    let mut held = http.bodies.open(http.limits.body_bytes);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&*error))?;
        if let Some(piece) = frame.data_ref() {
            held.push(piece).map_err(|NoRoomError| no_room())?;
        }
    }
    Ok(held.into_answer())
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Response<Full<Bytes>> {
    let status = match error.downcast_ref::<SlowBodyError>() {
        Some(_) => StatusCode::REQUEST_TIMEOUT,
        None => StatusCode::BAD_REQUEST,
    };
    text(status, format!("The body broke off: {error}\n"))
}

fn no_room() -> Response<Full<Bytes>> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "There is no room for another body now (`bodies` in [memory]).\n",
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
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
