//! The head of an answer: read from a server, and written for its client.

use std::{borrow::Cow, mem::MaybeUninit};

use httparse::{Header, ParserConfig, Response, Status};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use staunch_http::wire::{field, number, with_date};
use staunch_policy::Refusal;

use super::{chunked::Chunked, edits::Edits, field::Field, lines::Lines, plain::length};
use crate::forward::Failure;

/// Headers of an answer, as hyper's client takes them.
const HEADERS_MAX: usize = 100;

/// Room for the headers of a head.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

pub(crate) const fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// What is told of an answer before its headers.
pub(crate) struct Answer<'b, 'h> {
    pub(crate) status: u16,
    reason: &'b str,
    pub(crate) lines: Lines<'b, 'h>,
    pub(crate) body: Body,
    /// The server says more after it, on the same connection.
    pub(crate) is_last: bool,
    /// The headers that `Connection` names.
    named: Option<&'b [u8]>,
    has_date: bool,
}

/// What of a body is to come.
#[derive(Debug)]
pub(crate) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
    /// All until the server closes.
    Rest,
}

/// What a server has said so far.
pub(crate) enum Said<'b, 'h> {
    Answer(Answer<'b, 'h>),
    Part,
    /// It will answer later; so many bytes.
    Interim(usize),
    /// It is no answer to what it was asked, and why not.
    Nonsense(&'static str),
}

impl<'b, 'h> Answer<'b, 'h> {
    /// `is_head`: a `HEAD` is answered, which has no body whatever the headers say.
    pub(crate) fn read(bytes: &'b [u8], room: &'h mut Room<'b>, is_head: bool) -> Said<'b, 'h> {
        let mut response = Response::new(&mut []);
        let parsed =
            ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, room);
        let head = match parsed {
            Ok(Status::Complete(head)) => head,
            Ok(Status::Partial) => return Said::Part,
            Err(error) => return Said::Nonsense(no_head(error)),
        };
        let Response { version, code, reason, headers } = response;
        let headers: &'h [Header<'b>] = headers;
        match code {
            Some(100 | 102..200) => return Said::Interim(head),
            Some(200..1000) => {}
            Some(101) => return Said::Nonsense("its status is 101, and nobody has asked for that"),
            _ => return Said::Nonsense("its status is not of 100 to 999"),
        }
        let (status, reason) = (code.unwrap_or_default(), reason.unwrap_or_default());
        let has_body = !is_head && !matches!(status, 204 | 304);
        match Told::by(headers) {
            Ok(told) => Said::Answer(Answer {
                status,
                reason,
                lines: Lines { head: bytes.get(..head).unwrap_or_default(), headers },
                is_last: told.is_last || version != Some(1),
                named: told.named,
                has_date: told.has_date,
                body: if has_body { told.body() } else { Body::Length(0) },
            }),
            Err(why) => Said::Nonsense(why),
        }
    }

    /// Writes the head for a client that is told to come again, or not.
    pub(crate) fn write(&self, out: &mut Vec<u8>, edits: &Edits, is_last: bool) {
        out.extend_from_slice(b"HTTP/1.1 ");
        digits(out, self.status);
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut has_length = self.status == 204; // which has none (RFC 9110, 8.6)
        self.lines.write(out, |header| match Field::of(header.name) {
            Field::Length => !std::mem::replace(&mut has_length, true),
            _ => self.goes_on(header.name) && edits.keep(header.name),
        });
        edits.write(out, |name| {
            let is_it = |it: &Header<'_>| it.name.eq_ignore_ascii_case(name);
            edits.keep(name) && self.goes_on(name) && self.lines.headers.iter().any(is_it)
        });
        if !self.has_date && edits.keep("date") {
            with_date(|now| field(out, b"date", now));
        }
        if matches!(self.body, Body::Chunked(_)) {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if is_last {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether a header is not for this connection alone.
    fn goes_on(&self, name: &str) -> bool {
        let is_hop = matches!(
            Field::of(name),
            Field::Connection | Field::Hop | Field::Te | Field::Upgrade | Field::Coding
        );
        !is_hop && (self.named.is_none() || !self.is_named(name))
    }

    fn is_named(&self, name: &str) -> bool {
        let values = self.lines.headers.iter().filter(|it| Field::of(it.name) == Field::Connection);
        let mut tokens = values.flat_map(|it| it.value.split(|byte| *byte == b','));
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// What the fields of a head have told.
#[derive(Default)]
struct Told<'b> {
    length: Option<u64>,
    is_chunked: bool,
    is_last: bool,
    named: Option<&'b [u8]>,
    has_date: bool,
}

impl<'b> Told<'b> {
    /// Not if they say in two ways how long the body is (RFC 9112, 6.3).
    fn by(headers: &[Header<'b>]) -> Result<Told<'b>, &'static str> {
        let mut told = Told::default();
        for header in headers {
            told.field(header)?;
        }
        if told.is_chunked && told.length.is_some() {
            return Err("it is chunked and has a Content-Length, so it ends in two ways");
        }
        Ok(told)
    }

    fn field(&mut self, header: &Header<'b>) -> Result<(), &'static str> {
        match Field::of(header.name) {
            Field::Length => {
                let length = length(header.value).ok_or("its Content-Length is no number")?;
                let before = self.length.replace(length);
                if before.is_some_and(|before| before != length) {
                    return Err("its Content-Length is there twice, and differs");
                }
            }
            Field::Coding => {
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err("its Transfer-Encoding is not `chunked`");
                }
                if std::mem::replace(&mut self.is_chunked, true) {
                    return Err("it is chunked twice");
                }
            }
            Field::Connection => {
                for token in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if token.eq_ignore_ascii_case(b"close") {
                        self.is_last = true;
                    } else if !token.eq_ignore_ascii_case(b"keep-alive") {
                        self.named = Some(header.value);
                    }
                }
            }
            Field::Date => self.has_date = true,
            _ => {}
        }
        Ok(())
    }

    fn body(&self) -> Body {
        match self.length {
            _ if self.is_chunked => Body::Chunked(Chunked::default()),
            Some(length) => Body::Length(length),
            None => Body::Rest,
        }
    }
}

/// Why a head is none.
fn no_head(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::TooManyHeaders => "it has more than 100 headers, the most that are taken",
        httparse::Error::HeaderName => "the name of a header has what no name has, or it is folded",
        httparse::Error::HeaderValue => "the value of a header has what no value has",
        httparse::Error::Status => "its status is no number of three digits",
        httparse::Error::Version => "it does not begin with HTTP/1.1 or HTTP/1.0",
        _ => "its first line is none",
    }
}

/// Three digits.
fn digits(out: &mut Vec<u8>, status: u16) {
    let digit = |of: u16| b'0' + (of % 10) as u8;
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status)]);
}

/// An answer of our own.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) status: StatusCode,
    headers: Box<HeaderMap>,
    pub(crate) body: Cow<'static, [u8]>,
}

impl Own {
    /// A status, and a line that says why.
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Own {
        let mut text = text.into();
        text.push('\n');
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        Own { status, headers: Box::default(), body: text.into_bytes().into() }
            .with(CONTENT_TYPE, plain)
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Own {
        self.headers.insert(name, value);
        self
    }

    /// With what a policy changes in every answer.
    pub(crate) fn edited(mut self, edits: &Edits) -> Own {
        edits.apply(&mut self.headers);
        self
    }

    /// Writes all of it; to a `HEAD` without its body.
    pub(crate) fn write(&self, out: &mut Vec<u8>, is_head: bool, is_last: bool) {
        out.extend_from_slice(b"HTTP/1.1 ");
        digits(out, self.status.as_u16());
        out.push(b' ');
        out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &*self.headers {
            field(out, name.as_ref(), value.as_bytes());
        }
        with_date(|now| field(out, b"date", now));
        if self.status != StatusCode::NO_CONTENT {
            number(out, b"content-length", self.body.len() as u64);
        }
        if is_last {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !is_head {
            out.extend_from_slice(&self.body);
        }
    }
}

impl From<Failure> for Own {
    fn from(failure: Failure) -> Own {
        let (status, text, again) = failure.says();
        let own = Own::new(status, text);
        match again {
            Some(seconds) => own.with(RETRY_AFTER, HeaderValue::from(seconds)),
            None => own,
        }
    }
}

impl From<Refusal> for Own {
    fn from(refusal: Refusal) -> Own {
        let Refusal { status, headers, body, .. } = refusal;
        if headers.contains_key(CONTENT_TYPE) || body.is_empty() {
            return Own { status, headers, body };
        }
        let line = Own::new(status, String::from_utf8_lossy(&body));
        headers.iter().fold(line, |line, (name, value)| {
            let mut line = line;
            line.headers.append(name, value.clone());
            line
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<R>(head: &str, is_head: bool, look: impl FnOnce(Said<'_, '_>) -> R) -> R {
        let mut room = room();
        look(Answer::read(head.as_bytes(), &mut room, is_head))
    }

    fn written(head: &str, is_last: bool) -> String {
        let mut out = Vec::new();
        read(head, false, |said| match said {
            Said::Answer(answer) => answer.write(&mut out, &Edits::default(), is_last),
            _ => panic!("no answer"),
        });
        String::from_utf8(out).unwrap()
    }

    fn body(head: &str, is_head: bool) -> String {
        read(head, is_head, |said| match said {
            Said::Answer(it) => {
                let body = match it.body {
                    Body::Length(length) => length.to_string(),
                    Body::Chunked(_) => "chunked".to_owned(),
                    Body::Rest => "rest".to_owned(),
                };
                format!("{} {body}{}", it.status, if it.is_last { " last" } else { "" })
            }
            Said::Part => "part".to_owned(),
            Said::Interim(_) => "interim".to_owned(),
            Said::Nonsense(why) => why.to_owned(),
        })
    }

    #[test]
    fn a_body_is_as_long_as_rfc_9112_says() {
        let check = |head: &str, expected: &str| assert_eq!(body(head, false), expected, "{head}");
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "200 3");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "200 chunked");
        check("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "200 rest last");
        check("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "200 3 last");
        check("HTTP/1.1 204 No Content\r\n\r\n", "204 0");
        check("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 0");
        check("HTTP/1.1 100 Continue\r\n\r\n", "interim");
        check("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", "interim");
        check("HTTP/1.1 200 OK\r\nA:", "part");
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "200 3");
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true), "200 0");
    }

    #[test]
    fn what_says_two_things_is_nonsense() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
        for (head, why) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "there twice"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                "ends in two ways",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "is not `chunked`"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "chunked twice",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "status is 101"),
            ("HTTP/1.1 099 What\r\n\r\n", "100 to 999"),
            ("HTTP/1.1 2x0 What\r\n\r\n", "no number of three digits"),
            ("HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\na: \0\r\n\r\n", "value of a header"),
            ("SSH-2.0-OpenSSH\r\n", "does not begin with HTTP/1.1"),
            (&many, "more than 100 headers"),
        ] {
            let said = body(head, false);
            assert!(said.contains(why), "{head}: {said}");
        }
    }

    #[test]
    fn what_is_for_one_connection_stays_there() {
        let head = "HTTP/1.1 200 Fine\r\nServer: a\r\nConnection: keep-alive, X-Own, date\r\n\
                    Keep-Alive: timeout=5\r\nX-Own: 1\r\nProxy-Authenticate: Basic\r\n\
                    Content-Length: 3\r\nDate: d\r\nVary: *\r\n\r\n";
        let expected = "HTTP/1.1 200 Fine\r\nServer: a\r\nContent-Length: 3\r\nVary: *\r\n\r\n";
        assert_eq!(written(head, false), expected);
        let head = "HTTP/1.1 404 Not Found\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n";
        let expected = "HTTP/1.1 404 Not Found\r\nDate: d\r\ntransfer-encoding: chunked\r\n\
                        connection: close\r\n\r\n";
        assert_eq!(written(head, true), expected);
    }

    #[test]
    fn an_answer_has_a_date() {
        let head = written("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false);
        assert!(head.contains("\r\ndate: "), "{head}");
        assert!(head.contains(" GMT\r\n"), "{head}");
    }
}
