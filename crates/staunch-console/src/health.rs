//! `/healthz` and `/readyz`, for probes.

use hyper::StatusCode;

use crate::{
    console::Shared,
    readiness::Phase,
    reply::{self, Reply},
};

/// The process answers: nothing more is promised.
pub(crate) fn healthz(_: &Shared) -> Reply {
    reply::text("ok\n")
}

/// Whether traffic is welcome: 503 before everything listens and while it drains.
pub(crate) fn readyz(shared: &Shared) -> Reply {
    let phase = shared.readiness.phase();
    let mut reply = reply::text(format!("{}\n", phase.name()));
    if phase != Phase::Ready {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply
}
