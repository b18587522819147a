//! A server that is killed, silent, or says no.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use staunch::{BoxError, Context, Scope, scope};
use staunch_harness::{PostgresServer, eventually, outlives_a_kill, outlives_a_silence};
use staunch_pool::{Pool, PoolOptions, Postgres};

use crate::{sessions, single, with_pool};

async fn ask(pool: Pool<Postgres>) -> Result<(), BoxError> {
    let mut lease = pool.acquire().await?;
    lease.connection()?.query_one_cached("SELECT 1", &[]).await?;
    Ok(())
}

#[staunch::test]
async fn a_server_that_is_killed_under_load_comes_back() {
    let mut server = PostgresServer::start(&[]).unwrap();
    let options = PoolOptions { backoff_max: Duration::from_millis(500), ..PoolOptions::default() };
    with_pool(&server.config(), options, async |pool| {
        outlives_a_kill(&pool, &mut server, ask).await;
        eventually("the server agrees", async || {
            let status = pool.status();
            sessions(&pool).await + 1 == i64::try_from(status.size).unwrap()
        })
        .await;
    })
    .await;
}

/// A session is ended and no new one allowed, while many wait: they share those that are left. When
/// new ones are allowed, there are as many as before.
#[staunch::test]
async fn a_server_that_refuses_new_sessions_fails_nobody_who_waits_for_one_that_is_left() {
    let server = PostgresServer::start(&[]).unwrap();
    let (config, app) = (server.config(), format!("{} dbname=app", server.config()));
    let one = with_pool(&config, single(), async |admin| {
        say(&admin, "CREATE DATABASE app").await;
        let options = PoolOptions { max_total: 3, ..PoolOptions::default() };
        let many = with_pool(&app, options, async |pool| {
            let failed = Box::pin(ask_while_sessions_are_refused(&pool, &admin)).await;
            let says = |words: &'static str| move |error: &String| error.contains(words);
            assert!(!failed.iter().any(says("the server is down")), "{failed:?}");
            assert!(failed.iter().any(says("cannot connect")), "{failed:?}");
        });
        Box::pin(many).await;
    });
    Box::pin(one).await;
}

/// Many ask while that happens; what failed.
async fn ask_while_sessions_are_refused(
    pool: &Pool<Postgres>,
    admin: &Pool<Postgres>,
) -> Vec<String> {
    let asked = scope(&Context::current(), |s| async move {
        let is_over = Arc::new(AtomicBool::new(false));
        let ask = |_| s.fork(ask_until(pool.clone(), Arc::clone(&is_over)));
        let tasks: Vec<_> = (0..24).map(ask).collect();
        eventually("all are made", async || pool.status().created == 3).await;
        say(admin, "ALTER DATABASE app ALLOW_CONNECTIONS false").await;
        say(admin, END_ONE).await;
        eventually("one is refused", async || pool.status().is_down).await;
        let before = leases(pool);
        eventually("they move on", async || leases(pool) > before + 500).await;
        eventually("two are left", async || pool.status().size == 2).await;
        say(admin, "ALTER DATABASE app ALLOW_CONNECTIONS true").await;
        let is_whole = async || (pool.status().size, pool.status().is_down) == (3, false);
        eventually("there are three", is_whole).await;
        is_over.store(true, Ordering::SeqCst);
        let mut failed = Vec::new();
        for task in tasks {
            failed.extend(task.join().await?);
        }
        Ok::<_, BoxError>(failed)
    });
    asked.await.unwrap()
}

const END_ONE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = 'app' LIMIT 1";

/// How many there were so far.
fn leases(pool: &Pool<Postgres>) -> u64 {
    let status = pool.status();
    let waited: u64 = status.acquired_within.iter().map(|(_, count)| count).sum();
    status.acquired_at_once + waited
}

async fn say(pool: &Pool<Postgres>, words: &str) {
    let mut lease = pool.acquire().await.unwrap();
    lease.connection().unwrap().batch_execute(words).await.unwrap();
}

/// Asks again and again; what failed.
async fn ask_until(
    pool: Pool<Postgres>,
    is_over: Arc<AtomicBool>,
) -> Result<Vec<String>, BoxError> {
    let mut failed = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        if let Err(error) = ask(pool.clone()).await {
            failed.push(error.to_string());
            tokio::time::sleep(Duration::from_millis(1)).await; // as a client's next try
        }
    }
    Ok(failed)
}

#[staunch::test]
async fn connections_whose_packets_are_lost_are_found_by_validation_within_its_timeout() {
    let server = PostgresServer::start(&[]).unwrap();
    let manager = |s: &Scope<BoxError>, port: u16| {
        let config = format!("host=127.0.0.1 port={port} user=postgres").parse();
        config.map(|config| Postgres::new(s, config))
    };
    outlives_a_silence(server.port(), manager, ask).await;
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
