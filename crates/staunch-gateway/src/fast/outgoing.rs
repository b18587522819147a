//! The head that a server is sent: what the client said, without what was meant for us alone, and
//! with what the server is to know of the client (as [`of_request`](crate::forward::of_request)).

use std::{io::Write, net::IpAddr};

use httparse::Header;

use staunch_http::wire::field;

use super::{edits::Edits, field::Field, plain::Plain};
use crate::traces::Part;

/// What a server is told of the client of a connection, in all its requests.
#[derive(Debug)]
pub(crate) struct Introduction {
    address: Option<Text>,
    is_secure: bool,
}

/// An address as text. In place: it lives as long as the connection is in use.
#[derive(Debug)]
struct Text {
    bytes: [u8; ADDRESS_MAX],
    length: u8,
}

/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const ADDRESS_MAX: usize = 45;

impl Introduction {
    pub(crate) fn new(client: Option<IpAddr>, is_secure: bool) -> Introduction {
        Introduction {
            address: client.and_then(|client| Text::of(client.to_canonical())),
            is_secure,
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, &[u8])> + Clone {
        let address = self.address.as_ref().map(|address| ("x-forwarded-for", address.bytes()));
        let proto: &[u8] = if self.is_secure { b"https" } else { b"http" };
        let others: [(_, &[u8]); 2] = [("x-forwarded-proto", proto), ("via", b"1.1 staunch")];
        address.into_iter().chain(others)
    }
}

impl Text {
    fn of(address: IpAddr) -> Option<Text> {
        let mut bytes = [0; ADDRESS_MAX];
        let mut left = &mut bytes[..];
        write!(left, "{address}").ok()?;
        let length = (ADDRESS_MAX - left.len()) as u8; // of 45
        Some(Text { bytes, length })
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
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
    part: &Part,
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
    plain.lines.write(out, |header| match Field::of(header.name) {
        Field::Trace => part.keeps_parent() && edits.keep(header.name),
        Field::TraceState => part.keeps_state() && edits.keep(header.name),
        Field::Length => true,
        Field::Accept | Field::Date | Field::Via | Field::Other => edits.keep(header.name),
        Field::Host
        | Field::Connection
        | Field::Hop
        | Field::Claim
        | Field::Te
        // Of these a plain request has none.
        | Field::Coding
        | Field::Upgrade
        | Field::Expect => false,
    });
    if plain.wants_trailers {
        field(out, b"te", b"trailers");
        field(out, b"connection", b"te");
    }
    // Ours come first, and then what the policy changes, as on the long way.
    let traceparent = part.header();
    let traceparent = traceparent.as_ref().map(|header| ("traceparent", &header[..]));
    let own = [("x-forwarded-host", plain.host.as_bytes())].into_iter().chain(traceparent);
    let own = own.chain(introduction.fields());
    for (name, value) in own.clone() {
        if edits.keep(name) {
            field(out, name.as_bytes(), value);
        }
    }
    edits.write(out, |name| {
        let of_client = |it: &Header<'_>| {
            let goes_on = match Field::of(it.name) {
                Field::Trace => part.keeps_parent(),
                Field::TraceState => part.keeps_state(),
                field => matches!(field, Field::Accept | Field::Date | Field::Other),
            };
            goes_on && it.name.eq_ignore_ascii_case(name)
        };
        let own = own.clone().any(|(own, _)| own == name);
        edits.keep(name) && (own || plain.lines.headers.iter().any(of_client))
    });
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use staunch_config::Traces;
    use staunch_http::HttpLimits;
    use staunch_scope::TraceId;

    use super::*;
    use crate::fast::plain::{Said, room};

    fn sent(head: &str) -> String {
        sent_with(head, &Edits::default())
    }

    fn sent_with(head: &str, edits: &Edits) -> String {
        sent_traced(head, edits, None)
    }

    fn sent_traced(head: &str, edits: &Edits, traces: Option<&Traces>) -> String {
        let mut room = room();
        let Said::Plain(plain) = Plain::read(head.as_bytes(), &mut room, &HttpLimits::default())
        else {
            panic!("not plain");
        };
        let introduction = Introduction::new(Some([10, 0, 0, 7].into()), true);
        let to = Address { path: "/p", query: Some("q"), host: b"h" };
        let mut out = Vec::new();
        let part = Part::new(traces, plain.traceparent, TraceId::random);
        write(&mut out, &plain, &to, &introduction, edits, &part);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_for_the_server_is_sent_and_nothing_else() {
        let said = "POST /a HTTP/1.1\r\nHost: a.example\r\nAccept: x\r\nKeep-Alive: 1\r\n\
                    X-Forwarded-For: 1.1.1.1\r\nX_Real_IP: 1.1.1.1\r\nForwarded: for=a\r\n\
                    Proxy-Authorization: b\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\
                    Via: 1.0 other\r\nCookie: a=1\r\ntraceparent: 00-no\r\ntracestate: a=1\r\n\r\n";
        assert_eq!(
            sent(said),
            "POST /p?q HTTP/1.1\r\nhost: h\r\nAccept: x\r\nContent-Length: 3\r\nVia: 1.0 other\r\n\
             Cookie: a=1\r\nx-forwarded-host: a.example\r\nx-forwarded-for: 10.0.0.7\r\n\
             x-forwarded-proto: https\r\nvia: 1.1 staunch\r\n\r\n"
        );
    }

    #[test]
    fn a_policy_has_the_last_word_of_what_a_server_is_told() {
        let edits = Edits::of("x-forwarded-for", ("x-forwarded-proto", "other"));
        let sent = sent_with("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", &edits);
        assert!(!sent.contains("x-forwarded-for"), "{sent}");
        assert_eq!(sent.matches("x-forwarded-proto").count(), 1, "{sent}");
        assert!(sent.contains("x-forwarded-proto: other\r\n"), "{sent}");
    }

    #[test]
    fn what_is_told_of_a_trace_is_decided_once() {
        const GIVEN: &str =
            "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
        let head =
            |more: &str| format!("GET /a HTTP/1.1\r\nHost: a\r\nTraceState: a=1\r\n{more}\r\n");
        assert!(!sent(&head("")).to_lowercase().contains("trace"));
        let untouched = sent(&head(GIVEN));
        assert!(untouched.contains(&format!("TraceState: a=1\r\n{GIVEN}")), "{untouched}");
        assert!(!sent(&head(&GIVEN.repeat(2))).to_lowercase().contains("trace"));
        let traces = Traces::new("http://c");
        let sent = sent_traced(&head(GIVEN), &Edits::default(), Some(&traces));
        assert!(sent.contains("TraceState: a=1\r\n") && !sent.contains(GIVEN), "{sent}");
        let ours =
            sent.split_once("\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-").unwrap().1;
        assert!(
            !ours.starts_with("b7ad6b7169203331") && ours[16..].starts_with("-00\r\n"),
            "{sent}"
        );
    }
}
