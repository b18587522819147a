//! The pool against a real PostgreSQL server.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use staunch::{BoxError, Context, Kind, Scope, scope, timeout};
use staunch_harness::{PostgresServer, Swallow, destroyed, eventually, live};
use staunch_pool::{AcquireError, Destroyed, Pool, PoolOptions, Postgres};

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

#[staunch::test]
async fn a_session_is_used_again_and_its_state_is_not() {
    let server = PostgresServer::start(&[]).unwrap();
    let options = PoolOptions { max_total: 1, ..PoolOptions::default() };
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
async fn a_transaction_dropped_in_the_middle_of_a_query_is_rolled_back() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(
        &server.config(),
        PoolOptions { max_total: 1, ..PoolOptions::default() },
        async |pool| {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            connection.batch_execute("CREATE TABLE t (n int)").await.unwrap();
            let transaction = connection.transaction().await.unwrap();
            transaction.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
            let sleeping = transaction.query("SELECT pg_sleep(600)", &[]);
            assert!(timeout(Duration::from_millis(200), sleeping).await.is_err());
            drop(transaction);
            drop(connection);
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            let connection = lease.connection().unwrap();
            let row = connection.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), 0);
        },
    )
    .await;
}

/// Queries without a pause until `until`; how many succeeded after the server came back.
async fn load(pool: Pool<Postgres>, until: Instant) -> (u64, u64) {
    let (mut good, mut bad) = (0, 0);
    while Instant::now() < until {
        let queried = async {
            let mut lease = pool.acquire().await?;
            let connection = lease.connection()?;
            connection.query_one("SELECT 1", &[]).await?;
            Ok::<_, BoxError>(())
        };
        if queried.await.is_ok() {
            good += 1;
        } else {
            bad += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (good, bad)
}

#[staunch::test]
async fn a_server_that_is_killed_under_load_comes_back() {
    let mut server = PostgresServer::start(&[]).unwrap();
    let options = PoolOptions { backoff_max: Duration::from_millis(500), ..PoolOptions::default() };
    with_pool(&server.config(), options, async |pool| {
        let until = Instant::now() + Duration::from_secs(4);
        let loads = scope(&Context::current(), |s| {
            let (pool, server) = (pool.clone(), &mut server);
            async move {
                let loads: Vec<_> = (0..8)
                    .map(|_| {
                        let pool = pool.clone();
                        s.fork(async move { Ok(load(pool, until).await) })
                    })
                    .collect();
                tokio::time::sleep(Duration::from_millis(500)).await;
                server.kill()?;
                eventually("it is known to be down", async || pool.status().is_down).await;
                let begun = Instant::now();
                let error = pool.acquire().await.unwrap_err();
                let fails =
                    matches!(error, AcquireError::Down { .. } | AcquireError::Connect { .. });
                assert!(fails && begun.elapsed() < Duration::from_secs(1), "fast: {error}");
                server.restart()?;
                let mut sums = (0, 0);
                for load in loads {
                    let (good, bad) = load.join().await?;
                    sums = (sums.0 + good, sums.1 + bad);
                }
                Ok::<_, BoxError>(sums)
            }
        });
        let (good, bad) = loads.await.unwrap();
        assert!(good > 100 && bad > 0, "{good} good, {bad} bad");
        eventually("it is up", async || pool.acquire().await.is_ok()).await;
        let status = pool.status();
        assert_eq!((status.leased, status.waiters), (0, 0));
        eventually("the server agrees", async || {
            let status = pool.status();
            sessions(&pool).await + 1 == i64::try_from(status.size).unwrap()
        })
        .await;
    })
    .await;
}

#[staunch::test]
async fn connections_whose_packets_are_lost_are_found_by_validation_within_its_timeout() {
    let server = PostgresServer::start(&[]).unwrap();
    let network = Swallow::start(server.port()).unwrap();
    let config = format!("host=127.0.0.1 port={} user=postgres", network.port());
    let options = PoolOptions {
        test_on_borrow: true,
        max_total: 3,
        connect_timeout: Duration::from_millis(500),
        validation_timeout: Duration::from_millis(300),
        ..PoolOptions::default()
    };
    with_pool(&config, options, async |pool| {
        let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        drop((first, second));
        network.swallow(true);
        let begun = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::ConnectTimedOut { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let status = pool.status();
        assert_eq!((status.size, destroyed(&status, Destroyed::Invalid)), (0, 2));
        network.swallow(false);
        eventually("it works again", async || pool.acquire().await.is_ok()).await;
    })
    .await;
}

#[staunch::test]
async fn what_is_refused_says_why() {
    let server = PostgresServer::start(&[]).unwrap();
    let nobody = format!("host=127.0.0.1 port={} user=nobody", server.port());
    with_pool(&nobody, PoolOptions::default(), async |pool| {
        let error = pool.acquire().await.unwrap_err().to_string();
        assert!(error.contains("role \"nobody\" does not exist"), "{error}");
    })
    .await;
    with_pool("user=app", PoolOptions::default(), async |pool| {
        let error = pool.acquire().await.unwrap_err().to_string();
        assert!(error.contains("names no host"), "{error}");
    })
    .await;
    let config = "host=127.0.0.1 port=1 user=app password=swordfish";
    with_pool(config, PoolOptions::default(), async |pool| {
        let error = pool.acquire().await.unwrap_err().to_string();
        assert!(error.contains("connection refused") && !error.contains("swordfish"), "{error}");
        assert!(!format!("{:?}", pool.manager()).contains("swordfish"));
    })
    .await;
}

/// Random queries, a third of them dropped on the way: at the end the pool, the ledger, the kernel
/// and the server agree on every connection.
#[staunch::test(flavor = "multi_thread")]
async fn after_many_cancelled_acquires_everybody_agrees() {
    let server = PostgresServer::start(&["max_connections=50"]).unwrap();
    let options = PoolOptions { max_total: 8, max_idle: 8, ..PoolOptions::default() };
    with_pool(&server.config(), options, async |pool| {
        let ended = scope(&Context::current(), |s| {
            let pool = pool.clone();
            async move {
                for task in 0..32_u64 {
                    let pool = pool.clone();
                    s.spawn(async move {
                        let mut random = task + 1;
                        for _ in 0..200 {
                            random = random.wrapping_mul(6_364_136_223_846_793_005) >> 1 | 1;
                            let time = Duration::from_micros(random % 3000);
                            let query = async {
                                let mut lease = pool.acquire().await?;
                                let connection = lease.connection()?;
                                connection.query_one("SELECT 1", &[]).await?;
                                Ok::<_, BoxError>(())
                            };
                            let _ = timeout(time, query).await; // dropped wherever it is
                        }
                        Ok(())
                    });
                }
                Ok::<_, BoxError>(())
            }
        });
        ended.await.unwrap();
        eventually("all are back", async || pool.status().leased == 0).await;
        eventually("everybody agrees", async || {
            let server_says = sessions(&pool).await + 1;
            let size = pool.status().size;
            server_says == i64::try_from(size).unwrap() && live(Kind::CONNECTION) == size
        })
        .await;
    })
    .await;
}
