//! The pool against a real Redis server.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::time::Duration;

use redis::AsyncCommands;
use staunch::{BoxError, Context, Scope, scope, timeout};
use staunch_harness::{RedisServer, destroyed, eventually, outlives_a_kill, outlives_a_silence};
use staunch_pool::{Destroyed, Pool, PoolOptions, Redis};

/// Runs `test` on a pool of a server's; then no socket is left.
async fn with_pool(url: &str, options: PoolOptions, test: impl AsyncFnOnce(Pool<Redis>)) {
    let manager = |s: &Scope<BoxError>| Redis::new(s, url);
    staunch_harness::with_pool(manager, options, async |pool, _| test(pool).await).await;
}

async fn incremented(pool: &Pool<Redis>) -> Result<i64, BoxError> {
    let mut lease = pool.acquire().await?;
    let mut connection = lease.connection()?;
    Ok(redis::cmd("INCR").arg("count").query_async(&mut *connection).await?)
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
                redis::cmd("BLPOP").arg("nothing").arg(600).exec_async(&mut *connection).await
            };
            assert!(timeout(Duration::from_millis(100), blocking).await.is_err());
            drop(connection);
            drop(lease);
            assert_eq!(incremented(&pool).await.unwrap(), 1);
        },
    )
    .await;
}

/// Options for a pool of one connection.
fn single() -> PoolOptions {
    PoolOptions { max_total: 1, ..PoolOptions::default() }
}

/// How many connections were made, and how many of them were found to be broken.
fn made(pool: &Pool<Redis>) -> (u64, u64) {
    let status = pool.status();
    (status.created, destroyed(&status, Destroyed::Broken))
}

#[staunch::test]
async fn a_blocking_command_that_was_given_up_ends_its_connection() {
    let server = RedisServer::start().unwrap();
    with_pool(&server.url(), single(), async |pool| {
        for (round, patience) in (1..).zip([100, 10_000]) {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            // The second is given up by redis-rs, whose own patience is 500 ms.
            let taken = connection.blpop::<_, Option<(String, String)>>("queue", 0.0);
            let taken = timeout(Duration::from_millis(patience), taken).await;
            assert!(!matches!(taken, Ok(Ok(_))), "{taken:?}");
            drop(connection);
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            // Whoever still waited for it would take it.
            let length: u64 = connection.rpush("queue", "mine").await.unwrap();
            let left: Vec<String> = connection.lrange("queue", 0, -1).await.unwrap();
            assert_eq!((length, left), (1, vec!["mine".to_owned()]));
            connection.del::<_, ()>("queue").await.unwrap();
            assert_eq!(made(&pool), (round + 1, round));
        }
    })
    .await;
}

#[staunch::test]
async fn one_that_may_wait_longer_does() {
    let server = RedisServer::start().unwrap();
    let url = server.url();
    let manager = |s: &Scope<BoxError>| {
        Redis::new(s, url).map(|redis| redis.response_timeout(Duration::from_secs(5)))
    };
    staunch_harness::with_pool(manager, single(), async |pool, _| {
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let taken: Option<(String, String)> = connection.blpop("queue", 0.8).await.unwrap();
        assert_eq!(taken, None);
        drop(connection);
        drop(lease);
        assert_eq!(pool.status().idle, 1);
    })
    .await;
}

/// Says `words` in one lease; how another finds its connection: which it is, its database and its name,
/// whether a transaction is open, and whether one could fail.
async fn after(pool: &Pool<Redis>, words: &[&[&str]]) -> (u64, i64, String, bool) {
    let mut lease = pool.acquire().await.unwrap();
    for words in words {
        let mut command = redis::Cmd::new();
        command.arg(words);
        let mut connection = lease.connection().unwrap();
        let said = command.exec_async(&mut *connection);
        let _ = timeout(Duration::from_secs(2), said).await; // some are not answered
    }
    drop(lease);
    let mut other = pool.acquire().await.unwrap();
    let mut connection = other.connection().unwrap();
    let set = redis::cmd("SET").arg("watched").arg(1).query_async(&mut *connection).await;
    let is_done = set.is_ok_and(|said: String| said == "OK");
    let info: String =
        redis::cmd("CLIENT").arg("INFO").query_async(&mut *connection).await.unwrap();
    let field = |name: &str| {
        let values = info.split(' ').find_map(|field| field.strip_prefix(name));
        values.unwrap().to_owned()
    };
    (field("id=").parse().unwrap(), field("db=").parse().unwrap(), field("name="), is_done)
}

#[staunch::test]
async fn what_changes_a_connection_is_undone_before_the_next_lease() {
    let server = RedisServer::start().unwrap();
    for url in
        [server.url(), format!("{}2", server.url()), format!("{}2?protocol=resp3", server.url())]
    {
        let db = i64::from(url != server.url()) * 2;
        with_pool(&url, single(), async |pool| {
            let first = after(&pool, &[]).await;
            assert_eq!((first.1, first.2.as_str(), first.3), (db, "", true));
            let said: [&[&[&str]]; 6] = [
                &[&["SELECT", "5"]],
                &[&["select", "5"], &["MULTI"], &["GET", "k"]],
                &[&["WATCH", "watched"]],
                &[&["MULTI"], &["NONSENSE"], &["EXEC"]],
                &[&["CLIENT", "SETNAME", "mine"]],
                &[&["HELLO", "3"]],
            ];
            for words in said {
                assert_eq!(after(&pool, words).await, first, "{url} {words:?}");
            }
            assert_eq!(made(&pool), (1, 0), "each was reset, none was ended");
        })
        .await;
    }
}

#[staunch::test]
async fn a_connection_is_itself_again_with_its_password_too() {
    let server = RedisServer::start().unwrap();
    with_pool(&server.url(), single(), async |pool| {
        let words: &[&str] = &["ACL", "SETUSER", "app", "on", ">swordfish", "+@all", "~*"];
        after(&pool, &[words]).await;
    })
    .await;
    let url = format!("redis://app:swordfish@127.0.0.1:{}/3", server.port());
    with_pool(&url, single(), async |pool| {
        let first = after(&pool, &[]).await;
        assert_eq!(after(&pool, &[&["AUTH", "default", ""], &["SELECT", "1"]]).await, first);
        let mut lease = pool.acquire().await.unwrap();
        let mut connection = lease.connection().unwrap();
        let who = redis::cmd("ACL").arg("WHOAMI").query_async::<String>(&mut *connection).await;
        assert_eq!(who.unwrap(), "app");
    })
    .await;
}

#[staunch::test]
async fn one_whose_answers_match_its_commands_no_more_ends() {
    let server = RedisServer::start().unwrap();
    with_pool(&server.url(), single(), async |pool| {
        let said: [&[&str]; 4] = [
            &["SUBSCRIBE", "news"],
            &["CLIENT", "REPLY", "SKIP"],
            &["CLIENT", "REPLY", "OFF"],
            &["MONITOR"],
        ];
        for (round, words) in (1..).zip(said) {
            let (_, db, name, is_done) = after(&pool, &[words]).await;
            assert_eq!((db, name.as_str(), is_done), (0, "", true), "{words:?}");
            assert_eq!(made(&pool), (round + 1, round), "{words:?}");
        }
    })
    .await;
}

#[staunch::test]
async fn a_transaction_that_has_ended_leaves_its_connection_clean() {
    let server = RedisServer::start().unwrap();
    with_pool(&server.url(), single(), async |pool| {
        for way in ["commands", "pipeline", "watching"] {
            let mut lease = pool.acquire().await.unwrap();
            let mut connection = lease.connection().unwrap();
            if way == "commands" {
                for word in ["MULTI", "EXEC"] {
                    redis::cmd(word).exec_async(&mut *connection).await.unwrap();
                }
            } else {
                if way == "watching" {
                    redis::cmd("WATCH").arg("k").exec_async(&mut *connection).await.unwrap();
                }
                let mut both = redis::pipe();
                both.atomic().set("k", 1).ignore().get("k");
                let found: (i64,) = both.query_async(&mut *connection).await.unwrap();
                assert_eq!(found, (1,));
            }
            drop(connection);
            drop(lease);
            assert_eq!(pool.status().idle, 1, "{way}: it needs no reset, so it is back at once");
        }
    })
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
    let asked = redis::cmd("INFO").arg("clients").query_async(&mut *connection).await;
    let said: String = asked.unwrap();
    let count = said.lines().find_map(|line| line.strip_prefix("connected_clients:"));
    count.unwrap().parse().unwrap()
}

#[staunch::test]
async fn connections_whose_packets_are_lost_are_found_by_validation_within_its_timeout() {
    let server = RedisServer::start().unwrap();
    let manager =
        |s: &Scope<BoxError>, port: u16| Redis::new(s, format!("redis://127.0.0.1:{port}/"));
    outlives_a_silence(server.port(), manager, async |pool| {
        assert_eq!(incremented(&pool).await?, 1);
        Ok(())
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
