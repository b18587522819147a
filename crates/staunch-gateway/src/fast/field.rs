//! The header fields that mean something to a gateway.

/// What a field is for, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Host,
    Length,
    /// `Transfer-Encoding`
    Coding,
    Connection,
    /// Of one connection, and no more to be said about it (RFC 9110, 7.6.1).
    Hop,
    /// `TE`
    Te,
    Upgrade,
    Expect,
    Accept,
    Date,
    Via,
    /// `traceparent`
    Trace,
    /// `tracestate`
    TraceState,
    /// Who asks, and for what: for us to say.
    Claim,
    /// Everything else, which is for the other side.
    Other,
}

impl Field {
    /// By its length first: most fields are none of these, and few are compared with more than one.
    pub(crate) fn of(name: &str) -> Field {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let found = match name.len() {
            2 if is("te") => Field::Te,
            3 if is("via") => Field::Via,
            4 if is("host") => Field::Host,
            4 if is("date") => Field::Date,
            6 if is("accept") => Field::Accept,
            6 if is("expect") => Field::Expect,
            7 if is("upgrade") => Field::Upgrade,
            9 if is("forwarded") => Field::Claim,
            10 if is("connection") => Field::Connection,
            10 if is("keep-alive") => Field::Hop,
            10 if is("tracestate") => Field::TraceState,
            11 if is("traceparent") => Field::Trace,
            14 if is("content-length") => Field::Length,
            14 if is("http2-settings") => Field::Hop,
            16 if is("proxy-connection") => Field::Hop,
            17 if is("transfer-encoding") => Field::Coding,
            18 if is("proxy-authenticate") => Field::Hop,
            19 if is("proxy-authorization") => Field::Hop,
            _ => Field::Other,
        };
        if found == Field::Other && is_claim(name) { Field::Claim } else { found }
    }
}

/// Whether a header is for us to say: who asks, and for what. Some servers read `_` as `-`.
pub(crate) fn is_claim(name: &str) -> bool {
    if !name.starts_with(['x', 'X']) {
        return false;
    }
    let is_like = |known: &str| {
        let same = |(said, known): (u8, u8)| {
            let said = if said == b'_' { b'-' } else { said.to_ascii_lowercase() };
            said == known
        };
        name.len() >= known.len() && name.bytes().zip(known.bytes()).all(same)
    };
    let whole = |known: &str| name.len() == known.len() && is_like(known);
    is_like("x-forwarded-")
        || whole("x-real-ip")
        || whole("x-original-url")
        || whole("x-rewrite-url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        assert_eq!(Field::of("HOST"), Field::Host);
        assert_eq!(Field::of("Content-length"), Field::Length);
        assert_eq!(Field::of("content_length"), Field::Other);
        assert_eq!(Field::of("X-Kept"), Field::Other);
    }

    #[test]
    fn claims_are_known_however_they_are_written() {
        for name in ["X-Forwarded-For", "x_forwarded_for", "x-forwarded-ssl", "X-Real_IP"] {
            assert_eq!(Field::of(name), Field::Claim, "{name}");
        }
        for name in ["x-real-ip-2", "x-forwarded", "forwarded-for", "x"] {
            assert_eq!(Field::of(name), Field::Other, "{name}");
        }
        assert_eq!(Field::of("Forwarded"), Field::Claim);
    }
}
