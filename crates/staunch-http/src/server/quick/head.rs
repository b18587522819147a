//! The head of a request that is plain: it can be read in one way only, asks for nothing but an
//! answer, and no body follows.
//!
//! Whatever else comes is left to hyper, and to those around it who know how to refuse it. So here no
//! request is refused, and in doubt none is plain.

use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::{Header, ParserConfig, Status};
use hyper::{
    HeaderMap, Method, Request, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
        UPGRADE,
    },
};

use crate::{
    limits::HttpLimits,
    server::{
        sniff::PREFACE,
        wire::{end_in_crlf, is_plain_host, says_close},
    },
};

/// The most headers of a plain request; the limit of its listener may be lower.
const HEADERS_MAX: usize = 64;

/// So many bytes are of no method of HTTP/1.
const PREFACE_TOLD: usize = "PRI ".len();

/// What a client has said so far.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, and most are plain")]
pub(super) enum Said {
    Plain(Plain),
    /// So far it could become plain.
    Part,
    Other,
}

#[derive(Debug)]
pub(super) struct Plain {
    pub(super) request: Request<()>,
    /// Bytes of its head.
    pub(super) length: usize,
    /// Its client says no more after it.
    pub(super) is_last: bool,
}

pub(super) fn read(bytes: &[u8], limits: &HttpLimits) -> Said {
    if PREFACE.starts_with(bytes) {
        // Of HTTP/2, unless it is a POST or the like so far.
        return if bytes.len() < PREFACE_TOLD { Said::Part } else { Said::Other };
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let config = ParserConfig::default();
    match config.parse_request_with_uninit_headers(&mut parsed, bytes, &mut room) {
        Ok(Status::Complete(length)) => {
            let head = bytes.get(..length).unwrap_or_default();
            plain(&parsed, head, limits).map_or(Said::Other, Said::Plain)
        }
        Ok(Status::Partial) if bytes.len() < limits.head_bytes => Said::Part,
        Ok(Status::Partial) | Err(_) => Said::Other,
    }
}

/// `None` if it is not plain.
fn plain(parsed: &httparse::Request<'_, '_>, head: &[u8], limits: &HttpLimits) -> Option<Plain> {
    let (method, target, Some(1)) = (parsed.method?, parsed.path?, parsed.version) else {
        return None;
    };
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let is_within = head.len() <= limits.head_bytes
        && parsed.headers.len() <= limits.headers
        && target.len() <= limits.uri_bytes;
    let is_path = target.starts_with('/') && !target.contains('#') && method != Method::CONNECT;
    if !is_within || !is_path || !end_in_crlf(head) {
        return None;
    }
    let copied = Copied { of: head, bytes: Bytes::copy_from_slice(head) };
    let (headers, is_last) = headers(parsed.headers, &copied)?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_maybe_shared(copied.part(target.as_bytes())).ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(Plain { request, length: head.len(), is_last })
}

/// A head, and a copy that its parts share.
struct Copied<'b> {
    of: &'b [u8],
    bytes: Bytes,
}

impl Copied<'_> {
    /// The copy of a part of the head.
    fn part(&self, part: &[u8]) -> Bytes {
        let at = part.as_ptr() as usize - self.of.as_ptr() as usize;
        self.bytes.slice(at..at + part.len())
    }
}

/// The fields, and whether the client says that it is its last request; `None` if one is not plain.
fn headers(parsed: &[Header<'_>], copied: &Copied<'_>) -> Option<(HeaderMap, bool)> {
    let (mut headers, mut is_last) = (HeaderMap::with_capacity(parsed.len()), false);
    let mut hosts = 0;
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        match name {
            HOST if is_plain_host(header.value) => hosts += 1,
            CONNECTION => is_last |= says_close(header.value)?,
            HOST | CONTENT_LENGTH | TRANSFER_ENCODING | UPGRADE | EXPECT | TE => return None,
            _ => {}
        }
        headers.append(name, HeaderValue::from_maybe_shared(copied.part(header.value)).ok()?);
    }
    (hosts == 1).then_some((headers, is_last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(head: &str) -> Option<Plain> {
        match read(head.as_bytes(), &HttpLimits::default()) {
            Said::Plain(plain) => Some(plain),
            Said::Part | Said::Other => None,
        }
    }

    #[test]
    fn most_requests_are_plain() {
        let head = "GET /a?b=c HTTP/1.1\r\nHost: a.example:80\r\nX-One:  1 \r\nx-one: 2\r\n\
                    Connection: Close\r\n\r\n";
        let Plain { request, length, is_last } = plain(&format!("{head}GET")).unwrap();
        assert_eq!((length, is_last), (head.len(), true));
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()[HOST], "a.example:80");
        let ones: Vec<_> = request.headers().get_all("x-one").iter().collect();
        assert_eq!(ones, ["1", "2"]);
        let own = plain("own /%20 HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!((own.request.method().as_str(), own.is_last), ("own", false));
    }

    #[test]
    fn what_another_could_read_otherwise_or_has_a_body_is_not_plain() {
        for head in [
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Own\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        ] {
            let said = read(head.as_bytes(), &HttpLimits::default());
            assert!(matches!(said, Said::Other), "{}: {said:?}", head.escape_debug());
        }
        let many = "a: b\r\n".repeat(HEADERS_MAX);
        assert!(plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).is_none());
        let long = "a".repeat(9 << 10);
        assert!(plain(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).is_none());
    }

    #[test]
    fn a_part_may_become_plain_until_it_is_too_long() {
        let said = |bytes: &[u8]| read(bytes, &HttpLimits::default());
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 1..head.len() {
            assert!(matches!(said(&head[..end]), Said::Part), "{end}");
        }
        let long = [&head[..22], &vec![b'a'; 20 << 10][..]].concat();
        assert!(matches!(said(&long), Said::Other));
    }
}
