//! The routes of one listener, ordered so that the first that fits is the most specific one.
//!
//! Routes are grouped by host, and within a host by the first segment of their path, so that a
//! request looks at those that it may fit, however many there are.

use std::{cmp::Ordering, collections::HashMap};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use staunch_config::{HostPattern, PathPattern, Route, Segment};

/// The routes of a listener.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<String, Paths>,
    /// By the suffix, which begins with a dot.
    below: HashMap<String, Paths>,
    any: Paths,
}

/// The routes of one host.
#[derive(Debug, Default)]
struct Paths {
    /// By their first segment.
    written: HashMap<String, Vec<Entry>>,
    /// Those that have none, or take any.
    other: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Which route it is.
    route: usize,
    path: PathPattern,
    methods: Vec<String>,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// The headers of a request, however they are kept.
pub(crate) trait Headers {
    /// Whether there is one of this name; if a value is given, just one, with that: several are a list
    /// (RFC 9110, section 5.3), which is another value.
    fn has(&self, name: &str, value: Option<&[u8]>) -> bool;
}

impl Headers for HeaderMap {
    fn has(&self, name: &str, value: Option<&[u8]>) -> bool {
        let mut values = self.get_all(name).iter();
        let first = values.next();
        first.is_some_and(|one| {
            value.is_none_or(|value| value == one.as_bytes() && values.next().is_none())
        })
    }
}

/// What there is for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This route; so many bytes of the path are its prefix.
    Route {
        route: usize,
        prefix: usize,
    },
    /// There is one, but for other methods: these.
    Methods(Vec<String>),
    Nothing,
}

impl Table {
    /// Of those of `routes` that are on `listener`, by their index.
    pub(crate) fn new(routes: &[Route], listener: &str) -> Table {
        let mut table = Table::default();
        for (index, route) in routes.iter().enumerate() {
            let is_on =
                route.listeners.is_empty() || route.listeners.iter().any(|on| on == listener);
            if is_on {
                table.add(index, route);
            }
        }
        table.sort();
        table
    }

    fn add(&mut self, index: usize, route: &Route) {
        // The configuration has looked at them; a route never loses one of its conditions.
        let headers = route.headers.iter().map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            let value = header.value.as_deref().map(HeaderValue::from_str);
            Some((name, value.transpose().ok()?))
        });
        let Some(headers) = headers.collect() else { return };
        let (path, methods) = (route.path.clone(), route.methods.clone());
        let entry = Entry { route: index, path, methods, headers };
        if route.hosts.is_empty() {
            self.any.add(entry.clone());
        }
        for host in &route.hosts {
            let paths = match host {
                HostPattern::Exact(name) => self.exact.entry(name.clone()),
                HostPattern::Below(suffix) => self.below.entry(suffix.clone()),
            };
            paths.or_default().add(entry.clone());
        }
    }

    fn sort(&mut self) {
        let hosts = self.exact.values_mut().chain(self.below.values_mut());
        for paths in hosts.chain([&mut self.any]) {
            for entries in paths.written.values_mut().chain([&mut paths.other]) {
                entries.sort_by(Entry::cmp_specificity);
            }
        }
    }

    /// The route for a request. `host` is in lower case, without a port; `path` in its one spelling.
    pub(crate) fn find<H: Headers + ?Sized>(
        &self,
        host: &str,
        path: &str,
        method: &str,
        headers: &H,
    ) -> Found {
        let mut others = Vec::new();
        let below = suffixes(host).filter_map(|suffix| self.below.get(suffix));
        for paths in self.exact.get(host).into_iter().chain(below).chain([&self.any]) {
            for entry in paths.candidates(path) {
                let Some(prefix) = entry.path.prefix_of(path) else { continue };
                if !entry.has_headers(headers) {
                    continue;
                }
                if entry.methods.is_empty() || entry.methods.iter().any(|known| known == method) {
                    return Found::Route { route: entry.route, prefix };
                }
                others.extend(entry.methods.iter().cloned());
            }
        }
        if others.is_empty() { Found::Nothing } else { Found::Methods(others) }
    }
}

/// The longest first, each with its dot.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    let dots = host.bytes().enumerate().filter(|(index, byte)| *byte == b'.' && *index > 0);
    dots.filter_map(|(index, _)| host.get(index..))
}

impl Paths {
    fn add(&mut self, entry: Entry) {
        match entry.path.segments().first() {
            Some(Segment::Written(first)) => {
                self.written.entry(first.clone()).or_default().push(entry);
            }
            _ => self.other.push(entry),
        }
    }

    /// Those that may take `path`, the most specific first.
    fn candidates(&self, path: &str) -> impl Iterator<Item = &Entry> {
        let first = path.strip_prefix('/').and_then(|rest| rest.split(['/', ';']).next());
        let written = first.and_then(|first| self.written.get(first));
        written.into_iter().flatten().chain(&self.other)
    }
}

impl Entry {
    /// The more specific one is less.
    fn cmp_specificity(&self, other: &Entry) -> Ordering {
        let by_path = self.path.cmp_specificity(&other.path);
        let by_headers = || other.headers.len().cmp(&self.headers.len());
        let by_methods = || self.methods.is_empty().cmp(&other.methods.is_empty());
        by_path.then_with(by_headers).then_with(by_methods)
    }

    fn has_headers<H: Headers + ?Sized>(&self, headers: &H) -> bool {
        self.headers.iter().all(|(name, expected)| {
            headers.has(name.as_str(), expected.as_ref().map(HeaderValue::as_bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use staunch_config::Config;

    use super::*;

    const ROUTES: &str = r#"
        [[route]]
        name = "all"
        service = "s"
        [[route]]
        name = "files"
        path = "/files/*"
        service = "s"
        [[route]]
        name = "one"
        path = "/files/{id}"
        methods = ["GET", "HEAD"]
        service = "s"
        [[route]]
        name = "v2"
        path = "/files/*"
        headers = ["x-version: 2"]
        service = "s"
        [[route]]
        name = "post"
        path = "/api/orders"
        methods = ["POST"]
        hosts = ["api.example.com"]
        service = "s"
        [[route]]
        name = "below"
        path = "/api/*"
        hosts = ["*.example.com"]
        service = "s"
        [[route]]
        name = "strict"
        path = "/only"
        methods = ["PUT"]
        hosts = ["strict.test"]
        service = "s"
    "#;

    fn find(
        host: &str,
        path: &str,
        method: &str,
        headers: &[(&'static str, &'static str)],
    ) -> String {
        let text = format!(
            "{ROUTES}\n[[listener]]\nname='web'\nprotocol='http'\nlisten='127.0.0.1:1'\n\
             [[service]]\nname='s'\nendpoints=['a:1']\n"
        );
        let config = Config::parse("t", &text).unwrap_or_else(|errors| panic!("{errors:#}"));
        let table = Table::new(&config.routes, "web");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        match table.find(host, path, method, &map) {
            Found::Route { route, .. } => config.routes[route].name.clone(),
            Found::Methods(methods) => methods.join("+"),
            Found::Nothing => "-".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_route_has_the_request() {
        assert_eq!(find("x", "/", "GET", &[]), "all");
        assert_eq!(find("x", "/files/7", "GET", &[]), "one");
        assert_eq!(find("x", "/files/7", "DELETE", &[]), "files", "of what else fits");
        assert_eq!(find("x", "/files/7/8", "GET", &[]), "files");
        assert_eq!(find("x", "/files/7/8", "GET", &[("x-version", "2")]), "v2");
        assert_eq!(find("x", "/files/7/8", "GET", &[("x-version", "3")]), "files");
        assert_eq!(find("api.example.com", "/api/orders", "POST", &[]), "post");
        assert_eq!(find("api.example.com", "/api/orders", "GET", &[]), "below");
        assert_eq!(find("a.b.example.com", "/api", "GET", &[]), "below");
        assert_eq!(find("example.com", "/api", "GET", &[]), "all");
    }

    #[test]
    fn a_method_that_no_route_takes_is_told_apart() {
        let table = |listener| {
            let text = "[[listener]]\nname='web'\nprotocol='http'\nlisten='127.0.0.1:1'\n\
                        [[route]]\nname='r'\npath='/a'\nmethods=['PUT']\nservice='s'\n\
                        [[service]]\nname='s'\nendpoints=['a:1']\n";
            Table::new(&Config::parse("t", text).unwrap().routes, listener)
        };
        let headers = HeaderMap::new();
        let put = Found::Methods(vec!["PUT".to_owned()]);
        assert_eq!(table("web").find("x", "/a", "GET", &headers), put);
        assert_eq!(table("web").find("x", "/b", "GET", &headers), Found::Nothing);
    }

    /// Several headers of a name are a list, on both ways, and another value than each of them.
    #[test]
    fn a_value_is_that_of_all_headers_of_a_name() {
        let mut headers = HeaderMap::new();
        headers.append("x-v", HeaderValue::from_static("1"));
        assert!(headers.has("x-v", None) && headers.has("x-v", Some(b"1")));
        headers.append("x-v", HeaderValue::from_static("2"));
        assert!(headers.has("x-v", None) && !headers.has("x-v", Some(b"1")));
        let header = |value: &'static [u8]| httparse::Header { name: "X-V", value };
        let lines = [header(b"1"), header(b"2")];
        assert!(lines[..1].has("x-v", Some(b"1")) && !lines.has("x-v", Some(b"1")));
        assert!(lines.has("x-v", None) && !lines.has("x-w", None));
    }
}
