//! For probes.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use staunch_console::Phase;
use staunch_pool::PoolStatus;

use super::Api;

/// The process is alive.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Ready {
    phase: &'static str,
    pools: Vec<Pool>,
}

#[derive(Serialize)]
struct Pool {
    name: &'static str,
    max_total: usize,
    size: usize,
    leased: usize,
    waiters: usize,
    is_down: bool,
}

impl From<PoolStatus> for Pool {
    fn from(status: PoolStatus) -> Pool {
        let PoolStatus { name, max_total, size, leased, waiters, is_down, .. } = status;
        Pool { name, max_total, size, leased, waiters, is_down }
    }
}

/// Whether the service wants traffic, and what its pools hold.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let phase = api.readiness.phase();
    let pools: Vec<Pool> = api.bank.pools().into_iter().map(Pool::from).collect();
    let is_ready = phase == Phase::Ready && !pools.iter().any(|pool| pool.is_down);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { phase: phase.name(), pools })).into_response()
}
