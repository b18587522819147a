//! The head that a server is sent: what the client said, without what was meant for us alone, and with
//! what the server is to know of the client (as [`of_request`](crate::forward::of_request)).

use std::{io::Write, net::IpAddr};

use staunch_scope::TraceId;

use super::{edits::Edits, field::Field, plain::Plain};

/// What a server is told of the client of a connection, in all its requests.
#[derive(Debug)]
pub(crate) struct Introduction(Vec<u8>);

impl Introduction {
    pub(crate) fn new(client: Option<IpAddr>, is_secure: bool) -> Introduction {
        let mut lines = Vec::with_capacity(96);
        if let Some(client) = client {
            field(&mut lines, b"x-forwarded-for", client.to_canonical().to_string().as_bytes());
        }
        let proto: &[u8] = if is_secure { b"https" } else { b"http" };
        field(&mut lines, b"x-forwarded-proto", proto);
        field(&mut lines, b"via", b"1.1 staunch");
        Introduction(lines)
    }
}

/// What stands in the request line, and whom it is for.
pub(crate) struct Address<'r> {
    pub(crate) path: &'r str,
    pub(crate) query: Option<&'r str>,
    pub(crate) host: &'r [u8],
}

/// Writes the head.
pub(crate) fn write(
    out: &mut Vec<u8>,
    plain: &Plain<'_, '_>,
    to: &Address<'_>,
    introduction: &Introduction,
    edits: &Edits,
    request: u64,
) {
    out.extend_from_slice(plain.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(to.path.as_bytes());
    if let Some(query) = to.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field(out, b"host", to.host);
    let mut trace = None;
    plain.lines.write(out, |header| match Field::of(header.name) {
        Field::Trace => {
            trace = trace.or_else(|| TraceId::from_traceparent(header.value));
            false
        }
        Field::Length => true,
        Field::Accept | Field::Date | Field::Via | Field::Other => edits.keep(header.name),
        Field::Host
        | Field::Connection
        | Field::Hop
        | Field::Claim
        // Of these a plain request has none.
        | Field::Coding
        | Field::Te
        | Field::Upgrade
        | Field::Expect => false,
    });
    edits.write(out, plain.lines);
    field(out, b"x-forwarded-host", plain.host.as_bytes());
    let trace = trace.unwrap_or_else(|| TraceId::derived(request));
    field(out, b"traceparent", &trace.to_traceparent());
    out.extend_from_slice(&introduction.0);
    out.extend_from_slice(b"\r\n");
}

/// Writes a header field.
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a header field whose value is a number.
pub(crate) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    let _ = write!(out, "{name}: {value}\r\n"); // to memory
}

#[cfg(test)]
mod tests {
    use staunch_http::HttpLimits;

    use super::*;
    use crate::fast::plain::{Said, room};

    fn sent(head: &str) -> String {
        let mut room = room();
        let Said::Plain(plain) = Plain::read(head.as_bytes(), &mut room, &HttpLimits::default())
        else {
            panic!("not plain");
        };
        let introduction = Introduction::new(Some([10, 0, 0, 7].into()), true);
        let to = Address { path: "/p", query: Some("q"), host: b"h" };
        let mut out = Vec::new();
        write(&mut out, &plain, &to, &introduction, &Edits::default(), 1);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_for_the_server_is_sent_and_nothing_else() {
        let said = "POST /a HTTP/1.1\r\nHost: a.example\r\nAccept: x\r\nKeep-Alive: 1\r\n\
                    X-Forwarded-For: 1.1.1.1\r\nX_Real_IP: 1.1.1.1\r\nForwarded: for=a\r\n\
                    Proxy-Authorization: b\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\
                    Via: 1.0 other\r\nCookie: a=1\r\n\
                    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
        let sent = sent(said);
        let (before, after) = sent.split_once("traceparent: ").unwrap();
        let (trace, after) = after.split_once("\r\n").unwrap();
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");
        assert_eq!(
            format!("{before}{after}"),
            "POST /p?q HTTP/1.1\r\nhost: h\r\nAccept: x\r\nContent-Length: 3\r\nVia: 1.0 other\r\n\
             Cookie: a=1\r\nx-forwarded-host: a.example\r\nx-forwarded-for: 10.0.0.7\r\n\
             x-forwarded-proto: https\r\nvia: 1.1 staunch\r\n\r\n"
        );
    }

    #[test]
    fn each_request_has_a_trace() {
        let head = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(sent(head).contains("\r\ntraceparent: 00-"), "{}", sent(head));
    }
}
