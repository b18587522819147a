//! Requests that are given up wherever they are.

use std::time::Duration;

use staunch::{BoxError, timeout};
use staunch_harness::{NginxServer, eventually};
use staunch_pool::{HttpOptions, PoolOptions};

use crate::support::{body, connections, get, prior_knowledge, sockets_to, with_pool};

/// Random requests, many of them dropped on the way: at the end the pool, the ledger and the
/// kernel agree, and the rest works.
async fn everybody_agrees(port: u16, http: HttpOptions, is_shared: bool) {
    let options = PoolOptions { max_total: 8, max_idle: 8, ..PoolOptions::default() };
    with_pool(port, http, options, async |pool, s| {
        let all: Vec<_> = (0..16_u64)
            .map(|task| {
                let pool = pool.clone();
                s.fork(async move {
                    let mut random = task + 1;
                    for _ in 0..100 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005) >> 1 | 1;
                        let time = Duration::from_micros(random % 3000);
                        let path = if random & 64 == 0 { "/" } else { "/large" };
                        let request = async {
                            if random & 128 == 0 {
                                body(&pool, path).await?;
                            } else {
                                drop(get(&pool, path).await?);
                            }
                            Ok::<_, BoxError>(())
                        };
                        let _ = timeout(time, request).await; // dropped wherever it is
                    }
                    Ok(())
                })
            })
            .collect();
        for one in all {
            one.join().await.unwrap();
        }
        eventually("all is back", async || {
            let status = pool.status();
            (status.leased, status.waiters, status.size) == (0, 0, status.idle)
        })
        .await;
        eventually("everybody agrees", async || {
            let size = pool.status().size;
            let expected = if is_shared { size.min(1) } else { size };
            (sockets_to(port), connections()) == (expected, expected)
        })
        .await;
        assert_eq!(body(&pool, "/").await.unwrap(), "hello");
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn after_many_cancelled_requests_everybody_agrees() {
    let server = NginxServer::start("keepalive_requests 100000;", None).unwrap();
    everybody_agrees(server.port(), HttpOptions::default(), false).await;
    everybody_agrees(server.h2_port(), prior_knowledge(), true).await;
}
