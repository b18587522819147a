//! A request, as far as policies look at it.

use std::{
    net::IpAddr,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;

/// The head of a request: borrowed from whatever has parsed it.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    /// Who asks; over a Unix socket nobody has an address.
    pub client: Option<IpAddr>,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// The names in the certificate that its connection has shown; `None` if it has shown none.
    pub names: Option<&'r [String]>,
    /// As it is written: in capitals, mostly.
    pub method: &'r str,
    /// Its headers.
    pub fields: &'r dyn Fields,
}

/// The headers of a request, which may be looked at while somebody else is asked. Names are asked for in lower case, and are the same in any.
pub trait Fields: Sync {
    /// The first value of `name`.
    fn first(&self, name: &str) -> Option<&[u8]>;

    /// Each value of `name`, in order.
    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

impl Fields for HeaderMap {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.get_all(name).iter().for_each(|value| each(value.as_bytes()));
    }
}

/// As a parser has them that copies nothing.
impl Fields for [(&[u8], &[u8])] {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        let its = self.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
        its.for_each(|(_, value)| each(value));
    }
}

impl<const N: usize> Fields for [(&[u8], &[u8]); N] {
    fn first(&self, name: &str) -> Option<&[u8]> {
        Fields::first(&self[..], name)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self[..].all(name, each);
    }
}

/// What a header says that may be there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only<'r> {
    Nothing,
    One(&'r [u8]),
    /// Two readers of the same request could each take another one.
    Several,
}

impl<'r> Asked<'r> {
    pub(crate) fn only(&self, name: &str) -> Only<'r> {
        let Some(first) = self.fields.first(name) else { return Only::Nothing };
        let mut count = 0;
        self.fields.all(name, &mut |_| count += 1);
        if count > 1 { Only::Several } else { Only::One(first) }
    }

    /// What stands behind `Bearer` in `Authorization` (RFC 6750, 2.1).
    pub(crate) fn bearer(&self) -> Only<'r> {
        match self.only("authorization") {
            Only::One(value) => bearer(value).map_or(Only::Nothing, Only::One),
            other => other,
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| rest.trim_ascii())
}

/// What time it is, by the two clocks that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since 1970, in UTC; may jump.
    pub date: Duration,
    /// Since any moment before the first request; never goes back.
    pub steady: Duration,
}

impl Now {
    /// By the clocks of this machine.
    pub fn read() -> Now {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        let begin = *BEGIN.get_or_init(Instant::now);
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { date, steady: begin.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_there_twice_is_no_answer() {
        let fields: [(&[u8], &[u8]); 3] =
            [(b"A", b"1"), (b"authorization", b"BEARER  x "), (b"a", b"2")];
        let map: HeaderMap = [("a", "1"), ("authorization", "BEARER  x "), ("a", "2")]
            .into_iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            })
            .collect();
        for fields in [&fields as &dyn Fields, &map] {
            let asked =
                Asked { client: None, is_secure: false, names: None, method: "GET", fields };
            assert_eq!(asked.only("a"), Only::Several);
            assert_eq!(asked.only("b"), Only::Nothing);
            assert_eq!(asked.bearer(), Only::One(b"x"));
        }
        assert_eq!(bearer(b"Basic x"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
