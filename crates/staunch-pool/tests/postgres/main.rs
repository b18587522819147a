//! The pool against a real PostgreSQL server.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod agreement;
mod outages;
mod sessions;
mod statements;
mod tls;
mod transactions;

use std::convert::Infallible;

use staunch::{BoxError, Scope};
use staunch_pool::{Pool, PoolOptions, Postgres};

/// Options for a pool of one connection.
fn single() -> PoolOptions {
    PoolOptions { max_total: 1, ..PoolOptions::default() }
}

/// Runs `test` on a pool of a server's; then no socket is left.
async fn with_pool(config: &str, options: PoolOptions, test: impl AsyncFnOnce(Pool<Postgres>)) {
    let config: tokio_postgres::Config = config.parse().unwrap();
    let manager = |s: &Scope<BoxError>| Ok::<_, Infallible>(Postgres::new(s, config));
    staunch_harness::with_pool(manager, options, async |pool, _| test(pool).await).await;
}

/// How many sessions the server has, this one not counted.
async fn sessions(pool: &Pool<Postgres>) -> i64 {
    let mut lease = pool.acquire().await.unwrap();
    let connection = lease.connection().unwrap();
    let count = "SELECT count(*) FROM pg_stat_activity \
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    connection.query_one(count, &[]).await.unwrap().get(0)
}

async fn backend(pool: &Pool<Postgres>) -> i32 {
    let mut lease = pool.acquire().await.unwrap();
    let connection = lease.connection().unwrap();
    connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}
