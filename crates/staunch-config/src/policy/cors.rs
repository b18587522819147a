//! `[policy.cors]`: which pages of other origins may ask (Fetch standard, 3.2).

use std::str::FromStr;
use std::time::Duration;

use super::headers::own_name;
use crate::reader::Section;
use crate::reader::kinds::{boolean, duration, list_of};
use crate::route::{HostPattern, method};

/// What browsers are told of requests from pages of other origins. They ask before a request that a
/// form could not send; such questions are answered without the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins whose pages may ask.
    pub origins: Origins,
    /// The methods they may use. \[`GET`, `HEAD` and `POST`, which need no permission\]
    pub methods: Vec<String>,
    /// The headers that they may set, in lower case. \[empty: those that need no permission\]
    pub headers: Vec<String>,
    /// The headers of an answer that they may read, in lower case. \[empty: those that need no
    /// permission\]
    pub expose: Vec<String>,
    /// Whether a browser may send cookies along. \[false\]
    pub credentials: bool,
    /// For how long a browser may remember this. \[10m: a change is soon known, and few ask again\]
    pub max_age: Duration,
}

/// Which origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Any,
    /// These.
    Some(Vec<OriginPattern>),
}

/// An origin: `https://example.com`, or `https://*.example.com` for every name below it. Without
/// `https://` it is that.
///
/// ```
/// use staunch_config::OriginPattern;
///
/// let below: OriginPattern = "https://*.example.com".parse().unwrap();
/// assert!(below.matches("https://shop.example.com"));
/// assert!(!below.matches("https://example.com"));
/// assert!(!below.matches("http://shop.example.com"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// With `://`.
    scheme: &'static str,
    host: HostPattern,
    /// With its colon; empty is that of the scheme.
    port: String,
}

/// What is written is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an origin such as `https://example.com`, `https://*.example.com` or \
     `http://localhost:3000`, without a path"
)]
pub struct ParseOriginError;

impl OriginPattern {
    /// Whether it takes `origin`, as browsers write it: in lower case, without the port of the scheme.
    pub fn matches(&self, origin: &str) -> bool {
        let rest = origin.strip_prefix(self.scheme);
        let host = rest.and_then(|rest| rest.strip_suffix(self.port.as_str()));
        // A host that still has a port is of another origin.
        host.is_some_and(|host| {
            let has_port = host.rfind(':').is_some_and(|colon| !host[colon..].contains(']'));
            !has_port && !host.contains('/') && self.host.matches(host)
        })
    }
}

impl FromStr for OriginPattern {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let (scheme, rest, default) =
            match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
                (Some(rest), _) => ("http://", rest, 80),
                (None, Some(rest)) => ("https://", rest, 443),
                (None, None) => ("https://", text, 443),
            };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port: u16 = port.parse().map_err(|_| ParseOriginError)?;
                (host, if port == default { String::new() } else { format!(":{port}") })
            }
            _ => (rest, String::new()),
        };
        Ok(Self { scheme, host: host.parse().map_err(|_| ParseOriginError)?, port })
    }
}

const MAX_AGE: Duration = Duration::from_mins(10);
/// What Firefox takes.
const MAX_AGE_MAX: Duration = Duration::from_hours(24);

impl Cors {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let origins = section.required(
            "origins",
            "[\"https://example.com\"]",
            list_of("origins, such as [\"https://example.com\"], or [\"*\"]", |text| {
                if text == "*" { Ok(None) } else { text.parse().map(Some) }
            }),
        );
        let methods = list_of("methods, such as [\"GET\", \"PUT\"]", method);
        let methods = section.optional(
            "methods",
            methods,
            ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
        );
        let headers = || list_of("names of headers, such as [\"x-team\"]", own_name);
        let allowed = section.optional("headers", headers(), Vec::new());
        let expose = section.optional("expose", headers(), Vec::new());
        let credentials = section.optional("credentials", boolean, false);
        let max_age = section.optional("max_age", duration(Duration::ZERO..=MAX_AGE_MAX), MAX_AGE);
        let origins: Vec<Option<OriginPattern>> = origins?;
        if origins.is_empty() {
            section.wrong("origins", "must name one origin at least");
        }
        let some: Option<Vec<_>> = origins.iter().cloned().collect();
        if some.is_none() && origins.len() > 1 {
            section.wrong("origins", "must be [\"*\"] alone, or a list of origins without it");
        }
        if some.is_none() && credentials {
            let why = "must be false with origins = [\"*\"]: every page could read what a cookie opens; \
                       name the origins";
            section.wrong("credentials", why);
        }
        if credentials
            && [&methods, &allowed, &expose].iter().any(|list| list.iter().any(|it| it == "*"))
        {
            let why =
                "must be false beside \"*\", which browsers then take for a name (Fetch, 3.2.5)";
            section.wrong("credentials", why);
        }
        let origins = some.map_or(Origins::Any, Origins::Some);
        Some(Self { origins, methods, headers: allowed, expose, credentials, max_age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_origin_matches() {
        for (pattern, origin, expected) in [
            ("https://a.com", "https://a.com", true),
            ("a.com", "https://a.com", true),
            ("https://A.com:443", "https://a.com", true),
            ("https://a.com", "http://a.com", false),
            ("https://a.com", "https://a.com:8443", false),
            ("https://a.com", "https://a.com.evil", false),
            ("https://a.com", "https://b-a.com", false),
            ("https://a.com:8443", "https://a.com:8443", true),
            ("https://a.com:8443", "https://a.com", false),
            ("https://*.a.com", "https://b.c.a.com", true),
            ("https://*.a.com", "https://a.com", false),
            ("https://*.a.com", "https://eva.com", false),
            ("https://*.a.com", "https://evil.com/.a.com", false),
            ("https://*.a.com:81", "https://b.a.com:81", true),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]", true),
            ("https://a.com", "null", false),
            ("https://a.com", "", false),
        ] {
            let parsed: OriginPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(origin), expected, "{pattern} {origin}");
        }
        for bad in ["", "*", "https://", "https://a.com/", "ftp://a.com", "a.com:x", "null:1:2"] {
            assert_eq!(bad.parse::<OriginPattern>(), Err(ParseOriginError), "{bad}");
        }
    }
}
