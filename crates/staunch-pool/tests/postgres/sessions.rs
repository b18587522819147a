//! A session is used again, and its state is not.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use staunch::{BoxError, Scope, timeout};
use staunch_harness::{PostgresServer, Swallow, destroyed, eventually};
use staunch_pool::{Destroyed, Pool, PoolOptions, Postgres};

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

/// Whoever says `BEGIN` or `SET` by `execute` is understood as well.
#[staunch::test]
async fn what_a_query_changes_is_seen_in_its_text() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server.config(), single(), async |pool| {
        let first = backend(&pool).await;
        for text in [
            "BEGIN",
            "/* mine */ SET application_name = 'mine'",
            "SELECT set_config('application_name', 'mine', false)",
            "SELECT pg_advisory_lock(7)",
            "LISTEN news",
            "SELECT 1 AS n INTO TEMP scratch",
        ] {
            for way in ["execute", "query", "query_typed", "query_cached", "prepare"] {
                let mut lease = pool.acquire().await.unwrap();
                let connection = lease.connection().unwrap();
                match way {
                    "execute" => drop(connection.execute(text, &[]).await.unwrap()),
                    "query" => drop(connection.query(&text.to_owned(), &[]).await.unwrap()),
                    "query_typed" => drop(connection.query_typed(text, &[]).await.unwrap()),
                    "query_cached" => drop(connection.query_cached(text, &[]).await.unwrap()),
                    _ => {
                        let statement = connection.prepare(text).await.unwrap();
                        connection.execute(&statement, &[]).await.unwrap();
                    }
                }
                drop(connection);
                drop(lease);
                assert_eq!(pool.status().idle, 0, "{way} {text}: it is reset first");
                let mut lease = pool.acquire().await.unwrap();
                let connection = lease.connection().unwrap();
                let left = "SELECT pg_backend_pid(), current_setting('application_name'), \
                            (SELECT count(*) FROM pg_listening_channels()) \
                            + (SELECT count(*) FROM pg_class WHERE relname = 'scratch') \
                            + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), \
                            extract(epoch FROM now())::float8";
                let row = connection.query_one(left, &[]).await.unwrap();
                let found: (i32, String, i64) = (row.get(0), row.get(1), row.get(2));
                assert_eq!(found, (first, String::new(), 0), "{way} {text}");
                let again = connection.query_one(left, &[]).await.unwrap();
                let times: [f64; 2] = [row.get(3), again.get(3)];
                assert!(times[0] < times[1], "{way} {text}: each in a transaction of its own");
                drop(connection);
                drop(lease);
                assert_eq!(pool.status().idle, 1, "a query needs no reset");
            }
        }
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

#[staunch::test]
async fn a_slow_reset_of_a_session_on_which_nothing_runs_is_waited_for() {
    let server = PostgresServer::start(&[]).unwrap();
    let network = Swallow::start(server.port()).unwrap();
    let config = format!("host=127.0.0.1 port={} user=postgres", network.port());
    with_pool(&config, single(), async |pool| {
        let first = backend(&pool).await;
        let mut lease = pool.acquire().await.unwrap();
        let set = "SET application_name = 'mine'";
        lease.connection().unwrap().batch_execute(set).await.unwrap();
        network.swallow(true);
        drop(lease);
        tokio::time::sleep(Duration::from_millis(400)).await;
        network.swallow(false); // what was said meanwhile arrives
        assert_eq!((backend(&pool).await, pool.status().created), (first, 1));
        assert_eq!(network.openings().len(), 1, "nobody wished to cancel anything");
    })
    .await;
}

/// What the client itself runs nobody counts, so the wish to cancel it may meet the reset.
#[staunch::test]
async fn a_slow_reset_that_is_cancelled_begins_again() {
    let server = PostgresServer::start(&[]).unwrap();
    let patient = Duration::from_secs(30);
    let options = PoolOptions { acquire_timeout: patient, reset_timeout: patient, ..single() };
    with_pool(&server.config(), options, async |pool| {
        let first = backend(&pool).await;
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let create = "DO $$ BEGIN FOR n IN 1..1500 LOOP \
                      EXECUTE format('CREATE TEMP TABLE t%s (n int)', n); \
                      END LOOP; END $$";
        connection.client().batch_execute(create).await.unwrap();
        drop(connection);
        drop(lease);
        let begun = Instant::now();
        assert_eq!((backend(&pool).await, pool.status().created), (first, 1));
        assert!(begun.elapsed() > Duration::from_millis(50), "slow: {:?}", begun.elapsed());
    })
    .await;
}

/// A task that waits for a query and for something else is not parked, whatever it says last.
#[staunch::test]
async fn a_query_that_is_waited_for_beside_something_else_is_not_abandoned() {
    let server = PostgresServer::start(&[]).unwrap();
    let options =
        PoolOptions { abandoned_timeout: Duration::from_millis(300), ..PoolOptions::default() };
    with_pool(&server.config(), options, async |pool| {
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let query = connection.query_one("SELECT 7, pg_sleep(1.5)", &[]);
        tokio::select! {
            biased;
            row = query => assert_eq!(row.unwrap().get::<_, i32>(0), 7),
            _ = staunch::sleep(Duration::from_mins(1)) => panic!("the query answers first"),
        }
        let is_named = |rule: &str| staunch_harness::observed(rule).len();
        assert_eq!((is_named("slow-lease"), is_named("abandoned-lease")), (1, 0));
    })
    .await;
}

#[staunch::test]
async fn a_query_whose_lease_is_revoked_is_cancelled_on_the_server() {
    let server = PostgresServer::start(&[]).unwrap();
    let options = PoolOptions {
        max_total: 2,
        abandoned_timeout: Duration::from_millis(400),
        ..PoolOptions::default()
    };
    let work = async |pool: Pool<Postgres>, s: Scope<BoxError>| {
        let leasing = pool.clone();
        s.spawn(async move {
            let mut lease = leasing.acquire().await?;
            let connection = lease.connection()?;
            let query = connection.query("SELECT pg_sleep(600)", &[]);
            assert!(timeout(Duration::from_millis(100), query).await.is_err());
            staunch::sleep(Duration::from_mins(1)).await?; // with it in hand, parked
            Ok(())
        });
        eventually("it runs", async || asleep(&pool).await == 1).await;
        eventually("it is revoked", async || destroyed(&pool.status(), Destroyed::Abandoned) == 1)
            .await;
        let begun = Instant::now();
        eventually("it is cancelled", async || asleep(&pool).await == 0).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    };
    let config: tokio_postgres::Config = server.config().parse().unwrap();
    let manager = |s: &Scope<BoxError>| Ok::<_, Infallible>(Postgres::new(s, config));
    staunch_harness::with_pool(manager, options, work).await;
}

/// How many sessions are in `pg_sleep`.
async fn asleep(pool: &Pool<Postgres>) -> i64 {
    let mut lease = pool.acquire().await.unwrap();
    let connection = lease.connection().unwrap();
    let count = "SELECT count(*) FROM pg_stat_activity \
                 WHERE wait_event = 'PgSleep' AND state = 'active'";
    connection.query_one(count, &[]).await.unwrap().get(0)
}
