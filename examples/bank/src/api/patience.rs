//! The deadline of requests.

use std::time::Duration;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use staunch::{shield, timeout};

use super::problem::Problem;

/// Answers within `limit`, one way or the other. A drain does not end what has begun: the listener
/// waits for it, and `limit` is shorter than its grace.
pub(super) async fn within(limit: Duration, request: Request, next: Next) -> Response {
    let answer = shield(timeout(limit, next.run(request)));
    answer.await.unwrap_or_else(|_| Problem::TOO_LATE.into_response())
}
