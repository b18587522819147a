//! The pool against a real Redis server.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::{Duration, Instant};

use staunch::{BoxError, Context, Scope, scope, timeout};
use staunch_harness::{RedisServer, Swallow, destroyed, eventually, outlives_a_kill};
use staunch_pool::{AcquireError, Destroyed, Pool, PoolOptions, Redis};

/// Runs `test` on a pool of a server's; then no socket is left.
async fn with_pool(url: &str, options: PoolOptions, test: impl AsyncFnOnce(Pool<Redis>)) {
    let manager = |s: &Scope<BoxError>| Redis::new(s, url);
    staunch_harness::with_pool(manager, options, async |pool, _| test(pool).await).await;
}

async fn incremented(pool: &Pool<Redis>) -> Result<i64, BoxError> {
    let mut lease = pool.acquire().await?;
    let mut connection = lease.connection()?;
    Ok(redis::cmd("INCR").arg("count").query_async(&mut **connection).await?)
}

#[staunch::test]
async fn connections_are_used_again() {
    let server = RedisServer::start().unwrap();
    with_pool(&server.url(), PoolOptions::default(), async |pool| {
        for expected in 1..=100 {
            assert_eq!(incremented(&pool).await.unwrap(), expected);
        }
        assert_eq!((pool.status().created, pool.status().idle), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn a_command_whose_caller_is_gone_holds_nobody_up() {
    let server = RedisServer::start().unwrap();
    with_pool(
        &server.url(),
        PoolOptions { max_total: 1, ..PoolOptions::default() },
        async |pool| {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            let blocking = async {
                redis::cmd("BLPOP").arg("nothing").arg(600).exec_async(&mut **connection).await
            };
            assert!(timeout(Duration::from_millis(100), blocking).await.is_err());
            drop(connection);
            lease.destroy();
            assert_eq!(incremented(&pool).await.unwrap(), 1);
        },
    )
    .await;
}

#[staunch::test]
async fn a_server_that_is_killed_under_load_comes_back() {
    let mut server = RedisServer::start().unwrap();
    let options = PoolOptions { backoff_max: Duration::from_millis(500), ..PoolOptions::default() };
    with_pool(&server.url(), options, async |pool| {
        let request = |pool| async move { incremented(&pool).await.map(drop) };
        outlives_a_kill(&pool, &mut server, request).await;
        eventually("the server agrees", async || clients(&pool).await == pool.status().size).await;
    })
    .await;
}

/// How many clients the server has; the one that asks counts.
async fn clients(pool: &Pool<Redis>) -> usize {
    let mut lease = pool.acquire().await.unwrap();
    let mut connection = lease.connection().unwrap();
    let asked = redis::cmd("INFO").arg("clients").query_async(&mut **connection).await;
    let said: String = asked.unwrap();
    let count = said.lines().find_map(|line| line.strip_prefix("connected_clients:"));
    count.unwrap().parse().unwrap()
}

#[staunch::test]
async fn connections_whose_packets_are_lost_are_found_by_validation_within_its_timeout() {
    let server = RedisServer::start().unwrap();
    let network = Swallow::start(server.port()).unwrap();
    let options = PoolOptions {
        test_on_borrow: true,
        max_total: 3,
        connect_timeout: Duration::from_millis(500),
        validation_timeout: Duration::from_millis(300),
        ..PoolOptions::default()
    };
    let url = format!("redis://127.0.0.1:{}/", network.port());
    with_pool(&url, options, async |pool| {
        let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        drop((first, second));
        network.swallow(true);
        let begun = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::ConnectTimedOut { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let status = pool.status();
        assert_eq!((status.size, destroyed(&status, Destroyed::Invalid)), (1, 1));
        assert!(pool.acquire().await.is_err(), "the other one is found, too");
        let status = pool.status();
        assert_eq!((status.size, destroyed(&status, Destroyed::Invalid)), (0, 2));
        network.swallow(false);
        eventually("it works again", async || pool.acquire().await.is_ok()).await;
        assert_eq!(incremented(&pool).await.unwrap(), 1);
    })
    .await;
}

#[staunch::test]
async fn what_cannot_be_is_refused_with_the_remedy() {
    let ended = scope(&Context::current(), |s| async move {
        let error = Redis::new(&s, "rediss://cache/").unwrap_err().to_string();
        assert!(error.contains("rediss") || error.contains("TLS"), "{error}");
        assert!(Redis::new(&s, "cache:6379:0").is_err());
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
    with_pool("redis://:swordfish@127.0.0.1:1/", PoolOptions::default(), async |pool| {
        let error = pool.acquire().await.unwrap_err().to_string();
        assert!(error.contains("connection refused") && !error.contains("swordfish"), "{error}");
        assert!(!format!("{:?}", pool.manager()).contains("swordfish"));
    })
    .await;
}
