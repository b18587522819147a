//! Bugs, planted one by one, as the article describes them: for the doctor and the drills to find.
//! Only in builds with the feature `leaky`; `BANK_LEAK` says which,
//! `BANK_LEAK_EVERY` how often: once in so many times, 100 unless told otherwise.
//!
//! | `BANK_LEAK` | what is wrong |
//! | --- | --- |
//! | `rows` | an export leaves its cursor and its transaction open, and their lease with them |
//! | `lease` | a lease is put into a static and forgotten |
//! | `task` | each transfer starts a task that waits for ever, and that nobody cancels |
//! | `body` | the bodies of requests are held after their answers |
//! | `cache` | what was answered is cached without a limit of time or number |

use std::{
    any::Any,
    collections::HashMap,
    future::pending,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use staunch::{Account, Kind, Ledger, Obligation, detach};

use crate::model::{Transfer, TransferId};

/// Which bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leak {
    Rows,
    Lease,
    Task,
    Body,
    Cache,
}

static PLANTED: LazyLock<Option<Leak>> =
    LazyLock::new(|| match std::env::var("BANK_LEAK").ok()?.as_str() {
        "rows" => Some(Leak::Rows),
        "lease" => Some(Leak::Lease),
        "task" => Some(Leak::Task),
        "body" => Some(Leak::Body),
        "cache" => Some(Leak::Cache),
        other => {
            tracing::error!(leak = other, "BANK_LEAK is none of rows, lease, task, body, cache");
            None
        }
    });

/// How often a bug strikes: once in so many times. `BANK_LEAK_EVERY`; default 100.
static EVERY: LazyLock<u64> = LazyLock::new(|| {
    let every = std::env::var("BANK_LEAK_EVERY").ok().and_then(|text| text.parse().ok());
    every.unwrap_or(100).max(1)
});

static TIMES: AtomicU64 = AtomicU64::new(0);

/// Whether this bug is planted, and it is time for it.
pub(crate) fn strikes(leak: Leak) -> bool {
    *PLANTED == Some(leak) && TIMES.fetch_add(1, Ordering::Relaxed).is_multiple_of(*EVERY)
}

/// What is never given back. The bug is that nobody ever takes from it.
static KEPT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

/// Keeps `thing` for ever.
pub(crate) fn keep(thing: impl Any + Send) {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(thing));
}

/// A transfer was booked.
pub(crate) fn booked(transfer: Transfer) {
    if strikes(Leak::Task) {
        drop(detach("tells others of a transfer, and waits for an answer", pending()));
    }
    if strikes(Leak::Cache) {
        remember(transfer);
    }
}

/// A cache without a limit.
static ANSWERS: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Answers {
    answers: HashMap<TransferId, String>,
    entry: Option<Account>,
}

fn remember(transfer: Transfer) {
    let answer = format!("{transfer:?}").repeat(8);
    let mut cache = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = cache.entry.get_or_insert_with(|| {
        let entry = Ledger::current().open(Kind::BUFFER, Obligation::Perpetual("cached answers"));
        entry.label("answer cache");
        entry
    });
    entry.add_bytes(answer.len() as u64);
    cache.answers.insert(transfer.id, answer);
}

/// The most of a body that is held.
const HELD: usize = 16 << 10;

/// Holds the body of each request.
pub(crate) async fn hold_bodies(request: Request, next: Next) -> Response {
    if !strikes(Leak::Body) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match to_bytes(body, HELD).await {
        Ok(bytes) => {
            keep(HeldBody::new(bytes.clone()));
            next.run(Request::from_parts(head, Body::from(bytes))).await
        }
        Err(error) => error.to_string().into_response(),
    }
}

/// A body that is open for as long as this lives.
struct HeldBody {
    _bytes: Bytes,
    _entry: Account,
}

impl HeldBody {
    fn new(bytes: Bytes) -> HeldBody {
        let entry = Ledger::current().open(Kind::BODY, Obligation::EndsWithParent);
        entry.add_bytes(bytes.len() as u64);
        HeldBody { _bytes: bytes, _entry: entry }
    }
}
