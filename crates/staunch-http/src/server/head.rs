//! What a head must be beyond what hyper asks of it (RFC 9112, 3.2 and 6.1; RFC 9110, 7.2).

use hyper::{
    Method, Request, StatusCode, Version,
    ext::Protocol,
    header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING},
    http::uri::Authority,
};

/// Why no handler hears of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// HTTP/1.1, and no `Host`.
    NoHost,
    /// More than one.
    Hosts,
    /// It is not a host and a port.
    InvalidHost,
    /// HTTP/2, and `Host` is another than `:authority`.
    OtherHost,
    /// `*`, but not of OPTIONS.
    Asterisk,
    /// A host and a port, but not of CONNECT.
    Authority,
    /// CONNECT: a server is no proxy.
    Connect,
    /// A coding besides `chunked`.
    Coding,
    /// `chunked` twice.
    ChunkedTwice,
    /// HTTP/2, and more than one `Content-Length`, or not one in digits alone.
    Length,
    /// `Expect`, but not `100-continue`.
    Expectation,
}

impl Unfit {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Unfit::Connect | Unfit::Coding => StatusCode::NOT_IMPLEMENTED,
            Unfit::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Unfit::NoHost => "The request has no Host",
            Unfit::Hosts => "The request has more than one Host",
            Unfit::InvalidHost => "The request's Host is not a host and a port",
            Unfit::OtherHost => "The request's Host is another than its :authority",
            Unfit::Asterisk => "Only OPTIONS can ask for *",
            Unfit::Authority => "Only CONNECT can ask for a host and a port",
            Unfit::Connect => "This server is no proxy",
            Unfit::Coding => "Of transfer codings only chunked is known here",
            Unfit::ChunkedTwice => "The body is chunked twice",
            Unfit::Length => "The request's Content-Length is not one number",
            Unfit::Expectation => "Of expectations only 100-continue is met here",
        }
    }
}

/// Checks the head. The `Host` of a request for an absolute URI is that of the URI from here on,
/// whatever the client wrote there (RFC 9112, 3.2.2).
pub(super) fn check<B>(request: &mut Request<B>) -> Result<(), Unfit> {
    target(request)?;
    host(request)?;
    codings(request.headers())?;
    length(request)?;
    match request.headers().get(EXPECT) {
        Some(expect) if !expect.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Unfit::Expectation)
        }
        _ => Ok(()),
    }
}

fn target<B>(request: &Request<B>) -> Result<(), Unfit> {
    let is_tunnel = request.extensions().get::<Protocol>().is_none(); // see RFC 8441 for the others
    match *request.method() {
        Method::CONNECT if is_tunnel => Err(Unfit::Connect),
        _ if request.uri().authority().is_some() && request.uri().scheme().is_none() => {
            Err(Unfit::Authority)
        }
        Method::OPTIONS => Ok(()),
        _ if request.uri().path() == "*" => Err(Unfit::Asterisk),
        _ => Ok(()),
    }
}

fn host<B>(request: &mut Request<B>) -> Result<(), Unfit> {
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Unfit::InvalidHost); // RFC 9110, 4.2.4
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Unfit::Hosts);
    }
    let Some(host) = host else {
        let must = request.version() == Version::HTTP_11;
        return if must { Err(Unfit::NoHost) } else { Ok(()) };
    };
    if !is_host(host.as_bytes()) {
        return Err(Unfit::InvalidHost);
    }
    let Some(other) = authority.filter(|authority| !is(host, authority)) else { return Ok(()) };
    if request.version() == Version::HTTP_2 {
        return Err(Unfit::OtherHost); // RFC 9113, 8.3.1
    }
    let other = HeaderValue::from_str(other.as_str()).map_err(|_| Unfit::InvalidHost)?;
    request.headers_mut().insert(HOST, other);
    Ok(())
}

/// Of HTTP/1 requests it is read where they are taken apart. Over HTTP/2 it is not what ends the body, and h2
/// compares the first with what came; but all of them may go on to a server that is asked over HTTP/1.
fn length<B>(request: &Request<B>) -> Result<(), Unfit> {
    if request.version() != Version::HTTP_2 {
        return Ok(());
    }
    let mut lengths = request.headers().get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    let is_number = !first.is_empty() && first.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number && lengths.next().is_none() { Ok(()) } else { Err(Unfit::Length) }
}

fn is(host: &HeaderValue, authority: &Authority) -> bool {
    host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
}

/// Whether it is a host and perhaps a port, or empty: a URI need not have an authority.
pub(super) fn is_host(host: &[u8]) -> bool {
    is_plain_host(host) || is_any_host(host)
}

/// Whether it is a name or an IPv4 address, perhaps with a port, as most are; the others are taken apart.
pub fn is_plain_host(host: &[u8]) -> bool {
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let end = host.iter().position(|byte| !is_name_byte(byte)).unwrap_or(host.len());
    match host.get(end..) {
        Some([b':', port @ ..]) => end > 0 && is_port(port),
        Some([]) => end > 0,
        _ => false,
    }
}

fn is_port(digits: &[u8]) -> bool {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u16, |number, digit| {
            let value = u16::from(digit.checked_sub(b'0').filter(|value| *value < 10)?);
            number.checked_mul(10)?.checked_add(value)
        })
    };
    matches!(digits.len(), 1..=5) && number(digits).is_some()
}

fn is_any_host(host: &[u8]) -> bool {
    let is_authority = |host: &[u8]| {
        Authority::try_from(host).is_ok_and(|authority| {
            let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
            !authority.host().is_empty() && (matches!(port, "" | ":") || authority.port().is_some())
        })
    };
    host.is_empty() || (!host.contains(&b'@') && is_authority(host))
}

/// `chunked` alone, and once: of another coding nobody takes the body apart.
fn codings(headers: &HeaderMap) -> Result<(), Unfit> {
    let lines = headers.get_all(TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    let codings = lines.flat_map(|line| line.split(|byte| *byte == b','));
    let mut chunked = 0;
    for coding in codings.map(<[u8]>::trim_ascii) {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Unfit::Coding);
        }
        chunked += 1;
    }
    if chunked > 1 { Err(Unfit::ChunkedTwice) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_plain_is_a_host() {
        let cases: [(&[u8], bool); 11] = [
            (b"localhost", true),
            (b"127.0.0.1:8080", true),
            (b"a-1.example:1", true),
            (b"", false),
            (b":80", false),
            (b"a:", false),
            (b"a:65536", false),
            (b"a:65535", true),
            (b"a:8x", false),
            (b"a@b", false),
            (b"[::1]:80", false),
        ];
        for (host, is_plain) in cases {
            assert_eq!(is_plain_host(host), is_plain, "{}", host.escape_ascii());
            assert!(!is_plain || is_any_host(host), "{}", host.escape_ascii());
        }
    }
}
