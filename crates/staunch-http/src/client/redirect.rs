//! Where an answer says to go instead (RFC 9110, section 15.4).

use std::borrow::Cow;

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
        CONTENT_TYPE, COOKIE, HOST, HeaderName, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
    },
};
use percent_encoding::{AsciiSet, percent_encode};
use staunch_pool::RequestBody;

use super::{
    error::ClientError,
    exchange::Hop,
    origin::{Origin, shown},
};

/// The headers that go with a body.
const OF_BODIES: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
];

/// The next request; `None` if the answer is the one that was asked for, or names no other, or
/// asks for a body once more that cannot be had again.
///
/// 303 asks for a `GET`, 307 and 308 for the same once more. After 301 and 302 a `POST` becomes a
/// `GET`, as everybody does it. What is meant for one origin is not told to another.
pub(super) fn next(
    hop: &Hop,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Hop>, ClientError> {
    let becomes_get = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => hop.method == Method::POST,
        StatusCode::SEE_OTHER => hop.method != Method::HEAD,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let Some(location) = headers.get(LOCATION) else { return Ok(None) };
    let location = as_text(location.as_bytes());
    let refused = |reason: String| ClientError::Redirect {
        url: shown(&hop.url),
        location: location.split(['?', '#']).next().unwrap_or_default().to_owned(),
        reason,
    };
    let url = hop.url.join(&location).map_err(|error| refused(error.to_string()))?;
    let to = Origin::of(&url).map_err(|error| refused(error.to_string()))?;
    let from = Origin::of(&hop.url)?;
    if from.is_secure && !to.is_secure {
        return Err(refused("it leads from https to http, where everybody can read it".into()));
    }
    let mut headers = hop.headers.clone();
    if from != to {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HOST] {
            headers.remove(name);
        }
    }
    if becomes_get {
        for name in OF_BODIES {
            headers.remove(name);
        }
        let (method, body) = (Method::GET, RequestBody::default());
        return Ok(Some(Hop { url, method, headers, body, is_replayable: true }));
    }
    if !hop.is_replayable {
        return Ok(None);
    }
    let body = hop.body.again().unwrap_or_default();
    Ok(Some(Hop { url, method: hop.method.clone(), headers, body, is_replayable: true }))
}

/// Bytes that are no UTF-8 stand for themselves: they are percent-encoded as they are.
fn as_text(location: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(location) {
        Ok(text) => text.into(),
        Err(_) => percent_encode(location, &AsciiSet::EMPTY).into(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// What says what a body is.
    const DESCRIBES: [&str; 6] = [
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-type",
        "transfer-encoding",
    ];

    const SECRETS: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HOST];

    fn follow(
        method: &str,
        url: &str,
        status: u16,
        location: impl AsRef<[u8]>,
    ) -> Result<Hop, String> {
        let hop = Hop {
            url: url.parse().unwrap(),
            method: method.parse().unwrap(),
            headers: SECRETS
                .into_iter()
                .chain(DESCRIBES.map(HeaderName::from_static))
                .map(|name| (name, HeaderValue::from_static("secret")))
                .collect(),
            body: "body".into(),
            is_replayable: true,
        };
        let headers =
            [(LOCATION, HeaderValue::from_bytes(location.as_ref()).unwrap())].into_iter().collect();
        let next = next(&hop, StatusCode::from_u16(status).unwrap(), &headers);
        next.map_err(|error| error.to_string())?.ok_or_else(|| "none".into())
    }

    fn check(asked: (&str, u16), becomes: Option<(&str, bool)>) {
        let hop = follow(asked.0, "http://a/x", asked.1, "/y?z").ok();
        let found = hop.as_ref().map(|hop| {
            assert_eq!(hop.url.as_str(), "http://a/y?z");
            let has = DESCRIBES.map(|name| hop.headers.contains_key(name));
            assert!(has == [has[0]; 6], "{asked:?}: {has:?}");
            (hop.method.as_str(), has[0])
        });
        assert_eq!(found, becomes, "{asked:?}");
    }

    #[test]
    fn the_method_is_what_the_status_says() {
        check(("GET", 200), None);
        check(("GET", 304), None);
        check(("GET", 301), Some(("GET", true)));
        check(("POST", 301), Some(("GET", false)));
        check(("POST", 302), Some(("GET", false)));
        check(("PUT", 302), Some(("PUT", true)));
        check(("PUT", 303), Some(("GET", false)));
        check(("HEAD", 303), Some(("HEAD", true)));
        check(("POST", 307), Some(("POST", true)));
        check(("POST", 308), Some(("POST", true)));
    }

    #[test]
    fn bytes_that_are_no_text_are_asked_for_as_they_are() {
        let leads_to = |location: &[u8]| follow("GET", "http://a/x", 302, location).unwrap().url;
        assert_eq!(leads_to(b"/caf\xc3\xa9?x=\xe9").as_str(), "http://a/caf%C3%A9?x=%E9");
        assert_eq!(leads_to(b"/%41\xff#\xff").as_str(), "http://a/%41%FF#%FF");
        assert_eq!(
            leads_to("//b\u{fc}cher/\u{e9}".as_bytes()).as_str(),
            "http://xn--bcher-kva/%C3%A9"
        );
    }

    fn keeps_secrets(to: &str, expected: bool) {
        let hop = follow("GET", "http://a/x", 302, to).unwrap();
        let has = SECRETS.map(|name| hop.headers.contains_key(name));
        assert_eq!(has, [expected; 4], "{to}");
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        keeps_secrets("/y", true);
        keeps_secrets("http://a:80/y", true);
        keeps_secrets("http://a:81/y", false);
        keeps_secrets("//b/y", false);
        keeps_secrets("https://a/y", false);
    }

    #[test]
    fn what_is_not_safe_is_refused() {
        for (to, says) in [
            ("http://a/?token", "from https to http"),
            ("http://a/#token", "from https to http"),
            ("ftp://a/", "only http"),
            ("https://me:secret@a/", "authorization"),
            ("https://[", "invalid"),
        ] {
            let error = follow("GET", "https://a/", 302, to).unwrap_err();
            assert!(error.contains(says), "{to}: {error}");
            assert!(!error.contains("token"), "{to}: {error}");
        }
    }
}
