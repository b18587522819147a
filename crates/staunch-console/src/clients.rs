//! `/debug/http-clients`: what each HTTP client does, and has done, as JSON. Its connections are on
//! `/debug/pools`, under its name.

use serde::Serialize;
use serde_json::{Map, Value};
use staunch_http::{Bodies, ClientReport, ClientStatus, clients as all};

use crate::{
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

#[derive(Serialize)]
struct ClientView {
    name: &'static str,
    born_at: String,
    in_flight: usize,
    /// With each redirect that was followed, but not what was sent again.
    requests: u64,
    /// What became of them; those that were redirected or sent again count once.
    outcomes: Map<String, Value>,
    retries: u64,
    retries_denied: u64,
    redirects: u64,
    bodies: BodiesView,
}

#[derive(Serialize)]
struct BodiesView {
    read: u64,
    drained: u64,
    drained_bytes: u64,
    destroyed: u64,
    reset: u64,
    draining: usize,
    /// How many were dropped unread, by the line of their request.
    dropped_by: Map<String, Value>,
}

pub(crate) fn clients(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let views: Vec<ClientView> = all(visit.shared.ledger).iter().map(ClientView::of).collect();
    reply::json(&views).map_err(Refusal::failed)
}

impl ClientView {
    fn of(ClientReport { name, born_at, status, .. }: &ClientReport) -> ClientView {
        let &ClientStatus { requests, retries, retries_denied, redirects, in_flight, .. } = status;
        let outcomes =
            status.outcomes.iter().map(|(it, count)| (it.name().into(), (*count).into()));
        ClientView {
            name,
            born_at: born_at.to_string(),
            in_flight,
            requests,
            outcomes: outcomes.collect(),
            retries,
            retries_denied,
            redirects,
            bodies: BodiesView::of(&status.bodies),
        }
    }
}

impl BodiesView {
    fn of(bodies: &Bodies) -> BodiesView {
        let &Bodies { read, drained, drained_bytes, destroyed, reset, draining, .. } = bodies;
        let dropped_by =
            bodies.dropped_by.iter().map(|(line, count)| (line.to_string(), (*count).into()));
        let dropped_by = dropped_by.collect();
        BodiesView { read, drained, drained_bytes, destroyed, reset, draining, dropped_by }
    }
}
