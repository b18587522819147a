//! What listeners, routes and services say of each other.

use std::collections::HashSet;

use toml::de::DeTable;

use crate::listener::{Listener, StreamProtocol};
use crate::policy::{Policy, RateBy};
use crate::reader::{Mention, NameKey, Section, Span, Texts, nearest, shown};
use crate::route::{Placed, Route, report_clashes};
use crate::service::{Endpoint, EndpointAddress, Service};

/// What could be read of them.
pub(crate) struct Read<'r> {
    pub(crate) listeners: &'r [(Listener, Span)],
    pub(crate) routes: &'r [Placed],
    pub(crate) services: &'r [(Service, Span)],
    pub(crate) policies: &'r [(Policy, Span)],
    /// All of the listeners and routes that are written.
    pub(crate) are_all: bool,
    /// All of the policies, and nothing about them is wrong.
    pub(crate) policies_are_whole: bool,
}

/// Reports names that nothing has, what nobody uses, routes between which nobody can choose, and
/// what does not go together. Names are looked up as they are written, so that one mistake hides no
/// other.
pub(crate) fn check(root: &Section<'_>, read: &Read<'_>) {
    check_services(root);
    check_policies(root);
    report_clashes(read.routes, root);
    if read.policies_are_whole {
        check_joined(root, read);
    }
    if read.are_all {
        check_proxy_protocol(root, read);
        check_datagrams(root, read);
        check_certificates(root, read);
        check_listeners(root, read.listeners, read.routes);
    }
}

const SERVICES: NameKey = NameKey { array: "service", key: "name", is_for: |_| true };
const POLICIES: NameKey = NameKey { array: "policy", key: "name", is_for: |_| true };
const OF_ROUTES: NameKey = NameKey { array: "route", key: "service", is_for: |_| true };
const OF_LISTENERS: NameKey =
    NameKey { array: "listener", key: "service", is_for: |listener| hands_on(listener) };
const OF_POLICIES: NameKey =
    NameKey { array: "route", key: "policies", is_for: |route| route.contains_key("policies") };

/// Whether a listener says itself where what comes goes.
fn hands_on(listener: &DeTable<'_>) -> bool {
    let protocol = listener.get("protocol").and_then(|it| it.get_ref().as_str());
    matches!(protocol, Some("tcp" | "udp"))
}

/// Names that are reported one by one.
const UNKNOWN_MAX: usize = 100;

fn check_services(root: &Section<'_>) {
    let services = root.texts(&SERVICES);
    let (routes, listeners) = (root.texts(&OF_ROUTES), root.texts(&OF_LISTENERS));
    let names = names(&services);
    for (what, users) in [("route", &routes), ("listener", &listeners)] {
        for Mention { entry, text, span } in unknown(users, &services, &names) {
            let (hint, text) = (hint(text, &names, "service"), shown(text));
            let message = format!(
                "{what} \"{entry}\" goes to service \"{text}\", which there is not: {hint}"
            );
            root.report(span, "service", message);
        }
    }
    let users = routes.found.iter().chain(&listeners.found).map(|user| user.text.as_str());
    let used: HashSet<&str> = users.collect();
    for Mention { text: name, span, .. } in &services.found {
        if routes.are_all && listeners.are_all && !used.contains(name.as_str()) {
            let name = shown(name);
            let message = format!(
                "service \"{name}\" is not used: write a [[route]] or a listener with service = \"{name}\"",
            );
            root.report(span, "service", message);
        }
    }
}

fn check_policies(root: &Section<'_>) {
    let (policies, users) = (root.texts(&POLICIES), root.texts(&OF_POLICIES));
    let names = names(&policies);
    for Mention { entry, text, span } in unknown(&users, &policies, &names) {
        let (hint, text) = (hint(text, &names, "policy"), shown(text));
        let message =
            format!("route \"{entry}\" has policy \"{text}\", which there is not: {hint}");
        root.report(span, "route.policies", message);
    }
    let used: HashSet<&str> = users.found.iter().map(|user| user.text.as_str()).collect();
    for Mention { text: name, span, .. } in &policies.found {
        if users.are_all && !used.contains(name.as_str()) {
            let name = shown(name);
            let message = format!(
                "policy \"{name}\" is not used: write policies = [\"{name}\"] in a [[route]]",
            );
            root.report(span, "policy", message);
        }
    }
}

fn names(of: &Texts) -> Vec<&str> {
    of.found.iter().map(|it| it.text.as_str()).collect()
}

/// Those of `users` whose name nobody has, if it is known who has one.
fn unknown<'t>(users: &'t Texts, of: &Texts, names: &[&str]) -> Vec<&'t Mention> {
    let names: HashSet<&str> = names.iter().copied().collect();
    let users = users.found.iter().filter(|_| of.are_all);
    users.filter(|user| !names.contains(user.text.as_str())).take(UNKNOWN_MAX).collect()
}

/// What was meant by a name that nothing has.
fn hint(written: &str, names: &[&str], table: &str) -> String {
    nearest(written, names)
        .map_or_else(|| format!("write a [[{table}]]"), |name| format!("did you mean `{name}`?"))
}

fn check_proxy_protocol(root: &Section<'_>, read: &Read<'_>) {
    for (service, span) in read.services {
        let by_route = read.routes.iter().any(|placed| placed.route.service == service.name);
        let not_by_tcp =
            by_route || read.listeners.iter().any(|it| is_by_datagram(it, &service.name));
        if service.proxy_protocol.is_some() && not_by_tcp {
            let message = format!(
                "service \"{}\" has `proxy_protocol`, which says for whom a whole connection is: only `tcp` \
                 listeners can use it, and not routes or `udp` listeners",
                service.name
            );
            root.report(span, "service.proxy_protocol", message);
        }
    }
}

/// Reports what a service has that no datagram can have.
fn check_datagrams(root: &Section<'_>, read: &Read<'_>) {
    for (service, span) in read.services {
        if !read.listeners.iter().any(|it| is_by_datagram(it, &service.name)) {
            continue;
        }
        let is_unix = |endpoint: &Endpoint| matches!(endpoint.address, EndpointAddress::Unix(_));
        let name = &service.name;
        if service.tls.is_some() {
            let message = format!(
                "service \"{name}\" has [service.tls], which no `udp` listener can use: its datagrams would go as \
                 they come. Write another service for them"
            );
            root.report(span, "service.tls", message);
        }
        if let Some(endpoint) = service.endpoints.iter().find(|it| is_unix(it)) {
            let message = format!(
                "service \"{name}\" has {}, which no `udp` listener can send to: write another service for it",
                endpoint.address
            );
            root.report(span, "service.endpoints", message);
        }
    }
}

fn is_by_datagram((listener, _): &(Listener, Span), service: &str) -> bool {
    matches!(listener, Listener::Datagram(_)) && listener.service() == Some(service)
}

/// The policies of a route.
fn its<'r>(read: &Read<'r>, route: &Route) -> Vec<&'r Policy> {
    let of = |name: &String| read.policies.iter().find(|(policy, _)| policy.name == *name);
    route.policies.iter().filter_map(of).map(|(policy, _)| policy).collect()
}

/// Reports policies of one route that do not go together.
fn check_joined(root: &Section<'_>, read: &Read<'_>) {
    for Placed { route, policies: span, .. } in read.routes {
        if let Some(why) = contradiction(&its(read, route)) {
            root.report(span, "route.policies", format!("route \"{}\" {why}", route.name));
        }
    }
}

/// A header in which a server is told who somebody is, by two who know it.
fn told_twice(policy: &Policy) -> Option<&str> {
    let keys = policy.keys.iter().map(|keys| &keys.identity);
    let certificates = policy.certificate.iter().map(|certificate| &certificate.identity);
    let claims = policy.jwt.iter().flat_map(|jwt| &jwt.headers).map(|claim| &claim.header);
    let copied = policy.forward.iter().flat_map(|forward| &forward.copy);
    let all: Vec<&String> = keys.chain(certificates).chain(claims).chain(copied).collect();
    let is_twice = |(index, header): &(usize, &&String)| all[..*index].contains(*header);
    all.iter().enumerate().find(is_twice).map(|(_, header)| header.as_str())
}

/// Where a route asks for a certificate, its listeners do.
fn check_certificates(root: &Section<'_>, read: &Read<'_>) {
    for Placed { route, policies: span, .. } in read.routes {
        if its(read, route).iter().any(|policy| policy.certificate.is_some()) {
            check_asks(root, read.listeners, route, span);
        }
    }
}

fn check_asks(root: &Section<'_>, listeners: &[(Listener, Span)], route: &Route, span: &Span) {
    for (listener, _) in listeners {
        let Listener::Stream(stream) = listener else { continue };
        let is_on = route.listeners.is_empty() || route.listeners.contains(&stream.name);
        let asks = stream.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        if stream.protocol == StreamProtocol::Http && is_on && !asks {
            let message = format!(
                "route \"{}\" needs a certificate, and listener \"{}\" asks for none: write client_ca in \
                 its [listener.tls], or leave it out of `listeners`",
                route.name, stream.name,
            );
            root.report(span, "route.policies", message);
        }
    }
}

/// Why a route cannot have all of these.
fn contradiction(policies: &[&Policy]) -> Option<String> {
    for (index, policy) in policies.iter().enumerate() {
        for earlier in &policies[..index] {
            if let Some(kind) = policy.kinds().find(|kind| earlier.kinds().any(|it| it == *kind)) {
                return Some(format!(
                    "has `{kind}` of policy \"{}\" and of policy \"{}\": it can have one",
                    earlier.name, policy.name,
                ));
            }
        }
    }
    let all = Policy::joined(policies.iter().copied());
    if let Some(header) = told_twice(&all) {
        return Some(format!("tells the server two things in `{header}`: give one another header"));
    }
    let by_key = all.rate.as_ref().is_some_and(|rate| rate.by == RateBy::Key);
    if by_key && all.keys.is_none() {
        return Some("counts by = \"key\" and has no [policy.keys]".to_owned());
    }
    let keys_in = all.keys.as_ref().map(|keys| keys.header.as_str());
    if all.jwt.is_some() && keys_in == Some("authorization") {
        return Some(
            "has the key and the token in `authorization`: give the key another".to_owned(),
        );
    }
    None
}

/// Each route is on `http` listeners only, and each of those has one.
fn check_listeners(root: &Section<'_>, listeners: &[(Listener, Span)], routes: &[Placed]) {
    let is_http = |(listener, _): &&(Listener, Span)| match listener {
        Listener::Stream(stream) => stream.protocol == StreamProtocol::Http,
        Listener::Datagram(_) => false,
    };
    let http: Vec<_> = listeners.iter().filter(is_http).collect();
    let names: Vec<&str> = http.iter().map(|(listener, _)| listener.name()).collect();
    for Placed { route, name, .. } in routes {
        if names.is_empty() {
            let message = format!(
                "route \"{}\" is on no listener: write a [[listener]] with protocol = \"http\"",
                route.name
            );
            root.report(name, "route", message);
        }
        for listener in route.listeners.iter().filter(|name| !names.contains(&name.as_str())) {
            let message = format!(
                "route \"{}\" is on listener \"{listener}\", which is no `http` listener: there are {}",
                route.name,
                names.join(", "),
            );
            root.report(name, "route.listeners", message);
        }
    }
    for (listener, place) in http {
        let listener = listener.name();
        let is_on = |placed: &Placed| {
            let on = &placed.route.listeners;
            on.is_empty() || on.iter().any(|name| name == listener)
        };
        if !routes.iter().any(is_on) {
            let message = format!(
                "listener \"{listener}\" has no route: write a [[route]], or protocol = \"demo\" for \
                 something to try",
            );
            root.report(place, "listener", message);
        }
    }
}
