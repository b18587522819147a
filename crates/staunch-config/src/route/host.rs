//! The hosts that a route is for.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A host: `example.com`, or `*.example.com` for every name below it. Ports are not looked at, nor is
/// the case of letters.
///
/// ```
/// use staunch_config::HostPattern;
///
/// let below: HostPattern = "*.example.com".parse().unwrap();
/// assert!(below.matches("a.b.example.com"));
/// assert!(!below.matches("example.com"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This one, in lower case.
    Exact(String),
    /// Every name that ends in this: a dot and a name, in lower case.
    Below(String),
}

/// What is written is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host such as `example.com`, `*.example.com`, `10.0.0.7` or `[::1]`, without a port"
)]
pub struct ParseHostError;

impl HostPattern {
    /// Whether it takes `host`, which is in lower case and has no port.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    /// The more specific one is less: an exact one, then the longer suffix.
    pub fn cmp_specificity(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Exact(_), Self::Below(_)) => Ordering::Less,
            (Self::Below(_), Self::Exact(_)) => Ordering::Greater,
            (Self::Below(a), Self::Below(b)) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
            (Self::Exact(a), Self::Exact(b)) => a.cmp(b),
        }
    }
}

impl FromStr for HostPattern {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, ParseHostError> {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let is_address = !is_below
            && name
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_address && !is_name(name) {
            return Err(ParseHostError);
        }
        let name = name.to_ascii_lowercase();
        Ok(if is_below { Self::Below(format!(".{name}")) } else { Self::Exact(name) })
    }
}

/// A DNS name (RFC 1123, 2.1; with the underscores that are in use) or an IPv4 address.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (1..=253).contains(&name.len()) && name.split('.').all(is_label)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_host() {
        for good in ["example.com", "*.Example.com", "localhost", "10.0.0.7", "[::1]", "a_b.c"] {
            let pattern: HostPattern = good.parse().unwrap();
            assert_eq!(pattern.to_string(), good.to_ascii_lowercase());
        }
        for bad in ["", "*", "*.", "a..b", "a:80", "a/b", "*.*.com", "[::1", "::1", "*.[::1]"] {
            assert_eq!(bad.parse::<HostPattern>(), Err(ParseHostError), "{bad}");
        }
    }
}
