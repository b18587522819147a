//! A small HTTP service: something to point a browser, a probe or a load generator at.

mod body;
mod query;
mod streams;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    http::request::Parts,
};
use staunch_guard::{Guard, Layer, Priority, Shed};
use staunch_http::{BodyLimits, HttpLimits, RequestBody, Server, StreamBody, handler};
use staunch_net::{Listener, Served, TlsConfig};
use staunch_scope::{Context, sleep};

use self::streams::Routes;
use super::bodies::Bodies;

const GREETING: &str = "\
Served by staunch. There are:
  /hello             a short answer
  /echo              POST: your body
  /sse               events: a tick a second, for half a minute
  /ws                a WebSocket that says everything again
  /upload            POST, PUT: counts your body, of up to 4 GiB
  /download?bytes=N  N bytes, of up to 1 TiB
  /slow?ms=N         an answer after N milliseconds, of up to a minute
  /healthz           ok
";

/// What an upload may have: a large one, and an hour for it.
fn upload() -> BodyLimits {
    BodyLimits { bytes: 4 << 30, ..BodyLimits::of("/upload") }
}

/// The longest that `/slow` waits: less than the time of a request.
const SLOWEST: Duration = Duration::from_mins(1);

/// The service of one listener.
pub(crate) struct Http {
    limits: HttpLimits,
    bodies: Bodies,
    streams: Routes,
}

impl Http {
    pub(crate) fn new(mut limits: HttpLimits, bodies: Bodies) -> Http {
        limits.bodies.push(upload());
        Http { limits, bodies, streams: Routes::default() }
    }

    /// Serves until `context` is cancelled, and drains; over TLS if there is `tls`, and no more than
    /// `guard` admits.
    pub(crate) async fn serve(
        self,
        listener: Listener,
        context: &Context,
        tls: Option<&TlsConfig>,
        guard: Option<&Guard>,
    ) -> Served {
        let (server, http) = (Server::new(self.limits.clone()), Arc::new(self));
        let service = handler(move |request| answer(Arc::clone(&http), request));
        let shed = guard.map(|guard| Shed::new(guard).priority(priority).streams(is_stream));
        match (shed, tls) {
            (None, None) => server.serve(listener, context, service).await,
            (None, Some(tls)) => server.serve_tls(listener, context, tls, service).await,
            (Some(shed), None) => server.serve(listener, context, shed.layer(service)).await,
            (Some(shed), Some(tls)) => {
                server.serve_tls(listener, context, tls, shed.layer(service)).await
            }
        }
    }
}

/// Health is asked for most of all under pressure; what takes its time can come again.
fn priority(request: &Parts) -> Priority {
    match request.uri.path() {
        "/healthz" => Priority::Critical,
        "/slow" | "/download" | "/upload" => Priority::Low,
        _ => Priority::Normal,
    }
}

fn is_stream(request: &Parts) -> bool {
    matches!(request.uri.path(), "/sse" | "/ws") || staunch_guard::is_stream(request)
}

async fn answer(http: Arc<Http>, request: Request<RequestBody>) -> Response<StreamBody> {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    const WRITE: &[Method] = &[Method::POST, Method::PUT];
    const ALL: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::PUT];
    let allowed = match request.uri().path() {
        "/" | "/hello" | "/healthz" | "/slow" | "/sse" | "/ws" | "/download" => READ,
        "/echo" => &WRITE[..1],
        "/upload" => WRITE,
        "*" => ALL, // the server as a whole (RFC 9110, 9.3.7)
        _ => return text(StatusCode::NOT_FOUND, format!("Nothing here. {GREETING}")),
    };
    if request.method() == Method::OPTIONS {
        return options(allowed);
    }
    if !allowed.contains(request.method()) {
        return not_allowed(allowed);
    }
    match request.uri().path() {
        "/hello" => text(StatusCode::OK, "Hello.\n"),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/slow" => slow(request.uri().query()).await,
        "/sse" => http.streams.ticks(request.headers()),
        "/ws" => http.streams.echo(request),
        "/download" => http.streams.download(request.uri().query()),
        "/echo" => body::echo(&http, request.into_body()).await,
        "/upload" => body::count(request.into_body()).await,
        _ => text(StatusCode::OK, GREETING),
    }
}

async fn slow(query: Option<&str>) -> Response<StreamBody> {
    let most = SLOWEST.as_millis() as u64;
    match query::number(query, "ms", most) {
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        Ok(millis) => {
            // Asked to stop it sleeps on: what is begun is finished.
            let _ = sleep(Duration::from_millis(millis)).await;
            text(StatusCode::OK, format!("That took {millis} ms.\n"))
        }
    }
}

fn options(allowed: &[Method]) -> Response<StreamBody> {
    let mut answer = Response::new(StreamBody::whole(""));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    with_allow(answer, &listed(allowed))
}

fn not_allowed(allowed: &[Method]) -> Response<StreamBody> {
    let allowed = listed(allowed);
    let answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("Allowed: {allowed}.\n"));
    with_allow(answer, &allowed)
}

/// By name; OPTIONS is one of them.
fn listed(allowed: &[Method]) -> String {
    let allowed = allowed.iter().chain([&Method::OPTIONS]);
    allowed.map(Method::as_str).collect::<Vec<_>>().join(", ")
}

fn with_allow(mut answer: Response<StreamBody>, allowed: &str) -> Response<StreamBody> {
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<StreamBody> {
    let mut response = Response::new(StreamBody::whole(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
