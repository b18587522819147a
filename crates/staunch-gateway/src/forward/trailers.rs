//! What of a message's trailers goes on to the other side.

use hyper::{
    body::Frame,
    header::{HeaderMap, HeaderName},
};
use staunch_policy::Edit;

use crate::fast::is_claim;

/// Not for trailers (RFC 9110, 6.5.1): by these a message is taken apart, led to somebody, let in or read
/// before any trailer has come. Those of one connection (7.6.1) are no better for coming later: over HTTP/2
/// they make the whole message malformed (RFC 9113, 8.2.2).
const NEVER: [&str; 28] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// Takes them out of a frame, if it is one of trailers, and with them what is for us alone to say of who asks, and
/// `ours`: those that the route's policies have decided on.
pub(super) fn clean<B>(frame: &mut Frame<B>, ours: &[HeaderName]) {
    let Some(trailers) = frame.trailers_mut() else { return };
    let is_wrong = |name: &HeaderName| {
        let name = name.as_str();
        NEVER.binary_search(&name).is_ok()
            || is_claim(name)
            || ours.iter().any(|ours| Edit::is_taken_for(name.as_bytes(), ours.as_str()))
    };
    remove(trailers, is_wrong);
}

fn remove(trailers: &mut HeaderMap, is_wrong: impl Fn(&HeaderName) -> bool) {
    let wrong: Vec<HeaderName> = trailers.keys().filter(|name| is_wrong(name)).cloned().collect();
    for name in wrong {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_names_are_in_order() {
        assert!(NEVER.is_sorted());
    }

    #[test]
    fn what_is_no_trailer_is_taken_out() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "connection", "te", "x-forwarded-for", "x-user_id", "checksum"]
        {
            trailers.append(name, HeaderValue::from_static("1"));
        }
        let mut frame = Frame::<()>::trailers(trailers);
        clean(&mut frame, &[HeaderName::from_static("x-user-id")]);
        let left = frame.into_trailers().expect("they are trailers");
        assert_eq!(
            left.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["grpc-status", "checksum"]
        );
    }
}
