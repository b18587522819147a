//! What listeners, routes and services say of each other.

use crate::listener::{Listener, StreamProtocol};
use crate::policy::{Policy, RateBy};
use crate::reader::{Section, Span, nearest};
use crate::route::{Placed, Route, report_clashes};
use crate::service::Service;

/// Reports names that nothing has, what nobody uses, and routes between which nobody can choose.
pub(crate) fn check(
    root: &Section<'_>,
    listeners: &[(Listener, Span)],
    routes: &[Placed],
    services: &[(Service, Span)],
) {
    let names: Vec<&str> = services.iter().map(|(service, _)| service.name.as_str()).collect();
    for Placed { route, service, .. } in routes {
        check_service(root, &names, &route.service, &format!("route \"{}\"", route.name), service);
    }
    for (listener, place) in listeners {
        if let Some(service) = listener.service() {
            let user = format!("listener \"{}\"", listener.name());
            check_service(root, &names, service, &user, place);
        }
    }
    for (service, span) in services {
        let by_route = routes.iter().any(|placed| placed.route.service == service.name);
        let by_listener =
            listeners.iter().any(|(listener, _)| listener.service() == Some(service.name.as_str()));
        if !by_route && !by_listener {
            let message = format!(
                "service \"{}\" is not used: write a [[route]] or a listener with service = \"{0}\"",
                service.name
            );
            root.report(span, "service", message);
        }
        let not_by_tcp = by_route || listeners.iter().any(|it| is_by_datagram(it, &service.name));
        if service.proxy_protocol.is_some() && not_by_tcp {
            let message = format!(
                "service \"{}\" has `proxy_protocol`, which says for whom a whole connection is: only `tcp` \
                 listeners can use it, and not routes or `udp` listeners",
                service.name
            );
            root.report(span, "service.proxy_protocol", message);
        }
    }
    check_listeners(root, listeners, routes);
    report_clashes(routes, root);
}

fn is_by_datagram((listener, _): &(Listener, Span), service: &str) -> bool {
    matches!(listener, Listener::Datagram(_)) && listener.service() == Some(service)
}

/// Reports policies that nothing has or nobody uses, and those of one route that do not go
/// together.
pub(crate) fn check_policies(
    root: &Section<'_>,
    listeners: &[(Listener, Span)],
    routes: &[Placed],
    policies: &[(Policy, Span)],
) {
    let names: Vec<&str> = policies.iter().map(|(policy, _)| policy.name.as_str()).collect();
    for Placed { route, policies: span, .. } in routes {
        let of_route = |name: &String| policies.iter().find(|(policy, _)| policy.name == *name);
        for name in route.policies.iter().filter(|name| of_route(name).is_none()) {
            let hint = nearest(name, &names).map_or_else(
                || "write a [[policy]]".to_owned(),
                |name| format!("did you mean `{name}`?"),
            );
            let message = format!(
                "route \"{}\" has policy \"{name}\", which there is not: {hint}",
                route.name
            );
            root.report(span, "route.policies", message);
        }
        let its: Vec<&Policy> =
            route.policies.iter().filter_map(of_route).map(|(policy, _)| policy).collect();
        if let Some(why) = contradiction(&its) {
            root.report(span, "route.policies", format!("route \"{}\" {why}", route.name));
        }
        if its.iter().any(|policy| policy.certificate.is_some()) {
            check_certificates(root, listeners, route, span);
        }
    }
    for (policy, span) in policies {
        if !routes.iter().any(|placed| placed.route.policies.contains(&policy.name)) {
            let message = format!(
                "policy \"{0}\" is not used: write policies = [\"{0}\"] in a [[route]]",
                policy.name
            );
            root.report(span, "policy", message);
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
fn check_certificates(
    root: &Section<'_>,
    listeners: &[(Listener, Span)],
    route: &Route,
    span: &Span,
) {
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

fn check_service(root: &Section<'_>, names: &[&str], used: &str, user: &str, span: &Span) {
    if names.contains(&used) {
        return;
    }
    let hint = nearest(used, names)
        .map_or_else(|| "write a [[service]]".to_owned(), |name| format!("did you mean `{name}`?"));
    let message = format!("{user} goes to service \"{used}\", which there is not: {hint}");
    root.report(span, "service", message);
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
