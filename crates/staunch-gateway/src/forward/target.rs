//! What a request is for: the host it names, and the path its server is asked for.

use std::borrow::Cow;

use hyper::{
    Request, Uri,
    header::{HOST, HeaderValue},
    http::uri::{InvalidUri, PathAndQuery},
};
use staunch_config::Route;

/// What the server is asked for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
}

impl Target {
    /// The path and query of `uri`, as `route` has them. `path` is its path in one spelling, of
    /// which `prefix` bytes are what the pattern without its `*` takes.
    pub(crate) fn new(
        route: &Route,
        uri: &Uri,
        path: &str,
        prefix: usize,
    ) -> Result<Target, InvalidUri> {
        let path: Cow<'_, str> = match rewritten(route, path, prefix) {
            Some(path) => Cow::Owned(path),
            None if path == uri.path() => {
                let whole = uri.path_and_query().cloned();
                let whole = whole.unwrap_or_else(|| PathAndQuery::from_static("/"));
                return Ok(Target { uri: Uri::from(whole) });
            }
            None => Cow::Borrowed(path),
        };
        let whole = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        Ok(Target { uri: Uri::from(PathAndQuery::try_from(whole)?) })
    }
}

/// The path with what `route` puts in place of its prefix, if it does.
pub(crate) fn rewritten(route: &Route, path: &str, prefix: usize) -> Option<String> {
    let before = if route.strip_prefix { Some("") } else { route.replace_prefix.as_deref() }?;
    let rest = path.get(prefix..).unwrap_or_default();
    let slash = if before.is_empty() && rest.is_empty() { "/" } else { "" };
    Some(format!("{before}{rest}{slash}"))
}

/// The host that a request names, in lower case and without its port; empty, if it names none.
pub(crate) fn host<B>(request: &Request<B>) -> String {
    let named = match (request.uri().authority(), request.headers().get(HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        (None, None) => "",
    };
    let end = match named.rfind(':') {
        Some(colon) if !named.get(colon..).is_some_and(|rest| rest.contains(']')) => colon,
        _ => named.len(),
    };
    let name = named.get(..end).unwrap_or_default();
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The host that a request names, as its client wrote it.
pub(crate) fn host_of<B>(request: &Request<B>) -> &[u8] {
    match (request.uri().authority(), request.headers().get(HOST)) {
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (None, None) => b"",
    }
}

/// The same as the value of a header.
pub(crate) fn host_header<B>(request: &Request<B>) -> Option<HeaderValue> {
    let authority = request.uri().authority();
    let from_uri = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    from_uri.or_else(|| request.headers().get(HOST).cloned())
}

#[cfg(test)]
mod tests {
    use staunch_config::Config;

    use super::*;

    fn asked_for(keys: &str, uri: &str) -> String {
        let text = format!(
            "[[listener]]\nname='w'\nprotocol='http'\nlisten='127.0.0.1:1'\n\
             [[service]]\nname='s'\nendpoints=['a:1']\n\
             [[route]]\nname='r'\nservice='s'\n{keys}"
        );
        let config = Config::parse("t", &text).unwrap_or_else(|errors| panic!("{errors:#}"));
        let (route, uri) = (&config.routes[0], uri.parse::<Uri>().unwrap());
        let path = crate::route::normal(uri.path()).unwrap();
        let prefix = route.path.prefix_of(&path).unwrap();
        Target::new(route, &uri, &path, prefix).unwrap().uri.to_string()
    }

    #[test]
    fn a_prefix_can_be_left_out_or_replaced() {
        let strip = "path='/v1/*'\nstrip_prefix=true";
        assert_eq!(asked_for(strip, "/v1/a/b?c=d"), "/a/b?c=d");
        assert_eq!(asked_for(strip, "/v1?c"), "/?c");
        assert_eq!(asked_for(strip, "/v1/"), "/");
        let replace = "path='/v1/{tenant}/*'\nreplace_prefix='/new/api'";
        assert_eq!(asked_for(replace, "/v1/7/a?b"), "/new/api/a?b");
        assert_eq!(asked_for(replace, "/v1/7"), "/new/api");
        assert_eq!(asked_for("", "http://h/a%2fb?%61"), "/a%2Fb?%61", "one spelling of the path");
        assert_eq!(asked_for("", "/a?b"), "/a?b");
    }

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        let host = |uri: &str, header: Option<&'static str>| {
            let mut request = Request::get(uri).body(()).unwrap();
            if let Some(header) = header {
                request.headers_mut().insert(HOST, HeaderValue::from_static(header));
            }
            host(&request)
        };
        assert_eq!(host("/", Some("Example.COM:8080")), "example.com");
        assert_eq!(host("/", Some("[::1]:80")), "[::1]");
        assert_eq!(host("/", Some("[::1]")), "[::1]");
        assert_eq!(host("/", Some("example.com.")), "example.com");
        assert_eq!(host("http://a:1/", Some("b")), "a");
        assert_eq!(host("/", None), "");
    }
}
