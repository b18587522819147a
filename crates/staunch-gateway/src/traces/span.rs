//! The span of a request: what the semantic conventions of OpenTelemetry for HTTP servers want to
//! know (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>), and what only a gateway
//! does.

use std::time::{Duration, SystemTime};

use staunch_scope::{SpanId, TraceParent};

use super::otlp::{ERROR, KeyValue, REMOTE_PARENT, SAMPLED, SERVER, Span, Status, UNSET};
use crate::access::{End, Entry};

/// The beginning of a span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    own: TraceParent,
    parent: Option<SpanId>,
    at: SystemTime,
}

/// Methods that the conventions know; others could be anything, and as many.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

impl Begun {
    pub(crate) fn now((own, parent): (TraceParent, Option<SpanId>)) -> Begun {
        Begun { own, parent, at: SystemTime::now() }
    }
}

/// That of a request which has ended; `None` if it is not sampled.
pub(super) fn of(entry: &Entry) -> Option<Span> {
    let begun = entry.span()?;
    let since = begun.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let remote = if begun.parent.is_some() { REMOTE_PARENT } else { 0 };
    let error = error(entry);
    let [method, ..] = entry.asked()?;
    let method = String::from_utf8_lossy(method);
    let known = METHODS.into_iter().find(|known| *known == method);
    let route = entry.route_path();
    let name = match &route {
        Some(route) => format!("{} {route}", known.unwrap_or("HTTP")),
        None => known.unwrap_or("HTTP").to_owned(),
    };
    let mut attributes = Vec::with_capacity(20);
    attributes.push(KeyValue::text("http.request.method", known.unwrap_or("_OTHER")));
    if known.is_none() {
        attributes.push(KeyValue::text("http.request.method_original", method));
    }
    attributes.extend(route.map(|route| KeyValue::text("http.route", route)));
    asked(entry, &mut attributes);
    answered(entry, &mut attributes);
    attributes.extend(error.as_ref().map(|error| KeyValue::text("error.type", error)));
    let code = if error.is_some() { ERROR } else { UNSET };
    Some(Span {
        trace: begun.own.trace.to_bytes().to_vec(),
        id: begun.own.span.to_bytes().to_vec(),
        parent: begun.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        name,
        kind: SERVER,
        start: nanos(since),
        end: nanos(since.saturating_add(entry.elapsed())),
        attributes,
        status: Some(Status { code }),
        flags: SAMPLED | remote,
    })
}

/// What was asked for, and by whom.
fn asked(entry: &Entry, attributes: &mut Vec<KeyValue>) {
    let [_, host, path] = entry.asked().unwrap_or_default();
    let scheme = if entry.is_secure() { "https" } else { "http" };
    attributes.push(KeyValue::text("url.path", String::from_utf8_lossy(path)));
    attributes.push(KeyValue::text("url.scheme", scheme));
    let host = String::from_utf8_lossy(host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().ok()),
        None => (&*host, None),
    };
    if port.is_some() {
        attributes.push(KeyValue::text("server.address", name));
    } else if !host.is_empty() {
        attributes.push(KeyValue::text("server.address", &*host));
    }
    attributes.extend(port.map(|port| KeyValue::number("server.port", port)));
    let client = entry.client();
    attributes
        .extend(client.map(|it| KeyValue::text("client.address", it.to_canonical().to_string())));
    let version = if entry.version() == "2.0" { "2" } else { entry.version() };
    attributes.push(KeyValue::text("network.protocol.version", version));
}

/// What became of it.
fn answered(entry: &Entry, attributes: &mut Vec<KeyValue>) {
    let status = entry.status();
    attributes.extend(status.map(|it| KeyValue::number("http.response.status_code", it)));
    let again = entry.tries().saturating_sub(1);
    if again > 0 {
        attributes.push(KeyValue::number("http.request.resend_count", again));
    }
    let keys = ["staunch.route", "staunch.service", "staunch.server"];
    for (key, name) in keys.into_iter().zip(entry.names()) {
        attributes.extend(name.map(|name| KeyValue::text(key, name)));
    }
    attributes.push(KeyValue::text("staunch.listener", entry.listener()));
    attributes.push(KeyValue::text("staunch.end", entry.end().name()));
}

/// What went wrong, if something did that is not the client's request.
fn error(entry: &Entry) -> Option<String> {
    if let Some(failure) = entry.failure().filter(|failure| !failure.is_clients()) {
        return Some(failure.name().to_owned());
    }
    match (entry.end(), entry.status()) {
        (End::Whole, Some(status)) if status >= 500 => Some(status.to_string()),
        (End::Whole, _) => None,
        (end, _) => Some(end.name().to_owned()),
    }
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
