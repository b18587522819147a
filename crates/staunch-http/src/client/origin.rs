//! Where a request goes.

use std::fmt;

use hyper::Uri;
use staunch_net::HttpProxy;
use url::{ParseError, Url};

use super::error::ClientError;

/// Scheme, host and port: what connections are pooled by, and what credentials belong to
/// (RFC 6454); and for connections, the way there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) is_secure: bool,
    /// An IPv6 address has brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Of streams, which have connections of their own.
    pub(super) is_stream: bool,
    /// Whom it is reached through.
    pub(super) proxy: Option<HttpProxy>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let what = if self.is_stream { " (events)" } else { "" };
        write!(f, "{scheme}://{}:{}{what}", self.host, self.port)?;
        self.proxy.as_ref().map_or(Ok(()), |proxy| write!(f, " by {proxy}"))
    }
}

impl Origin {
    pub(super) fn of(url: &Url) -> Result<Origin, ClientError> {
        let refuse =
            |reason: &str| Err(ClientError::Url { url: shown(url), reason: reason.to_owned() });
        let is_secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => {
                return refuse(
                    "only http and https can be requested: begin it with http:// or https://",
                );
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "a URL ends in logs: send name and password in the header `authorization`",
            );
        }
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => {
                let host = host.to_owned();
                Ok(Origin { is_secure, host, port, is_stream: false, proxy: None })
            }
            _ => refuse("it names no host"),
        }
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What its certificate must be for.
    pub(super) fn server_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

pub(super) fn parse(text: &str) -> Result<Url, ClientError> {
    let refused = |reason: String| ClientError::Url { url: shown_text(text), reason };
    let url = Url::parse(text).map_err(|error| {
        refused(match error {
            ParseError::RelativeUrlWithoutBase => "begin it with http:// or https://".to_owned(),
            error => error.to_string(),
        })
    })?;
    Origin::of(&url)?;
    Ok(url)
}

/// What is sent of it: a fragment is the client's own.
pub(super) fn uri(url: &Url) -> Result<Uri, ClientError> {
    let mut sent = url.clone();
    sent.set_fragment(None);
    sent.as_str().parse().map_err(|error: hyper::http::uri::InvalidUri| ClientError::Url {
        url: shown(url),
        reason: error.to_string(),
    })
}

/// The URL without what may be a secret.
pub(super) fn shown(url: &Url) -> String {
    if url.cannot_be_a_base() {
        return shown_text(url.as_str()); // of `me:secret@host` the user is the scheme
    }
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username(""); // some have none
    let _ = shown.set_password(None);
    shown.into()
}

/// The same of what is no URL. Whatever may be a password is one, as in `http://me:pa/ss@host`.
fn shown_text(text: &str) -> String {
    let is_scheme = |it: &str| it.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let found = text.find("://").filter(|end| is_scheme(&text[..*end]));
    let (scheme, rest) = text.split_at(found.map_or(0, |end| end + 3));
    let (shown, hidden) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let shown = shown.rsplit('@').next().unwrap_or_default();
    let end = shown.find(':').filter(|_| hidden.contains('@')).unwrap_or(shown.len());
    format!("{scheme}{}", &shown[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<(&str, &str), &str>) {
        let origin = parse(url).and_then(|url| Origin::of(&url));
        match (origin, expected) {
            (Ok(origin), Ok((shown, name))) => {
                assert_eq!((origin.to_string().as_str(), origin.server_name()), (shown, name));
            }
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        check("http://A.example/x?y", Ok(("http://a.example:80", "a.example")));
        check("https://[::1]:8443/", Ok(("https://[::1]:8443", "::1")));
        check("ftp://a.example/", Err("only http"));
        check("http://me:secret@a.example/", Err("authorization"));
        for unsaid in ["/relative", "127.0.0.1:8080/x", "[::1]:8080", "localhost:8080/x", ""] {
            check(unsaid, Err(": begin it with http:// or https://"));
        }
        check("http://", Err("empty host"));
        assert!(!parse("http://me:secret@a.example/").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn what_is_no_url_is_shown_without_its_secrets() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err();
            let ClientError::Url { url, .. } = &error else { panic!("{error}") };
            assert_eq!(url, expected, "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        };
        check("http://me:secret@db:99999/x", "http://db:99999/x");
        check("http://me:secret@me:secret@db:99999?secret", "http://db:99999");
        check("http://me:sec/secret@db:99999/x", "http://db:99999/x");
        check("http://me:secret?secret@db/x", "http://me");
        check("http://me:secret#secret@db/x", "http://me");
        check("http://db:99999/x?secret", "http://db:99999/x");
        check("http:me:secret@db:99999/x", "db:99999/x");
        check("me:secret@db://x", "db://x");
        check("me:secret@db:8080/x?secret", "db:8080/x");
        check("api.internal/x?token=secret", "api.internal/x");
        check("api.internal/x?to=http://secret", "api.internal/x");
        check("api.internal/x#secret?secret", "api.internal/x");
        check("http://?secret", "http://");
        check("/x", "/x");
        check("", "");
    }
}
