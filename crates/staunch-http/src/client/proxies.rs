//! Whom requests go through.

use std::{env, ffi::OsString};

use percent_encoding::percent_decode_str;
use staunch_net::HttpProxy;
use url::Url;

use super::{bypass::Bypass, origin::Origin};

/// The proxies of a client: one for `http` URLs, which is sent the requests themselves, and one for
/// `https` URLs, which is asked for a tunnel (`CONNECT`) that TLS goes through to the server.
///
/// Proxies are given by URL, `http://name:password@host:port`; without a port it is 80, and without a
/// scheme it is `http`. Name and password are sent to the proxy alone, and shown nowhere.
///
/// # Examples
/// ```
/// use staunch_http::{ClientOptions, Proxies};
///
/// let proxies = Proxies::all("http://proxy.internal:3128")?.except("localhost, 10.0.0.0/8, .lan")?;
/// let options = ClientOptions { proxies, ..ClientOptions::default() };
/// # Ok::<_, staunch_http::ProxiesError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<HttpProxy>,
    https: Option<HttpProxy>,
    bypass: Bypass,
}

/// Proxies cannot be so. What was given is not shown: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxiesError {
    /// The URL of a proxy.
    #[error("{name}: {reason}; a proxy is http://name:password@host:port")]
    Url {
        /// The variable of the environment, or the method.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// One of those that are to be reached without.
    #[error("`{entry}` is no exception from proxies: {reason}")]
    Except {
        /// What was given.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A variable of the environment is not UTF-8.
    #[error("{name} is not UTF-8")]
    NotText {
        /// The variable.
        name: &'static str,
    },
}

impl Proxies {
    /// None at all: the default.
    pub fn none() -> Proxies {
        Proxies::default()
    }

    /// One for all URLs.
    ///
    /// # Errors
    /// [`ProxiesError::Url`]
    pub fn all(url: &str) -> Result<Proxies, ProxiesError> {
        let proxy = Some(parse("Proxies::all", url)?);
        Ok(Proxies { http: proxy.clone(), https: proxy, bypass: Bypass::default() })
    }

    /// Another for `http` URLs.
    ///
    /// # Errors
    /// [`ProxiesError::Url`]
    pub fn http(self, url: &str) -> Result<Proxies, ProxiesError> {
        Ok(Proxies { http: Some(parse("Proxies::http", url)?), ..self })
    }

    /// Another for `https` URLs.
    ///
    /// # Errors
    /// [`ProxiesError::Url`]
    pub fn https(self, url: &str) -> Result<Proxies, ProxiesError> {
        Ok(Proxies { https: Some(parse("Proxies::https", url)?), ..self })
    }

    /// These are reached without a proxy: a list with commas or spaces between
    ///
    /// - hosts, with all below them: `example.com` or `.example.com`;
    /// - IP addresses, and networks of them: `10.0.0.0/8`. Names are not resolved for that;
    /// - either but a network with a port, which then is the only one: `example.com:8080`;
    /// - `*`: everything.
    ///
    /// # Errors
    /// [`ProxiesError::Except`]
    pub fn except(self, list: &str) -> Result<Proxies, ProxiesError> {
        Ok(Proxies { bypass: Bypass::parse(list)?, ..self })
    }

    /// What the environment says: `http_proxy`, `https_proxy`, or `all_proxy` for what has none of
    /// its own, and as exceptions `no_proxy`; then the same in capitals. What is empty says nothing.
    ///
    /// `HTTP_PROXY` says nothing in a CGI program, where it is the header `Proxy` of whoever asks
    /// (CVE-2016-5385).
    ///
    /// # Errors
    /// [`ProxiesError`]
    pub fn from_environment() -> Result<Proxies, ProxiesError> {
        Proxies::from_variables(env::var_os)
    }

    fn from_variables(
        variable: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Proxies, ProxiesError> {
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let first =
            |names: &[&'static str]| -> Result<Option<(&'static str, String)>, ProxiesError> {
                for name in names.iter().filter(|name| !is_cgi || **name != "HTTP_PROXY") {
                    let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
                        continue;
                    };
                    let text = value.into_string().map_err(|_| ProxiesError::NotText { name })?;
                    return Ok(Some((name, text)));
                }
                Ok(None)
            };
        let proxy = |names: &[&'static str]| -> Result<Option<HttpProxy>, ProxiesError> {
            first(names)?.map(|(name, url)| parse(name, &url)).transpose()
        };
        let bypass = first(&["no_proxy", "NO_PROXY"])?;
        Ok(Proxies {
            http: proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            bypass: bypass.map_or(Ok(Bypass::default()), |(_, list)| Bypass::parse(&list))?,
        })
    }

    /// Whom to go through to an origin.
    pub(super) fn of(&self, origin: &Origin) -> Option<HttpProxy> {
        let proxy = if origin.is_secure { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        (!self.bypass.covers(origin.server_name(), origin.port)).then(|| proxy.clone())
    }
}

fn parse(name: &'static str, text: &str) -> Result<HttpProxy, ProxiesError> {
    let refused = |reason: &str| ProxiesError::Url { name, reason: reason.to_owned() };
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| refused(&error.to_string()))?;
    if url.scheme() != "http" {
        return Err(refused(&format!("`{}` proxies are not supported", url.scheme())));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(refused("it names no host"));
    };
    let proxy = HttpProxy::new(format!("{host}:{port}"));
    if url.username().is_empty() && url.password().is_none() {
        return Ok(proxy);
    }
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    if user.contains(':') {
        return Err(refused("its name has a colon, which proxies take for its end (RFC 7617)"));
    }
    Ok(proxy.basic(&user, &password))
}

#[cfg(test)]
mod tests {
    use super::{super::origin, *};

    /// Where a request to `url` goes; after `!`, what the proxy is told.
    fn goes(proxies: &Proxies, url: &str) -> Option<String> {
        let origin = Origin::of(&origin::parse(url).unwrap()).unwrap();
        let proxy = proxies.of(&origin)?;
        let told = proxy.authorization().map(|told| format!("!{told}")).unwrap_or_default();
        Some(format!("{}{told}", proxy.address()))
    }

    /// With such an environment, `http://a/` and `https://a/` go there.
    fn check(environment: &[(&str, &str)], http: Option<&str>, https: Option<&str>) {
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        let proxies = Proxies::from_variables(variable).unwrap();
        let found = [goes(&proxies, "http://a/"), goes(&proxies, "https://a/")];
        assert_eq!([found[0].as_deref(), found[1].as_deref()], [http, https], "{environment:?}");
    }

    #[test]
    fn the_environment_is_read_as_everybody_does() {
        check(&[], None, None);
        check(&[("HTTP_PROXY", "http://p:1/")], Some("p:1"), None);
        check(&[("http_proxy", "p:1"), ("HTTP_PROXY", "q:1")], Some("p:1"), None);
        check(&[("http_proxy", ""), ("HTTP_PROXY", "q:1")], Some("q:1"), None);
        check(&[("https_proxy", "p:1"), ("HTTPS_PROXY", "q:1")], None, Some("p:1"));
        check(&[("ALL_PROXY", "p"), ("HTTPS_PROXY", "q")], Some("p:80"), Some("q:80"));
        check(&[("all_proxy", "p:1"), ("ALL_PROXY", "q:1")], Some("p:1"), Some("p:1"));
        check(&[("ALL_PROXY", "p"), ("NO_PROXY", "a")], None, None);
        check(
            &[("ALL_PROXY", "p"), ("no_proxy", "b"), ("NO_PROXY", "a")],
            Some("p:80"),
            Some("p:80"),
        );
        check(&[("http_proxy", "[::1]:3128")], Some("[::1]:3128"), None);
    }

    #[test]
    fn in_a_cgi_program_a_header_is_no_proxy() {
        let cgi = ("REQUEST_METHOD", "GET");
        check(&[cgi, ("HTTP_PROXY", "evil:1")], None, None);
        check(&[cgi, ("HTTP_PROXY", "evil:1"), ("ALL_PROXY", "p:1")], Some("p:1"), Some("p:1"));
        check(&[cgi, ("http_proxy", "p:1"), ("HTTPS_PROXY", "q:1")], Some("p:1"), Some("q:1"));
    }

    #[test]
    fn name_and_password_are_for_the_proxy_alone() {
        let proxies = Proxies::all("http://me:s%40crt@p:1").unwrap();
        assert_eq!(goes(&proxies, "https://a/").unwrap(), "p:1!Basic bWU6c0BjcnQ="); // me:s@crt
        let shown = format!("{proxies:?} {}", proxies.https.clone().unwrap());
        assert!(!["crt", "bWU6"].iter().any(|secret| shown.contains(secret)), "{shown}");
        let one = Proxies::none().http("p:1").unwrap().https("q:2").unwrap();
        assert_eq!(goes(&one, "http://a/").unwrap(), "p:1");
        assert_eq!(goes(&one, "https://a/").unwrap(), "q:2");
        assert_eq!(goes(&one.except("a:443").unwrap(), "https://a/"), None);
    }

    #[test]
    fn what_is_no_proxy_is_an_error_that_tells_no_secret() {
        for (url, says) in [
            ("socks5://me:hidden@p:1", "`socks5` proxies are not supported"),
            ("https://me:hidden@p:1", "`https`"),
            ("http://me:hidden@", "empty host"),
            ("http://me:hidden@p:99999", "invalid port"),
            ("http://m%3Ae:hidden@p", "colon"),
            ("http://me:hidden@p q", "invalid"),
        ] {
            let error = Proxies::all(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(says) && !text.contains("hidden"), "{text}");
        }
        let named = Proxies::from_variables(|name| (name == "all_proxy").then(|| "ftp://x".into()));
        assert!(named.unwrap_err().to_string().starts_with("all_proxy: "));
    }
}
