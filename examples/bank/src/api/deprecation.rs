//! Says that version 1 is on its way out.

use axum::{
    http::{HeaderValue, header::LINK},
    response::Response,
};

/// 2026-11-01, as RFC 9745 wants it: a date of structured fields.
const SINCE: &str = "@1793491200";
/// As RFC 8594 wants it: a date of HTTP.
const UNTIL: &str = "Tue, 01 Jun 2027 00:00:00 GMT";
/// Where to go, and where to read about it.
const LINKS: &str = r#"</v2>; rel="successor-version", </openapi.json>; rel="deprecation"; type="application/json""#;

/// Adds `Deprecation`, `Sunset` and `Link` to an answer.
pub(super) async fn announce(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("deprecation", HeaderValue::from_static(SINCE));
    headers.insert("sunset", HeaderValue::from_static(UNTIL));
    headers.append(LINK, HeaderValue::from_static(LINKS));
    response
}
