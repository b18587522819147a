//! The answers to requests that are over a limit.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use staunch_ledger::{Account, Observation};

use super::{exchange::Breach, framing::Ambiguity, head::Unfit};

type Refusal = Response<Full<Bytes>>;

fn refusal(status: StatusCode, text: String) -> Refusal {
    let mut refusal = Response::new(Full::new(Bytes::from(text)));
    *refusal.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    refusal.headers_mut().insert(CONTENT_TYPE, plain);
    refusal
}

/// Has the connection end, whose request was not read to its end.
fn last<B>(mut answer: Response<B>, is_http2: bool) -> Response<B> {
    if !is_http2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// The body announced is too large.
pub(super) fn large(announced: u64, most: usize, is_http2: bool) -> Refusal {
    let text =
        format!("The request announces a body of {announced} bytes; at most {most} are taken.\n");
    last(refusal(StatusCode::PAYLOAD_TOO_LARGE, text), is_http2)
}

/// The head is not what a head may be.
pub(super) fn unfit(unfit: Unfit, is_http2: bool) -> Refusal {
    last(refusal(unfit.status(), format!("{}.\n", unfit.text())), is_http2)
}

/// A refusal that hyper made of what it could not read, with the reason as its body; `None` if it is
/// something else.
pub(super) fn with_reason(
    said: &[u8],
    ambiguity: Option<Ambiguity>,
) -> Option<(StatusCode, Bytes)> {
    const EMPTY: &str = "content-length: 0\r\n";
    let head = std::str::from_utf8(said).ok()?;
    let status =
        head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?.get(..3)?;
    let (before, after) = head.split_once(EMPTY).filter(|_| head.ends_with("\r\n\r\n"))?;
    let status = status.parse().ok()?;
    let what = match (status, ambiguity) {
        (StatusCode::BAD_REQUEST, Some(ambiguity)) => ambiguity.text(),
        (StatusCode::BAD_REQUEST, None) => "these bytes are no request of HTTP/1.1",
        (StatusCode::URI_TOO_LONG, _) => "the path is too long",
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => {
            "the head is too long, or has too many headers"
        }
        _ => return None,
    };
    let text = format!("Refused: {what}.\n");
    let length = text.len();
    let plain = "content-type: text/plain; charset=utf-8";
    let answer = format!("{before}{plain}\r\ncontent-length: {length}\r\n{after}{text}");
    Some((status, answer.into()))
}

/// Path and query are too long.
pub(super) fn long_uri(bytes: usize, most: usize, is_http2: bool) -> Refusal {
    let text = format!("The path has {bytes} bytes; at most {most} are taken.\n");
    last(refusal(StatusCode::URI_TOO_LONG, text), is_http2)
}

/// There are too many headers. Over HTTP/1 hyper says so itself.
pub(super) fn many_headers(headers: usize, most: usize) -> Refusal {
    let text = format!("The request has {headers} headers; at most {most} are taken.\n");
    refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
}

/// Notes on the ledger that a request was over a limit, which is for somebody to look at.
fn observe(request: &Account, rule: &'static str, what: &str) {
    let ledger = request.ledger();
    if let Some(entry) = ledger.entry(request.id()) {
        let text = format!("{}: {what}", entry.label());
        let (kind, born_at) = (entry.kind(), entry.born_at());
        ledger.observe(Observation { rule, kind, born_at, text, at: ledger.now() });
    }
}

/// The handler has not answered in time.
pub(super) fn late(request: &Account, limit: Duration) -> Refusal {
    let what = format!("the handler did not answer within {limit:?} (`request_time`)");
    observe(request, "request-time", &what);
    let text = format!("There was no answer within {limit:?}.\n");
    let mut refusal = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
    refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    refusal
}

/// The handler's answer. If it failed for want of a body that is over a limit, the client is told so:
/// few handlers tell one error of a body from another.
pub(super) fn amended<B>(
    request: &Account,
    answer: Response<B>,
    breach: Option<Breach>,
) -> Response<Either<B, Full<Bytes>>> {
    if breach == Some(Breach::Slow) {
        observe(request, "body-time", "its body came too slowly (`body_time`, `body_rate`)");
    }
    let (status, text) = match breach {
        Some(breach) if answer.status().is_client_error() || answer.status().is_server_error() => {
            match breach {
                Breach::Large => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.\n"),
                Breach::Slow => (StatusCode::REQUEST_TIMEOUT, "The body came too slowly.\n"),
            }
        }
        _ => return answer.map(Either::Left),
    };
    refusal(status, text.to_owned()).map(Either::Right) // hyper closes what was not read to its end
}
