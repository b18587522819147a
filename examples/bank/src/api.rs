//! The routes: HTTP above, the bank below.

mod accounts;
mod deprecation;
mod events;
mod extract;
mod health;
mod patience;
mod problem;
mod statement;
mod stream;
mod transfers;
mod version;

use std::time::Duration;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::header::CONTENT_TYPE,
    middleware,
    response::IntoResponse,
    routing::{MethodRouter, get, post},
};
use staunch_console::Readiness;

use self::{
    problem::Problem,
    version::{V1, V2, Version},
};
use crate::bank::Bank;

/// What requests may cost.
#[derive(Clone, Debug)]
pub struct ApiLimits {
    /// Bytes of a request's body. Default 16 KiB: the largest that makes sense is a few hundred.
    pub body_bytes: usize,
    /// Time for an answer to begin. Default 5 s: as long as a lease is waited for.
    pub deadline: Duration,
    /// Time between two signs of life on a stream. Default 15 s: proxies give up after 30 or 60.
    pub heartbeat: Duration,
    /// A stream's whole life. Default 1 h: then the client comes again, perhaps elsewhere.
    pub stream_life: Duration,
}

impl Default for ApiLimits {
    fn default() -> ApiLimits {
        ApiLimits {
            body_bytes: 16 << 10,
            deadline: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
            stream_life: Duration::from_hours(1),
        }
    }
}

/// What handlers need.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) bank: Bank,
    pub(crate) readiness: Readiness,
    pub(crate) limits: ApiLimits,
}

/// All routes.
pub(crate) fn router(api: Api) -> Router {
    let patience = api.limits.deadline;
    let body_bytes = api.limits.body_bytes;
    let v1 = versioned::<V1>().layer(middleware::map_response(deprecation::announce));
    let router = collect(&unversioned())
        .nest("/v1", v1)
        .nest("/v2", versioned::<V2>())
        .fallback(async || Problem::NO_PAGE)
        .method_not_allowed_fallback(async || Problem::METHOD)
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(middleware::from_fn(move |request, next| patience::within(patience, request, next)))
        .with_state(api);
    #[cfg(feature = "leaky")]
    let router = router.layer(middleware::from_fn(crate::leaky::hold_bodies));
    router
}

type Route = (&'static str, MethodRouter<Api>);

fn collect(routes: &[Route]) -> Router<Api> {
    let add = |router: Router<Api>, (path, route): &Route| router.route(path, route.clone());
    routes.iter().fold(Router::new(), add)
}

/// The routes that each version has.
fn versioned<V: Version>() -> Router<Api> {
    collect(&routes::<V>())
}

fn routes<V: Version>() -> [Route; 6] {
    [
        ("/accounts", post(accounts::open::<V>)),
        ("/accounts/{id}", get(accounts::show::<V>)),
        ("/accounts/{id}/statement", get(statement::export::<V>)),
        ("/accounts/{id}/events", get(events::follow::<V>)),
        ("/transfers", post(transfers::book::<V>)),
        ("/transfers/{id}", get(transfers::show::<V>)),
    ]
}

fn unversioned() -> [Route; 3] {
    [
        ("/openapi.json", get(openapi)),
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
    ]
}

/// The description of all this.
async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Written by hand; a test compares it with the routes.
const OPENAPI: &str = include_str!("api/openapi.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut described: Vec<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let below = |prefix: &str, (path, _): &Route| format!("{prefix}{path}");
        let mut served: Vec<String> = unversioned().iter().map(|it| below("", it)).collect();
        served.extend(routes::<V1>().iter().map(|it| below(V1::PREFIX, it)));
        served.extend(routes::<V2>().iter().map(|it| below(V2::PREFIX, it)));
        described.sort_unstable();
        served.sort_unstable();
        assert_eq!(described, served);
    }
}
