//! What there is to know of HTTP clients. Several of one name are one.

use prometheus_client::registry::Registry;
use staunch_http::{ClientReport, ClientStatus, clients as all};
use staunch_ledger::Ledger;

use super::{Labels, counters, gauges};

/// Adds them.
pub(super) fn clients(registry: &mut Registry, ledger: Ledger) {
    let clients = all(ledger);
    if clients.is_empty() {
        return;
    }
    let levels = gauges(registry, "staunch_http_client_in_flight", "Requests on their way");
    for ClientReport { name, status, .. } in &clients {
        let level = i64::try_from(status.in_flight).unwrap_or(i64::MAX);
        levels.get_or_create(&vec![("client", *name)]).inc_by(level);
    }
    events(registry, &clients);
    by_kind(registry, &clients);
}

fn events(registry: &mut Registry, clients: &[ClientReport]) {
    type Event = fn(&ClientStatus) -> u64;
    let all: [(&str, &str, Event); 4] = [
        ("staunch_http_client_retries", "Requests that were sent again", |it| it.retries),
        ("staunch_http_client_retries_denied", "Retries beyond the budget", |it| it.retries_denied),
        ("staunch_http_client_redirects", "Redirects that were followed", |it| it.redirects),
        ("staunch_http_client_drained_bytes", "Bytes that were read for nobody", |it| {
            it.bodies.drained_bytes
        }),
    ];
    for (name, help, event) in all {
        let family = counters(registry, name, help);
        for ClientReport { name, status, .. } in clients {
            family.get_or_create(&vec![("client", *name)]).inc_by(event(status));
        }
    }
}

fn by_kind(registry: &mut Registry, clients: &[ClientReport]) {
    let requests = counters(registry, "staunch_http_client_requests", "What became of requests");
    let bodies = counters(registry, "staunch_http_client_bodies", "What became of answers' bodies");
    for ClientReport { name, status, .. } in clients {
        for (outcome, count) in status.outcomes {
            let labels: Labels = vec![("client", *name), ("outcome", outcome.name())];
            requests.get_or_create(&labels).inc_by(count);
        }
        let fates = [
            ("read", status.bodies.read),
            ("drained", status.bodies.drained),
            ("destroyed", status.bodies.destroyed),
            ("reset", status.bodies.reset),
        ];
        for (fate, count) in fates {
            bodies.get_or_create(&vec![("client", *name), ("fate", fate)]).inc_by(count);
        }
    }
}
