//! How connections are made: in a place, and only while the server is not taken for down.

use std::{fmt, sync::Arc};

use staunch_ledger::{Kind, Obligation, Stamp};
use staunch_scope::Context;
use tokio::time::Instant;

use crate::{
    circuit::{Refusal, Try},
    error::AcquireError,
    floating::Floating,
    manager::{Condition, Manager},
    options::PoolOptions,
    record::{Pooled, Record},
    shared::{Acquired, Shared},
};

impl<M: Manager> Shared<M> {
    /// Makes a connection in a place, for somebody who waits since `begun`.
    ///
    /// The server is taken for down if it refuses, or does not answer for at least half of the time
    /// that a caller has who need not wait for anything else; not because this one had less, or
    /// does not want it any more.
    pub(crate) async fn create(
        self: &Arc<Self>,
        place: Place<'_, M>,
        begun: Instant,
    ) -> Acquired<M> {
        let pool = self.options.name;
        let attempt = Attempt::begin(self)?;
        let PoolOptions { acquire_timeout, connect_timeout, .. } = self.options;
        let left = acquire_timeout.saturating_sub(begun.elapsed());
        let limit = connect_timeout.min(left);
        let connecting = tokio::time::timeout(limit, self.manager.connect());
        let connected = Context::current().run(connecting).await?;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => {
                Context::current().check()?; // the manager may have heard of it first
                if self.manager.is_local(&source) {
                    attempt.tell(&source); // and nothing is known of the server
                } else {
                    attempt.failed(source.to_string());
                }
                return Err(AcquireError::Connect { pool, source });
            }
            Err(_) => {
                if limit >= connect_timeout.min(acquire_timeout) / 2 {
                    attempt.failed(format!("no connection within {limit:?}"));
                }
                return Err(if limit == connect_timeout {
                    AcquireError::ConnectTimedOut { pool, limit }
                } else {
                    AcquireError::Late { pool, waited: begun.elapsed(), connecting: limit }
                });
            }
        };
        let floating = Floating::new(self.record(connection, place));
        if !self.options.test_on_create {
            attempt.succeeded();
            return Ok(floating.keep());
        }
        let Some(record) = floating.checked(Condition::Clean, true).await? else {
            let last = "a new connection did not answer".to_owned();
            attempt.failed(last.clone());
            return Err(AcquireError::Down { pool, retry_in: self.options.backoff, last });
        };
        attempt.succeeded();
        Ok(record)
    }

    /// A new connection's record, which takes over the place.
    fn record(self: &Arc<Self>, connection: M::Connection, place: Place<'_, M>) -> Arc<Record<M>> {
        self.counters.created();
        let mut records = self.records();
        records.next += 1;
        let key = records.next;
        let kind = Kind::user("pooled").unwrap_or(Kind::OTHER);
        let promise = Obligation::EndsWithParent;
        let account = self.ledger.open_at(self.born_at, kind, promise, Some(self.scope));
        account.label(self.options.name);
        let pooled = Pooled { connection, _account: account };
        let record = Arc::new(Record::new(self, key, pooled, self.expiry(key)));
        records.live.insert(key, Arc::downgrade(&record));
        drop(records);
        place.taken();
        record
    }

    /// When the connection of this number has lived long enough: `max_lifetime`, give or take up
    /// to a tenth.
    fn expiry(&self, key: u64) -> Option<Stamp> {
        let lifetime = self.options.max_lifetime?;
        // Neighbours come to lie far apart (Fibonacci hashing).
        let share = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let tenth = lifetime / 10;
        let jitter = tenth.mul_f64(share as f64 / f64::from(u32::MAX) * 2.0);
        Some(self.ledger.now().plus(lifetime.saturating_sub(tenth).saturating_add(jitter)))
    }
}

/// The right to make a connection, counted already.
pub(crate) struct Place<'s, M: Manager> {
    shared: &'s Shared<M>,
    is_taken: bool,
}

impl<'s, M: Manager> Place<'s, M> {
    pub(crate) fn new(shared: &'s Shared<M>) -> Place<'s, M> {
        Place { shared, is_taken: false }
    }

    /// There is a connection in it.
    fn taken(mut self) {
        self.is_taken = true;
    }
}

impl<M: Manager> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if !self.is_taken {
            self.shared.give_place();
        }
    }
}

/// A connect that the circuit allowed, and must hear of.
struct Attempt<'s, M: Manager> {
    shared: &'s Shared<M>,
    of: Try,
    is_over: bool,
}

impl<'s, M: Manager> Attempt<'s, M> {
    fn begin(shared: &'s Shared<M>) -> Result<Attempt<'s, M>, AcquireError<M::Error>> {
        let pool = shared.options.name;
        let asked = shared.circuit().ask(shared.ledger.now());
        let of = asked.map_err(|Refusal { retry_in, last }| AcquireError::Down {
            pool,
            retry_in,
            last,
        })?;
        Ok(Attempt { shared, of, is_over: false })
    }

    fn succeeded(mut self) {
        self.is_over = true;
        self.shared.circuit().succeeded();
        self.shared.offer_places();
    }

    fn failed(mut self, why: String) {
        self.is_over = true;
        self.tell(&why);
        self.shared.circuit().failed(self.of, self.shared.ledger.now(), why);
    }

    fn tell(&self, why: &dyn fmt::Display) {
        if let Some(times) = self.shared.unconnected.happened(self.shared.ledger.now()) {
            tracing::warn!(pool = self.shared.options.name, times, "no connection: {why}");
        }
    }
}

impl<M: Manager> Drop for Attempt<'_, M> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.circuit().gave_up(self.of);
        }
    }
}
