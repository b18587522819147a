//! A connection pool that accounts for every lease.
//!
//! Every lease is on the ledger with the line that leased it and the task that has it. A lease
//! that nobody uses any more is found, named and revoked, also when it was forgotten
//! (`mem::forget`) or lies in a static; one that is in use is slow, not abandoned. A pool that is
//! exhausted says who has its connections.
//!
//! # The parts
//! | | |
//! | --- | --- |
//! | [`Manager`] | how to connect, validate, reset and close: what you write |
//! | [`Pool`], [`PoolOptions`] | what you lease from |
//! | [`KeyedPool`], [`KeyedPoolOptions`] | a pool for each key, whose empty keys vanish |
//! | [`Lease`], [`InUse`], [`OwnedInUse`] | the right to a connection; the connection |
//! | [`AcquireError`], [`Exhausted`], [`Revoked`] | what can go wrong |
//! | [`PoolStatus`], [`Holder`], [`pools`] | what it holds, and who has it; every pool of the process |
//!
//! # Features
//! `http`: `Http`, HTTP/1.1 and HTTP/2, by hyper. `tcp`: `Tcp`, plain connections. `postgres`: `Postgres`, by tokio-postgres. `redis`:
//! `Redis`, by redis-rs.
//!
//! # What holds
//! 1. No more than `max_total` connections at a time, one that is being made or checked counts. One
//!    that has ended does not while it says goodbye; at most about as many do at a time, the others
//!    end without.
//! 2. A connection that comes back goes to whoever has waited longest; nobody overtakes. If it turns
//!    out to be dead, another is made in its place, for the same.
//! 3. Cancelling an acquire loses neither a connection, nor a place, nor another's turn.
//! 4. What is broken, or in the middle of something, never goes back; what is dirty is reset
//!    first, by the pool's keeper, within a deadline.
//! 5. The server is taken for down when it refuses or does not answer, not when a caller is in a
//!    hurry. Many connects that one outage meets count once.
//! 6. Nothing is spawned from a drop: the keeper is a child of the pool's scope.

mod abandoned;
mod circuit;
mod connecting;
mod error;
mod floating;
mod holders;
mod keeper;
mod keyed;
mod lease;
mod lease_owned;
mod manager;
mod managers;
mod options;
mod pool;
mod record;
mod registry;
mod shared;
mod status;
mod waiting;

#[cfg(any(feature = "http", feature = "postgres", feature = "redis", feature = "tcp"))]
pub use crate::managers::*;
pub use crate::{
    error::{AcquireError, Exhausted, Revoked},
    keyed::{
        Key, KeyStatus, KeyedAcquireError, KeyedInUse, KeyedLease, KeyedOwnedInUse, KeyedPool,
        KeyedPoolOptions, KeyedPoolOptionsError, KeyedStatus,
    },
    lease::{InUse, Lease},
    lease_owned::OwnedInUse,
    manager::{Condition, Manager},
    options::{Order, PoolOptions, PoolOptionsError},
    pool::Pool,
    registry::{KeyReport, PoolReport, pools},
    status::{BUCKETS, Destroyed, Holder, PoolStatus},
};
