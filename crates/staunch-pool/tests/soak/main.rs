//! What takes long, or must be alone in its process: `cargo xtask test` runs it, one test
//! at a time. By itself:
//!
//!     cargo test -p staunch-pool --features postgres --test soak -- --ignored --test-threads=1 --nocapture
//!
//! A minute or two. What an ordinary `cargo test` runs of a million acquires is `postgres/agreement.rs`:
//! 6,400 of them.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod million;
mod planted;

use std::convert::Infallible;

use staunch::{BoxError, Scope};
use staunch_harness::PostgresServer;
use staunch_pool::{Pool, PoolOptions, Postgres};

/// Runs `test` on a pool of a server's; then no socket is left.
async fn with_pool(
    server: &PostgresServer,
    options: PoolOptions,
    test: impl AsyncFnOnce(Pool<Postgres>, Scope<BoxError>),
) {
    let config: tokio_postgres::Config = server.config().parse().unwrap();
    let manager = |s: &Scope<BoxError>| Ok::<_, Infallible>(Postgres::new(s, config));
    staunch_harness::with_pool(manager, options, test).await;
}

/// How many sessions the server has; the one that asks counts.
async fn sessions(pool: &Pool<Postgres>) -> usize {
    let mut lease = pool.acquire().await.unwrap();
    let connection = lease.connection().unwrap();
    let count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    let row = connection.query_one_cached(count, &[]).await.unwrap();
    usize::try_from(row.get::<_, i64>(0)).unwrap()
}
