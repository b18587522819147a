//! The head of a request that is plain: it can be read in one way only, and asks for nothing
//! special.
//!
//! Whatever else comes is left to the long way, which is hyper's and knows how to answer and how to
//! refuse it. So here no request is refused, and in doubt none is plain.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Request, Status};
use staunch_http::{
    HttpLimits,
    wire::{end_in_crlf, is_plain_host, says_close},
};

use super::{field::Field, lines::Lines};
use crate::forward::HOPS_MAX;

/// The most headers of a plain request; the limit of its listener may be lower.
const HEADERS_MAX: usize = 64;

/// Room for the headers of a head.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

pub(crate) const fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// A plain request.
pub(crate) struct Plain<'b, 'h> {
    pub(crate) method: &'b str,
    /// Its path and query; it begins with `/`.
    pub(crate) target: &'b str,
    pub(crate) lines: Lines<'b, 'h>,
    pub(crate) host: &'b str,
    /// Bytes of its body.
    pub(crate) body: u64,
    /// Its client says no more after it.
    pub(crate) is_last: bool,
    /// Its client accepts an event stream.
    pub(crate) is_stream: bool,
    /// Its client wants the trailers of the answer (`TE: trailers`; RFC 9110, 10.1.4).
    pub(crate) wants_trailers: bool,
    /// Its `traceparent`, if it has one and no more.
    pub(crate) traceparent: Option<&'b [u8]>,
}

/// What a client has said so far.
pub(crate) enum Said<'b, 'h> {
    Plain(Plain<'b, 'h>),
    /// So far it could become plain.
    Part,
    Other,
}

/// What the fields of a head have told.
#[derive(Default)]
struct Told<'b> {
    host: Option<&'b str>,
    body: Option<u64>,
    is_last: bool,
    is_stream: bool,
    wants_trailers: bool,
    hops: usize,
    traceparent: Option<&'b [u8]>,
    traceparents: usize,
}

impl<'b, 'h> Plain<'b, 'h> {
    pub(crate) fn read(
        bytes: &'b [u8],
        room: &'h mut Room<'b>,
        limits: &HttpLimits,
    ) -> Said<'b, 'h> {
        let mut request = Request::new(&mut []);
        let parsed =
            ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, room);
        let head = match parsed {
            Ok(Status::Complete(head)) => head,
            Ok(Status::Partial) if bytes.len() < limits.head_bytes => return Said::Part,
            Ok(Status::Partial) | Err(_) => return Said::Other,
        };
        let Request { method, path, version, headers } = request;
        let headers: &'h [Header<'b>] = headers;
        let head = bytes.get(..head).unwrap_or_default();
        let is_within = head.len() <= limits.head_bytes && headers.len() <= limits.headers;
        let (Some(method), Some(target), Some(1)) = (method, path, version) else {
            return Said::Other;
        };
        if !is_within || !is_plain_target(target, limits.uri_bytes) || !end_in_crlf(head) {
            return Said::Other;
        }
        match Told::by(headers) {
            Some(
                told @ Told { host: Some(host), body, is_last, is_stream, wants_trailers, .. },
            ) => Said::Plain(Plain {
                method,
                target,
                lines: Lines { head, headers },
                host,
                body: body.unwrap_or(0),
                is_last,
                is_stream,
                wants_trailers,
                traceparent: told.traceparent.filter(|_| told.traceparents == 1),
            }),
            _ => Said::Other,
        }
    }
}

/// A path, not a URI or `*`, and no longer than it may be.
fn is_plain_target(target: &str, most: usize) -> bool {
    target.starts_with('/') && target.len() <= most && !target.contains('#')
}

impl<'b> Told<'b> {
    /// `None` if one of them is not plain.
    fn by(headers: &[Header<'b>]) -> Option<Told<'b>> {
        let mut told = Told::default();
        for header in headers {
            told.field(header)?;
        }
        Some(told)
    }

    fn field(&mut self, header: &Header<'b>) -> Option<()> {
        let value = header.value;
        match Field::of(header.name) {
            Field::Host => {
                let host = std::str::from_utf8(value).ok().filter(|_| is_plain_host(value))?;
                is_first(self.host.replace(host).as_ref())
            }
            Field::Length => is_first(self.body.replace(length(value)?).as_ref()),
            Field::Coding | Field::Upgrade | Field::Expect => None,
            Field::Te => {
                self.wants_trailers = true;
                value.eq_ignore_ascii_case(b"trailers").then_some(())
            }
            Field::Connection => {
                self.is_last |= says_close(value)?;
                Some(())
            }
            Field::Via => {
                self.hops += value.split(|byte| *byte == b',').count();
                (self.hops < HOPS_MAX).then_some(())
            }
            Field::Accept => {
                self.is_stream |= value == b"text/event-stream";
                Some(())
            }
            Field::Trace => {
                self.traceparent = Some(value);
                self.traceparents += 1;
                Some(())
            }
            Field::Hop | Field::Date | Field::TraceState | Field::Claim | Field::Other => Some(()),
        }
    }
}

fn is_first<T>(before: Option<&T>) -> Option<()> {
    before.is_none().then_some(())
}

/// Digits alone (RFC 9110, 8.6).
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` if it is not plain.
    fn read<R>(head: &str, look: impl FnOnce(Plain<'_, '_>) -> R) -> Option<R> {
        let mut room = room();
        match Plain::read(head.as_bytes(), &mut room, &HttpLimits::default()) {
            Said::Plain(plain) => Some(look(plain)),
            Said::Part | Said::Other => None,
        }
    }

    fn is_plain(head: &str) -> bool {
        read(head, |_| ()).is_some()
    }

    #[test]
    fn most_requests_are_plain() {
        let post = "POST /a?b=c HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 12\r\n\
                    Connection: Close\r\nAccept: text/event-stream\r\n\r\nbody";
        let told = read(post, |it| {
            assert_eq!((it.method, it.target, it.host), ("POST", "/a?b=c", "a.example:80"));
            assert_eq!(it.lines.headers.len(), 4);
            (it.lines.head.len(), it.body, it.is_last, it.is_stream)
        });
        assert_eq!(told, Some((post.len() - 4, 12, true, true)));
        assert!(is_plain("GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"));
        let trailers = "GET / HTTP/1.1\r\nHost: a\r\nTE: Trailers\r\nConnection: TE\r\n\r\n";
        assert_eq!(read(trailers, |it| it.wants_trailers), Some(true));
    }

    #[test]
    fn what_another_could_read_otherwise_is_not_plain() {
        for head in [
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nX : a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Own\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        ] {
            assert!(!is_plain(head), "{}", head.escape_debug());
        }
        let circle = "Via: 1.1 a, 1.1 b\r\n".repeat(HOPS_MAX / 2);
        assert!(!is_plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{circle}\r\n")));
        let many = "a: b\r\n".repeat(HEADERS_MAX);
        assert!(!is_plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")));
        let long = "a".repeat(9 << 10);
        assert!(!is_plain(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")));
    }

    #[test]
    fn a_part_may_become_plain_until_it_is_too_long() {
        let part = |bytes: &[u8]| {
            let mut room = room();
            matches!(Plain::read(bytes, &mut room, &HttpLimits::default()), Said::Part)
        };
        assert!(part(b"GET / HTTP/1.1\r\nHost: a\r\n"));
        assert!(part(b""));
        let long = [b"GET / HTTP/1.1\r\nHost: ", &vec![b'a'; 20 << 10][..]].concat();
        assert!(!part(&long));
    }
}
