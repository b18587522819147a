//! A session is used again, and its state is not.

use std::time::{Duration, Instant};

use staunch::timeout;
use staunch_harness::PostgresServer;
use staunch_pool::PoolOptions;

use crate::{backend, single, with_pool};

#[staunch::test]
async fn a_session_is_used_again_and_its_state_is_not() {
    let server = PostgresServer::start(&[]).unwrap();
    let options = single();
    with_pool(&server.config(), options, async |pool| {
        let first = backend(&pool).await;
        assert_eq!(backend(&pool).await, first);
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        connection.batch_execute("SET application_name = 'mine'; BEGIN").await.unwrap();
        drop(connection);
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let row = connection.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), "", "as in a new session");
        let row = connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), first, "and it is the same");
    })
    .await;
}

#[staunch::test]
async fn a_query_whose_caller_is_gone_is_cancelled_on_the_server() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(
        &server.config(),
        PoolOptions { max_total: 2, ..PoolOptions::default() },
        async |pool| {
            let busy = backend(&pool).await;
            let mut lease = pool.acquire().await.unwrap();
            let connection = lease.connection().unwrap();
            let query = connection.query("SELECT pg_sleep(600)", &[]);
            assert!(timeout(Duration::from_millis(200), query).await.is_err());
            drop(connection);
            drop(lease);
            let begun = Instant::now();
            let mut both = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
            let mut backends = Vec::new();
            for lease in &mut both {
                let connection = lease.connection().unwrap();
                let row = connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
                backends.push(row.get::<_, i32>(0));
            }
            assert!(backends.contains(&busy), "it was reset, not ended");
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        },
    )
    .await;
}

#[staunch::test]
async fn nothing_that_a_lease_did_to_its_session_is_left() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let first = backend(&pool).await;
        let mut lease = pool.acquire().await.unwrap();
        let did = "SET search_path = pg_catalog; LISTEN news; PREPARE \"a b\" AS SELECT 1; \
                   CREATE TEMP TABLE scratch (n int); SELECT pg_advisory_lock(7); \
                   DECLARE rows CURSOR WITH HOLD FOR SELECT 1";
        lease.connection().unwrap().batch_execute(did).await.unwrap();
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let left = "SELECT pg_backend_pid(), current_setting('search_path'), \
                    (SELECT count(*) FROM pg_listening_channels()) \
                    + (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) \
                    + (SELECT count(*) FROM pg_class WHERE relname = 'scratch') \
                    + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') \
                    + (SELECT count(*) FROM pg_cursors WHERE name = 'rows')";
        let row = connection.query_one(left, &[]).await.unwrap();
        let found: (i32, String, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(found, (first, "\"$user\", public".to_owned(), 0));
    })
    .await;
}

/// tokio-postgres prepares statements of its own to learn of types, which `DISCARD ALL` would take
/// from under it.
#[staunch::test]
async fn types_can_be_learnt_after_a_reset() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        for name in ["mood", "weather", "taste"] {
            let mut lease = pool.acquire().await.unwrap();
            let connection = lease.connection().unwrap();
            let create = format!("CREATE TYPE {name} AS ENUM ('good', 'bad')");
            connection.batch_execute(&create).await.unwrap();
            let select = format!("SELECT 'good'::{name}");
            let row = connection.query_one(&select, &[]).await.unwrap();
            assert_eq!(row.columns()[0].type_().name(), name);
        }
        assert_eq!(pool.status().created, 1);
    })
    .await;
}

/// A wish to cancel that came too late would meet whoever has the session next.
#[staunch::test]
async fn a_cancelled_query_does_not_cancel_the_next() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        for turn in 0..200 {
            let mut lease = pool.acquire().await.unwrap();
            let connection = lease.connection().unwrap();
            let query = connection.query_cached("SELECT pg_sleep(0.001)", &[]);
            let _ = timeout(Duration::from_micros(turn * 10), query).await; // dropped, or just done
            drop(connection);
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            let connection = lease.connection().unwrap();
            connection.query_one_cached("SELECT pg_sleep(0.003)", &[]).await.unwrap();
        }
        assert_eq!(pool.status().created, 1, "nor the reset");
    })
    .await;
}
