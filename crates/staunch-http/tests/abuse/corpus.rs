//! What may be sent to an HTTP/1 server to have it misunderstand, and what ours says.
//! `docs/guide/http-refusals.md` is this table; [`ambiguous`](super::ambiguous) tries it.

use Expected::{Accepted, Answered, Refused};

/// Something a client may send.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) expected: Expected,
    /// Why, by which rule.
    pub(crate) why: &'static str,
}

/// What becomes of it. But for what is accepted, the connection is closed.
pub(crate) enum Expected {
    /// One answer: this.
    Refused(u16),
    /// These answers, of which the last is the refusal.
    Answered(&'static [u16]),
    /// It is answered, and the next request on the connection is too.
    Accepted,
}

pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) cases: &'static [Case],
}

const fn case(
    name: &'static str,
    bytes: &'static [u8],
    expected: Expected,
    why: &'static str,
) -> Case {
    Case { name, bytes, expected, why }
}

/// Parts of what is too long to be written here. [`Case::sent`] repeats the part in braces.
const HEAPS: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n{65 X: y\r\n}\r\n";
const LONG: &[u8] = b"GET /{9000 a} HTTP/1.1\r\nHost: a\r\n\r\n";
const EXTENSIONS: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{1000 1;a=0123456789012345\r\n.\r\n}0\r\n\r\n";
const EXTENSION: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a={17000 a}\r\n.\r\n0\r\n\r\n";

impl Case {
    /// What is sent: `{N PART}` is that part, N times.
    pub(crate) fn sent(&self) -> Vec<u8> {
        let mut halves = self.bytes.splitn(2, |byte| *byte == b'{');
        let mut sent = halves.next().unwrap_or_default().to_vec();
        let Some(rest) = halves.next() else { return sent };
        let mut halves = rest.splitn(2, |byte| *byte == b'}');
        let (repeated, rest) = (halves.next().unwrap(), halves.next().unwrap());
        let mut halves = repeated.splitn(2, |byte| *byte == b' ');
        let count = std::str::from_utf8(halves.next().unwrap()).unwrap().parse().unwrap();
        sent.extend_from_slice(&halves.next().unwrap().repeat(count));
        sent.extend_from_slice(rest);
        sent
    }
}

pub(crate) const CORPUS: &[Section] = &[
    Section {
        title: "The length of a body",
        cases: &[
            case("Content-Length, then Transfer-Encoding", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 6.3: the mark of smuggling"),
            case("Transfer-Encoding, then Content-Length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 6.3: the mark of smuggling"),
            case("the coding is not known", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.3: `chunked` is not the last"),
            case("`chunked` is not the last coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.3: `chunked` is not the last"),
            case("a coding before `chunked`", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(501), "RFC 9112, 6.1: a coding that nobody here undoes"),
            case("`identity` before `chunked`", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", Refused(501), "RFC 9112, 6.1: there is no such coding any more"),
            case("`chunked` twice in a line", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.1: at most once"),
            case("Transfer-Encoding twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.1: at most once"),
            case("Transfer-Encoding twice, the second unknown", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.3: `chunked` is not the last"),
            case("Transfer-Encoding in quotes", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.3: `chunked` is not the last"),
            case("Transfer-Encoding behind a fold", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 5.2: a folded line"),
            case("a blank before the colon of Transfer-Encoding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 5.1: no blank before a colon"),
            case("a vertical tab before `chunked`", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9110, 5.5: a control character"),
            case("an underscore in Transfer_Encoding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi", Accepted, "RFC 9110, 5.1: another header; a gateway must not make one of it"),
            case("Transfer-Encoding of HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400), "RFC 9112, 6.1: HTTP/1.0 has no codings"),
            case("two Content-Lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", Refused(400), "RFC 9112, 6.3"),
            case("the same Content-Length twice", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", Refused(400), "RFC 9112, 6.3: might be taken; no client means it"),
            case("a list of Content-Lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 3\r\n\r\nhi", Refused(400), "RFC 9112, 6.3"),
            case("a list of equal Content-Lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nhi", Refused(400), "RFC 9112, 6.3: might be taken; no client means it"),
            case("a Content-Length that is negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length with a sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length that is hexadecimal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length with a fraction", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2.0\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length that is empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length that is beyond 64 bits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551618\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length with a blank within", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("a Content-Length of digits that are not ASCII", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2\r\n\r\nhi", Refused(400), "RFC 9110, 8.6: digits and nothing else"),
            case("zeros before a Content-Length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0002\r\n\r\nhi", Accepted, "RFC 9110, 8.6: so many digits as one likes, and decimal"),
            case("a Content-Length over the limit", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n", Refused(413), "`HttpLimits::body_bytes`; RFC 9110, 15.5.14"),
            case("GET with a body", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", Accepted, "RFC 9110, 9.3.1: it means nothing, but is read as any other"),
        ],
    },
    Section {
        title: "Lines",
        cases: &[
            case("a request line that ends in LF", b"GET / HTTP/1.1\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare LF"),
            case("a header that ends in LF", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare LF"),
            case("a head that ends in LF", b"GET / HTTP/1.1\r\nHost: a\r\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare LF"),
            case("a head of bare LFs", b"GET / HTTP/1.1\nHost: a\n\n", Refused(400), "RFC 9112, 2.2: a bare LF"),
            case("a bare LF before the request line", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare LF"),
            case("an empty line before the request line", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Accepted, "RFC 9112, 2.2: old clients end a body so"),
            case("a CR within a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare CR"),
            case("a CR within a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\rY: b\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare CR"),
            case("a CR in the request line", b"GET /\rHTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare CR"),
            case("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", Refused(400), "RFC 9112, 2.2: a bare CR"),
            case("a folded header", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", Refused(400), "RFC 9112, 5.2: a folded line"),
            case("a fold by a tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", Refused(400), "RFC 9112, 5.2: a folded line"),
            case("a fold before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refused(400), "RFC 9112, 2.2: a blank before the first header"),
        ],
    },
    Section {
        title: "Headers",
        cases: &[
            case("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Refused(400), "RFC 9110, 5.5: a control character"),
            case("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", Refused(400), "RFC 9110, 5.6.2: a name is a token"),
            case("a blank before a colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", Refused(400), "RFC 9112, 5.1: no blank before a colon"),
            case("no name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Refused(400), "RFC 9110, 5.6.2: a name is a token"),
            case("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Refused(400), "RFC 9112, 5: a header has a colon"),
            case("a name in brackets", b"GET / HTTP/1.1\r\nHost: a\r\n[X]: b\r\n\r\n", Refused(400), "RFC 9110, 5.6.2: a name is a token"),
            case("a name that is not ASCII", b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa4: b\r\n\r\n", Refused(400), "RFC 9110, 5.6.2: a name is a token"),
            case("a value that is not ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", Accepted, "RFC 9110, 5.5: opaque bytes"),
            case("too many headers", HEAPS, Refused(431), "`HttpLimits::headers`; RFC 6585, 5"),
            case("an expectation that is not known", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", Refused(417), "RFC 9110, 10.1.1"),
            case("`100-continue` in capitals", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\nContent-Length: 2\r\n\r\nhi", Accepted, "RFC 9110, 10.1.1: whatever the case"),
        ],
    },
    Section {
        title: "The request line",
        cases: &[
            case("a method that is no token", b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9110, 9.1: a method is a token"),
            case("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9110, 9.1: a method is a token"),
            case("two blanks before the path", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3: one blank"),
            case("two blanks after the path", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3: one blank"),
            case("a tab after the method", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3: one blank"),
            case("a blank in the path", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3.2: no blank in a target"),
            case("a control character in the path", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 3986, 3.3"),
            case("a blank at the end of the line", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3"),
            case("no version", b"GET /\r\n\r\n", Refused(400), "HTTP/0.9 is not spoken"),
            case("HTTP/0.9 by name", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Refused(400), "RFC 9110, 2.5: no such version here"),
            case("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused(400), "RFC 9110, 2.5: there is none"),
            case("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", Refused(400), "RFC 9110, 2.5: no such version here"),
            case("a version in small letters", b"GET / http/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 2.3: in capitals"),
            case("a version with zeros", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 2.3: two digits"),
            case("a method in small letters", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Accepted, "RFC 9110, 9.1: another method than GET; the handler says 405"),
            case("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Refused(501), "RFC 9110, 9.3.6: a server is no proxy"),
            case("CONNECT of a path", b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(501), "RFC 9112, 3.2.3"),
            case("OPTIONS of `*`", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Accepted, "RFC 9112, 3.2.4"),
            case("GET of `*`", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3.2.4: OPTIONS alone"),
            case("a target without a slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3.2.3: CONNECT alone"),
            case("a path over the limit", LONG, Refused(414), "`HttpLimits::uri_bytes`; RFC 9110, 15.5.15"),
        ],
    },
    Section {
        title: "Host",
        cases: &[
            case("none of HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n", Refused(400), "RFC 9112, 3.2"),
            case("none of HTTP/1.0", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Accepted, "RFC 9112, 3.2: 1.1 and later must"),
            case("two", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400), "RFC 9112, 3.2"),
            case("the same twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 3.2"),
            case("empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Accepted, "RFC 9110, 7.2: of a URI without authority"),
            case("a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("a blank within", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("a user", b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("no number as port", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("a port beyond 65535", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("a bracket that is open", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("a port alone", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Refused(400), "RFC 9112, 3.2: not a host and a port"),
            case("an address of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Accepted, "RFC 3986, 3.2.2"),
            case("another than that of the target", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Accepted, "RFC 9112, 3.2.2: handlers find that of the target in both places"),
            case("invalid, though the target has one", b"GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400), "RFC 9112, 3.2"),
            case("none, though the target has one", b"GET http://b/ HTTP/1.1\r\n\r\n", Refused(400), "RFC 9112, 3.2"),
            case("a user in the target", b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9110, 4.2.4"),
        ],
    },
    Section {
        title: "Chunks",
        cases: &[
            case("two, and the end", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", Accepted, "as it should be"),
            case("a size in capitals, and with zeros", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000A\r\n0123456789\r\n0\r\n\r\n", Accepted, "RFC 9112, 7.1: hexadecimal digits"),
            case("a size with 0x", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a size with a sign", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a size that is negative", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("no size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a size of a letter beyond F", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ng\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a size beyond 64 bits", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a size after a blank", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a size with a blank within", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 0\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: hexadecimal digits and nothing else"),
            case("a blank after the size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n", Accepted, "RFC 9112, 7.1.1: blanks may stand before an extension; nobody reads them otherwise"),
            case("a size line that ends in LF", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: CRLF"),
            case("a size line that ends in CR", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\rhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: CRLF"),
            case("no CRLF after a chunk", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi0\r\n\r\n", Refused(400), "RFC 9112, 7.1: CRLF"),
            case("LF after a chunk", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: CRLF"),
            case("a chunk that is longer than its size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1: CRLF"),
            case("LF after the last", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400), "RFC 9112, 7.1: CRLF"),
            case("an extension", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\n\r\n", Accepted, "RFC 9112, 7.1.1: ignored"),
            case("LF in an extension", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nb\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1.1: two servers end the line in two places"),
            case("CR in an extension", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\rb\r\nhi\r\n0\r\n\r\n", Refused(400), "RFC 9112, 7.1.1: two servers end the line in two places"),
            case("extensions of 16 KiB", EXTENSIONS, Refused(400), "RFC 9112, 7.1.1; CVE-2023-39326"),
            case("one extension of 16 KiB", EXTENSION, Refused(400), "RFC 9112, 7.1.1; CVE-2023-39326"),
        ],
    },
    Section {
        title: "Trailers",
        cases: &[
            case("one", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n", Accepted, "RFC 9110, 6.5: not merged with the headers"),
            case("Content-Length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", Refused(400), "RFC 9110, 6.5.1"),
            case("Transfer-Encoding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", Refused(400), "RFC 9110, 6.5.1"),
            case("Host", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", Accepted, "RFC 9110, 6.5.1: not merged with the headers; a gateway must drop it"),
            case("one that ends in LF", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n", Refused(400), "RFC 9112, 2.2: a bare LF"),
            case("one that is folded", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n", Refused(400), "RFC 9112, 5.2: a folded line"),
            case("NUL in one", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \0\r\n\r\n", Refused(400), "RFC 9110, 5.5: a control character"),
        ],
    },
    Section {
        title: "One after the other",
        cases: &[
            case("garbage after a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01\x02garbage\r\n\r\n", Answered(&[200, 400]), "the first is answered, the second refused"),
            case("a body longer than its length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi, GET / HTTP/1.1\r\n\r\n", Answered(&[200, 400]), "RFC 9112, 6.3: what follows is another request, and none"),
            case("a bare LF in the second", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\n\r\n", Answered(&[200, 400]), "the bytes of each are looked at"),
            case("two lengths in the third, after a body and chunks", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Answered(&[200, 200, 400]), "the bytes of each are looked at"),
            case("the start of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Refused(400), "RFC 9110, 9.1: a method is a token"),
            case("half of the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n", Refused(400), "RFC 9113, 3.4: HTTP/2 begins with all of it"),
        ],
    },
];
