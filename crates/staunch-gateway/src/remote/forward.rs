//! Asks another service whether a request may pass, as Traefik's ForwardAuth and nginx's
//! `auth_request` do.

use hyper::header::HeaderMap;
use staunch_http::Client;
use staunch_policy::{Asked, Forward, Forwarded};
use staunch_scope::{Context, SpanId, TraceParent};

use super::About;
use crate::forward::one_cookie;

/// What is read of its answer: a page that says no, or that asks who one is.
const BODY_MAX: u64 = 64 << 10;

/// What it says; `None` if there is no answer in time, or none that can be handed on.
pub(super) async fn ask(
    client: &Client,
    to: &Forward,
    asked: &Asked<'_>,
    about: &About<'_>,
) -> Option<Forwarded> {
    let proto = if asked.is_secure { "https" } else { "http" };
    let mut request = client
        .get(to.url())
        .timeout(to.timeout())
        .max_body(BODY_MAX)
        .header("x-forwarded-method", asked.method)
        .header("x-forwarded-proto", proto)
        .header("x-forwarded-uri", &about.uri);
    if let Some(client) = asked.client {
        request = request.header("x-forwarded-for", client.to_canonical().to_string());
    }
    if let Some(host) = about.host {
        request = request.header("x-forwarded-host", host.as_bytes());
    }
    // Of the same trace as the request; without one, of none that anybody should record.
    let (trace, span) = (Context::current().trace_id(), SpanId::random());
    let unsampled = TraceParent { trace, span, is_sampled: false }.to_bytes();
    let parent = asked.fields.first("traceparent").unwrap_or(&unsampled);
    if to.send().iter().all(|name| name.as_str() != "traceparent") {
        request = request.header("traceparent", parent);
    }
    let mut send = HeaderMap::new();
    for name in to.send() {
        asked.fields.all(name.as_str(), &mut |value| {
            if let Ok(value) = value.try_into() {
                send.append(name, value);
            }
        });
    }
    one_cookie(&mut send);
    for (name, value) in &send {
        request = request.header(name, value.as_bytes());
    }
    let failed = |error: &dyn std::fmt::Display| {
        // Counted as `forward-down`; a line for each request would only fill the log.
        tracing::debug!(url = to.url(), "no answer whether a request may pass: {error}");
    };
    let answer = request.send().await.inspect_err(|error| failed(error)).ok()?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    // Read to its end, also if it says yes: the connection is used again.
    let body = answer.bytes(BODY_MAX).await.inspect_err(|error| failed(error)).ok()?;
    Some(Forwarded { status, headers, body: body.to_vec() })
}
