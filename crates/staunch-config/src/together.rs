//! What listeners, routes and services say of each other.

use crate::listener::{Listener, StreamProtocol};
use crate::reader::{Section, Span, nearest};
use crate::route::{Placed, report_clashes};
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
    }
    check_listeners(root, listeners, routes);
    report_clashes(routes, root);
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
