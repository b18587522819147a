//! A server that is killed, silent, or says no.

use std::time::Duration;

use staunch::{BoxError, Scope};
use staunch_harness::{PostgresServer, eventually, outlives_a_kill, outlives_a_silence};
use staunch_pool::{Pool, PoolOptions, Postgres};

use crate::{sessions, with_pool};

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
