//! How connections are made: in a place, and only while the server is not taken for down.

use std::{sync::Arc, time::Duration};

use staunch_ledger::{Kind, Obligation, Stamp};
use tokio::time::Instant;

use crate::{
    circuit::Refusal,
    error::AcquireError,
    floating::Floating,
    manager::{Condition, Manager},
    record::{Pooled, Record},
    shared::{Acquired, Shared},
};

impl<M: Manager> Shared<M> {
    /// Makes a connection in a place.
    pub(crate) async fn create(
        self: &Arc<Self>,
        place: Place<'_, M>,
        deadline: Instant,
    ) -> Acquired<M> {
        let pool = self.options.name;
        let attempt = Attempt::begin(self).map_err(|refusal| AcquireError::Down {
            pool,
            retry_in: refusal.retry_in,
            last: refusal.last,
        })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = self.options.connect_timeout.min(left);
        let connected = tokio::time::timeout(limit, self.manager.connect()).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => {
                attempt.failed(source.to_string());
                return Err(AcquireError::Connect { pool, source });
            }
            Err(_) => {
                attempt.failed(format!("no connection within {limit:?}"));
                return Err(AcquireError::ConnectTimedOut { pool, limit });
            }
        };
        attempt.succeeded();
        let floating = Floating::new(self.record(connection, place));
        if !self.options.test_on_create {
            return Ok(floating.keep());
        }
        floating.checked(Condition::Clean, true).await.ok_or_else(|| {
            let (retry_in, last) = (Duration::ZERO, "a new connection did not answer".to_owned());
            AcquireError::Down { pool, retry_in, last }
        })
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
    is_over: bool,
}

impl<'s, M: Manager> Attempt<'s, M> {
    fn begin(shared: &'s Shared<M>) -> Result<Attempt<'s, M>, Refusal> {
        shared.circuit().ask(shared.ledger.now())?;
        Ok(Attempt { shared, is_over: false })
    }

    fn succeeded(mut self) {
        self.is_over = true;
        self.shared.circuit().succeeded();
    }

    fn failed(mut self, why: String) {
        self.is_over = true;
        tracing::warn!(pool = self.shared.options.name, "cannot connect: {why}");
        self.shared.circuit().failed(self.shared.ledger.now(), why);
    }
}

impl<M: Manager> Drop for Attempt<'_, M> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.circuit().gave_up();
        }
    }
}
