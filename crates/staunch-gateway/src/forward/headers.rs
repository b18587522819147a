//! What of a message's head goes on to the other side.

use std::net::IpAddr;

use hyper::{
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
    },
    http::header::{Entry, FORWARDED},
};

use crate::fast::is_claim;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// How gateways of this kind call themselves in `Via`.
const VIA_NAME: &str = "staunch";

/// So many gateways in a row are a circle.
pub(crate) const HOPS_MAX: usize = 10;

/// Who sent a request, for the server that is to answer it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'r> {
    pub(crate) client: Option<IpAddr>,
    /// As the client wrote it.
    pub(crate) host: Option<&'r HeaderValue>,
    pub(crate) is_secure: bool,
}

/// The request has come through so many gateways that it is going in circles.
#[derive(Debug)]
pub(crate) struct Circle;

/// Takes out of a request what was meant for us alone (RFC 9110, 7.6.1), and puts in what the
/// server is to know of the client. What a client says of itself in such headers is not believed.
pub(crate) fn of_request(
    headers: &mut HeaderMap,
    version: &'static str,
    origin: &Origin<'_>,
) -> Result<(), Circle> {
    remove_hop_by_hop(headers, true);
    headers.remove(&PROXY_AUTHORIZATION);
    headers.remove(EXPECT); // it is us who say 100
    headers.remove(FORWARDED);
    let claims: Vec<HeaderName> =
        headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for claim in claims {
        headers.remove(claim);
    }
    // Over a Unix socket nobody has an address.
    let client = origin.client.map(|ip| HeaderValue::try_from(ip.to_canonical().to_string()));
    if let Some(Ok(ip)) = client {
        headers.insert(&X_FORWARDED_FOR, ip);
    }
    let proto = HeaderValue::from_static(if origin.is_secure { "https" } else { "http" });
    headers.insert(&X_FORWARDED_PROTO, proto);
    if let Some(host) = origin.host {
        headers.insert(&X_FORWARDED_HOST, host.clone());
    }
    one_cookie(headers);
    via(headers, version)
}

/// An answer could be read in two ways: where it ends is said by two headers, in two words, or in none that
/// everybody reads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TwoEnds;

/// Takes out of an answer what was meant for us alone, and has it say once where it ends: what hyper has
/// read in one way a client could read in another (RFC 9112, 6.3).
pub(crate) fn of_answer(headers: &mut HeaderMap) -> Result<(), TwoEnds> {
    one_length(headers)?;
    remove_hop_by_hop(headers, false);
    headers.remove(PROXY_AUTHENTICATE);
    Ok(())
}

fn one_length(headers: &mut HeaderMap) -> Result<(), TwoEnds> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(TwoEnds),
    };
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(length);
    let Some(first) = lengths.next() else { return Ok(()) };
    let first = first?;
    if is_chunked || lengths.any(|other| other != Ok(first)) {
        return Err(TwoEnds);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(first));
    Ok(())
}

/// Digits alone: neither a list nor a sign.
fn length(value: &HeaderValue) -> Result<u64, TwoEnds> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or(TwoEnds)
}

/// The headers of one connection (RFC 9110, 7.6.1), and those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap, keep_te: bool) {
    if headers.contains_key(CONNECTION) {
        for value in named_by_connection(headers) {
            headers.remove(value);
        }
        headers.remove(CONNECTION);
    }
    // `TE: trailers` says that trailers may come, which they may here (RFC 9110, 10.1.4).
    let takes_trailers = keep_te
        && headers.get_all(TE).iter().any(|value| {
            let tokens = value.as_bytes().split(|byte| *byte == b',');
            tokens.map(<[u8]>::trim_ascii).any(|token| token.eq_ignore_ascii_case(b"trailers"))
        });
    if headers.remove(TE).is_some() && takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(&HTTP2_SETTINGS);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
}

/// But not those that say where the message ends or whom it is for: a client could not take them
/// away without changing what it says. Nor those of a trace, of which it is decided what the server
/// is told.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let tokens = values.flat_map(|value| value.split(|byte| *byte == b','));
    tokens
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| {
            let stays = ["content-length", "host", "te", "close", "traceparent", "tracestate"];
            !stays.contains(&name.as_str())
        })
        .collect()
}

/// HTTP/2 clients may send a header for each cookie; over HTTP/1 there is one (RFC 9113, 8.2.3).
pub(crate) fn one_cookie(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(_), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut one) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        one.set_sensitive(true);
        headers.insert(COOKIE, one);
    }
}

/// Adds ourselves to those it has come through (RFC 9110, 7.6.3).
fn via(headers: &mut HeaderMap, version: &'static str) -> Result<(), Circle> {
    let own = match version {
        "2.0" => HeaderValue::from_static("2.0 staunch"),
        "1.0" => HeaderValue::from_static("1.0 staunch"),
        _ => HeaderValue::from_static("1.1 staunch"),
    };
    match headers.entry(VIA) {
        Entry::Vacant(none) => drop(none.insert(own)),
        Entry::Occupied(mut others) => {
            let names = others.iter().filter_map(|value| value.to_str().ok());
            let hops = names.flat_map(|value| value.split(','));
            if hops.filter(|hop| hop.trim().ends_with(VIA_NAME)).count() >= HOPS_MAX {
                return Err(Circle);
            }
            others.append(own);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn forwarded(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = map(headers);
        let host = HeaderValue::from_static("example.com");
        let client = Some([10, 0, 0, 7].into());
        let origin = Origin { client, host: Some(&host), is_secure: true };
        of_request(&mut headers, "1.1", &origin).unwrap();
        headers
    }

    fn check(headers: &[(&'static str, &'static str)], kept: &[(&'static str, &'static str)]) {
        let own = [
            ("x-forwarded-for", "10.0.0.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
        ];
        let mut expected = map(&[kept, &own].concat());
        if !expected.contains_key(VIA) {
            expected.insert(VIA, HeaderValue::from_static("1.1 staunch"));
        }
        assert_eq!(forwarded(headers), expected);
    }

    #[test]
    fn what_is_for_one_connection_stays_there() {
        check(
            &[("accept", "a"), ("connection", "close, X-Own"), ("x-own", "1")],
            &[("accept", "a")],
        );
        check(&[("keep-alive", "1"), ("proxy-connection", "a"), ("upgrade", "h2c")], &[]);
        check(&[("transfer-encoding", "chunked"), ("expect", "100-continue")], &[]);
        check(&[("te", "gzip, Trailers"), ("proxy-authorization", "b")], &[("te", "trailers")]);
        check(&[("te", "gzip")], &[]);
        check(&[("trailer", "x-sum")], &[("trailer", "x-sum")]);
    }

    #[test]
    fn what_the_message_is_cannot_be_taken_away() {
        let said = [("connection", "content-length, host"), ("content-length", "3"), ("host", "a")];
        check(&said, &[("content-length", "3"), ("host", "a")]);
    }

    #[test]
    fn nobody_says_who_they_are() {
        check(&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")], &[]);
        check(&[("x-real-ip", "1.1.1.1"), ("x-forwarded-host", "evil")], &[]);
        check(&[("x_forwarded_for", "1.1.1.1"), ("x-original-url", "/a")], &[]);
        check(&[("x-forwarded-ssl", "on"), ("x-kept", "1")], &[("x-kept", "1")]);
    }

    #[test]
    fn an_answer_ends_in_one_place() {
        let check = |headers: &[(&'static str, &'static str)], expected| {
            let mut headers = map(headers);
            assert_eq!(of_answer(&mut headers), expected, "{headers:?}");
            headers.get_all(CONTENT_LENGTH).iter().count()
        };
        assert_eq!(check(&[("content-length", "3"), ("content-length", "3")], Ok(())), 1);
        assert_eq!(check(&[("transfer-encoding", "Chunked")], Ok(())), 0);
        assert_eq!(check(&[("content-length", "3"), ("content-length", "03")], Ok(())), 1);
        check(&[("content-length", "3"), ("content-length", "4")], Err(TwoEnds));
        for length in ["3, 3", "+3", "", "3a", "18446744073709551616"] {
            check(&[("content-length", length)], Err(TwoEnds));
        }
        check(&[("content-length", "3"), ("transfer-encoding", "chunked")], Err(TwoEnds));
        check(&[("transfer-encoding", "gzip, chunked")], Err(TwoEnds));
        check(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Err(TwoEnds));
    }

    #[test]
    fn cookies_are_one() {
        check(&[("cookie", "a=1"), ("cookie", "b=2")], &[("cookie", "a=1; b=2")]);
    }

    #[test]
    fn circles_end() {
        let one = ("via", "1.1 staunch");
        check(&[one], &[one, one]);
        let mut many = map(&vec![one; HOPS_MAX]);
        let origin = Origin { client: None, host: None, is_secure: false };
        assert!(of_request(&mut many, "1.1", &origin).is_err());
    }
}
