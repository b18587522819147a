//! A leak of one lease in a thousand requests, in real time.

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use staunch::{BoxError, Scope};
use staunch_harness::{PostgresServer, destroyed, eventually, observed};
use staunch_pool::{Destroyed, Lease, Pool, PoolOptions, Postgres};

use crate::{sessions, with_pool};

const REQUESTS_PER_SECOND: u32 = 500;

/// One in so many leaks its lease.
const LEAKS: u64 = 1000;
const LEAKED: usize = 5;

/// How long it may take from a leak until it is named.
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// What the requests share.
#[derive(Default)]
struct Service {
    served: AtomicU64,
    /// The leases that nobody will give back, and since when.
    lost: Mutex<Vec<(Instant, ManuallyDrop<Lease<Postgres>>)>>,
}

/// With the default options: a lease whose task has ended is abandoned after a quarter of 60 s, and
/// leases are looked at every 5 s. While its task lives it would take 60 to 65 s.
#[staunch::test(flavor = "multi_thread")]
#[ignore = "half a minute of real time"]
async fn leaks_under_load_are_named_within_half_a_minute() {
    let server = PostgresServer::start(&[]).unwrap();
    with_pool(&server, PoolOptions::default(), async |pool, s| {
        let service = Arc::new(Service::default());
        let begun = Instant::now();
        let mut found_after = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / REQUESTS_PER_SECOND);
        for request in 0.. {
            ticks.tick().await;
            begin_request(&s, &pool, &service, request);
            let lost = service.lost.lock().unwrap();
            for (leaked, _) in
                lost.iter().take(observed("abandoned-lease").len()).skip(found_after.len())
            {
                found_after.push(leaked.elapsed());
            }
            let late = lost.get(found_after.len()).map(|(leaked, _)| leaked.elapsed());
            assert!(late.is_none_or(|late| late < FOUND_WITHIN), "not found: {found_after:?}");
            if found_after.len() == LEAKED {
                break;
            }
        }
        let rate = service.served.load(Ordering::SeqCst) as f64 / begun.elapsed().as_secs_f64();
        println!("found after {found_after:?}, at {rate:.0} requests/s");
        assert!(rate > 0.9 * f64::from(REQUESTS_PER_SECOND), "{rate}");
        check(&pool).await;
        let lost = std::mem::take(&mut *service.lost.lock().unwrap());
        for (_, lease) in lost {
            drop(ManuallyDrop::into_inner(lease)); // which changes nothing any more
        }
    })
    .await;
}

fn begin_request(s: &Scope<BoxError>, pool: &Pool<Postgres>, service: &Arc<Service>, request: u64) {
    let (pool, service) = (pool.clone(), Arc::clone(service));
    s.spawn(async move {
        let mut lease = pool.acquire().await?; // the line that leaks
        lease.connection()?.query_one_cached("SELECT 1", &[]).await?;
        service.served.fetch_add(1, Ordering::Relaxed);
        let mut lost = service.lost.lock().unwrap();
        if request.is_multiple_of(LEAKS) && lost.len() < LEAKED {
            lost.push((Instant::now(), ManuallyDrop::new(lease)));
        }
        Ok(())
    });
}

/// Only what leaked was named, by its line, and its place is free again.
async fn check(pool: &Pool<Postgres>) {
    let source = include_str!("planted.rs");
    let line = 1 + source.lines().position(|line| line.contains("// the line that leaks")).unwrap();
    let abandoned = observed("abandoned-lease");
    let at = format!("planted.rs:{line}:");
    assert!(abandoned.iter().all(|it| it.contains(&at)), "{at} {abandoned:?}");
    let why = "the task that leased it has ended";
    assert!(abandoned.iter().all(|it| it.contains(why)), "{abandoned:?}");
    assert!(observed("slow-lease").is_empty());
    let status = pool.status();
    assert_eq!(destroyed(&status, Destroyed::Abandoned), LEAKED as u64);
    eventually("requests have ended", async || pool.status().leased == 0).await;
    eventually("the server agrees", async || sessions(pool).await == pool.status().size).await;
}
