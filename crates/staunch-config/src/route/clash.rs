//! Two routes for the same requests: nobody could say which one has them.

use super::{HeaderMatch, Route};
use crate::reader::{Section, Span};

/// A route, and where it is written.
pub(crate) struct Placed {
    pub(crate) route: Route,
    /// What its keys begin with: `route[0]`.
    pub(crate) path: String,
    /// Its name.
    pub(crate) name: Span,
    /// Its policies.
    pub(crate) policies: Span,
}

/// Reports each route that some request fits as well as one written above it.
pub(crate) fn report_clashes(routes: &[Placed], root: &Section<'_>) {
    // Of one with a mistake nobody knows what it is for.
    let whole: Vec<&Placed> =
        routes.iter().filter(|placed| !root.has_mistakes_in(&placed.path)).collect();
    for (index, Placed { route, name, .. }) in whole.iter().enumerate() {
        let earlier = &whole[..index];
        let Some(first) = earlier.iter().find(|earlier| clash(&earlier.route, route)) else {
            continue;
        };
        let line = root.source().position(first.name.start).line;
        let message = format!(
            "route \"{}\" and route \"{}\" (line {line}) are for the same requests, and neither is more \
             specific: give one of them another host, path, method or header",
            route.name, first.route.name,
        );
        root.report(name, "route", message);
    }
}

/// Whether there is a request that fits both, and neither is more specific.
fn clash(a: &Route, b: &Route) -> bool {
    share(&a.listeners, &b.listeners)
        && same_host(a, b)
        && a.path.cmp_specificity(&b.path).is_eq()
        && a.headers.len() == b.headers.len()
        && !exclude(&a.headers, &b.headers)
        && a.methods.is_empty() == b.methods.is_empty()
        && share(&a.methods, &b.methods)
}

/// Whether two lists have something in common; an empty one stands for everything.
fn share(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|item| b.contains(item))
}

fn same_host(a: &Route, b: &Route) -> bool {
    match (a.hosts.is_empty(), b.hosts.is_empty()) {
        (true, true) => true,
        (false, false) => a.hosts.iter().any(|host| b.hosts.contains(host)),
        _ => false,
    }
}

/// Whether no request can have the headers of both.
fn exclude(a: &[HeaderMatch], b: &[HeaderMatch]) -> bool {
    a.iter().any(|a| {
        b.iter().any(|b| {
            a.name == b.name && a.value.as_ref().zip(b.value.as_ref()).is_some_and(|(a, b)| a != b)
        })
    })
}
