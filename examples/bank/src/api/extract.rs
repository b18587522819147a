//! What handlers take out of a request; what is not as it should be becomes a [`Problem`].

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, request::Parts},
};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::model::IdempotencyKey;

/// The number in a path.
pub(super) struct Number(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Number, Problem> {
        let number = Path::from_request_parts(parts, state).await;
        number.map(|Path(number)| Number(number)).map_err(|_| Problem::NO_NUMBER)
    }
}

/// The body of a request, from JSON.
pub(super) struct Payload<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Payload<T>, Problem> {
        let Json(payload) = Json::from_request(request, state).await?;
        Ok(Payload(payload))
    }
}

/// The key of a request: its `Idempotency-Key`.
pub(super) struct Key(pub(super) Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Key, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Key(None)) };
        let text = value.to_str().unwrap_or_default(); // what is no text is no key either
        Ok(Key(Some(IdempotencyKey::parse(text)?)))
    }
}

/// The number in a header of the request, if there is one.
pub(super) fn number_in(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
