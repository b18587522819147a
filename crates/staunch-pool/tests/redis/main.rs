//! The pool against a real Redis server.

use std::time::{Duration, Instant};

use staunch::{BoxError, Context, Scope, scope, timeout};
use staunch_harness::{RedisServer, eventually};
use staunch_pool::{AcquireError, Pool, PoolOptions, Redis};

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
async fn a_server_that_is_killed_comes_back() {
    let mut server = RedisServer::start().unwrap();
    with_pool(&server.url(), PoolOptions::default(), async |pool| {
        incremented(&pool).await.unwrap();
        server.kill().unwrap();
        let begun = Instant::now();
        let mut fails = 0;
        while !pool.status().is_down {
            assert!(incremented(&pool).await.is_err());
            fails += 1;
            assert!(fails < 10, "it is not noticed");
        }
        let error = pool.acquire().await.unwrap_err();
        assert!(
            matches!(error, AcquireError::Down { .. } | AcquireError::Connect { .. }),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(2), "fast: {:?}", begun.elapsed());
        server.restart().unwrap();
        eventually("it is back", async || incremented(&pool).await.is_ok()).await;
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
