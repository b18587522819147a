//! Errors as clients see them: `application/problem+json`, RFC 9457.

use std::borrow::Cow;

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    bank::TooManyFollowersError,
    model::{AccountId, ParseKeyError, TransferId},
    money::CURRENCY,
    order::TransferError,
    store::StoreError,
};

/// An answer that says what is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// The end of its `type`; programs tell problems apart by it.
    name: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub(super) const NO_PAGE: Problem = Problem {
        status: StatusCode::NOT_FOUND,
        name: "no-page",
        title: "Nothing here",
        detail: Cow::Borrowed("the routes are in /openapi.json"),
    };
    pub(super) const METHOD: Problem = Problem {
        status: StatusCode::METHOD_NOT_ALLOWED,
        name: "method",
        title: "The method is not for this path",
        detail: Cow::Borrowed("the methods of each path are in /openapi.json"),
    };
    pub(super) const TOO_LATE: Problem = Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        name: "too-late",
        title: "It took too long",
        detail: Cow::Borrowed("a transfer can be sent again with the same Idempotency-Key"),
    };
    pub(super) const KEY_MISSING: Problem = Problem {
        status: StatusCode::BAD_REQUEST,
        name: "key-missing",
        title: "A transfer needs a key",
        detail: Cow::Borrowed(
            "send a header Idempotency-Key with a value of your own, the same for each try",
        ),
    };
    pub(super) const NO_NUMBER: Problem = Problem {
        status: StatusCode::BAD_REQUEST,
        name: "no-number",
        title: "What should be a number is none",
        detail: Cow::Borrowed("accounts, transfers and entries have numbers: 1, 2, 3"),
    };

    pub(super) fn no_account(id: AccountId) -> Problem {
        let detail = format!("there is no account {id}");
        Problem::new(StatusCode::NOT_FOUND, "no-account", "No such account", detail)
    }

    pub(super) fn no_transfer(id: TransferId) -> Problem {
        let detail = format!("there is no transfer {id}");
        Problem::new(StatusCode::NOT_FOUND, "no-transfer", "No such transfer", detail)
    }

    pub(super) fn currency() -> Problem {
        let detail = format!("accounts here are in {CURRENCY}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "currency", "Another currency", detail)
    }

    pub(super) fn negative_balance() -> Problem {
        let (title, detail) = ("Less than nothing", "an account is opened with 0.00 or more");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-positive", title, detail)
    }

    fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Problem {
        Problem { status, name, title, detail: detail.into() }
    }
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Problem {
        let detail = error.to_string();
        let (status, name, title) = match error {
            TransferError::SameAccount(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "same-account", "From an account to itself")
            }
            TransferError::NotPositive(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "not-positive", "The amount is not positive")
            }
            TransferError::UnknownAccount(id) => return Problem::no_account(id),
            TransferError::Overdraft { .. } => {
                (StatusCode::CONFLICT, "overdraft", "Not enough money")
            }
            TransferError::TooMuch(_) => (StatusCode::CONFLICT, "too-much", "Too much money"),
            TransferError::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key is another transfer's")
            }
            TransferError::Store(error) => return error.into(),
        };
        Problem::new(status, name, title, detail)
    }
}

impl From<StoreError> for Problem {
    /// What the store said is for the log: it may say more than clients should know.
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "unavailable");
                let (title, detail) = ("Not now", "try again in a moment, with the same key");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail)
            }
            StoreError::Failed(_) => {
                tracing::error!(%error, "failed");
                let (title, detail) = ("It is our fault", "the reason is in the service's log");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", title, detail)
            }
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        let (name, title) = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is too large"),
            _ => ("body", "The body is not what it should be"),
        };
        Problem::new(rejection.status(), name, title, rejection.body_text())
    }
}

impl From<ParseKeyError> for Problem {
    fn from(error: ParseKeyError) -> Problem {
        let title = "The Idempotency-Key is none";
        Problem::new(StatusCode::BAD_REQUEST, "key-malformed", title, error.to_string())
    }
}

impl From<TooManyFollowersError> for Problem {
    fn from(error: TooManyFollowersError) -> Problem {
        let title = "Too many streams";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", title, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, name, title, detail } = self;
        let r#type = format!("urn:staunch:bank:{name}");
        let body = Body { r#type, title, status: status.as_u16(), detail: &detail };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
