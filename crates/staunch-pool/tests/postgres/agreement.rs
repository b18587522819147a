//! Everybody agrees on which connections there are.

use std::time::Duration;

use staunch::{BoxError, Context, Kind, scope, timeout};
use staunch_harness::{PostgresServer, eventually, live};
use staunch_pool::PoolOptions;

use crate::{sessions, with_pool};

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
