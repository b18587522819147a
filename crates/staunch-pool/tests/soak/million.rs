//! A million acquires, many of them cancelled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use staunch::{BoxError, Context, Kind, Ledger, scope};
use staunch_harness::{PostgresServer, eventually, live, poll_times};
use staunch_pool::{Pool, PoolOptions, PoolStatus, Postgres};

use crate::{sessions, with_pool};

const ACQUIRES: u64 = 1_000_000;
const TASKS: u64 = 64;

/// One in so many asks the server something; of these, one in so many is dropped on the way.
const QUERIES: u64 = 20;
const DROPPED: u64 = 8;

/// The pool, the ledger, the kernel and the server agree on every connection, and the counters on
/// every acquire.
#[staunch::test(flavor = "multi_thread")]
#[ignore = "alone in its process, since the kernel is asked for all of its sockets"]
async fn after_a_million_acquires_everybody_agrees() {
    let _inherited = Ledger::current().adopt_open_fds("there before the test").unwrap();
    let inherited = live(Kind::CONNECTION); // a runtime's own sockets, for signals
    let server = PostgresServer::start(&["max_connections=50"]).unwrap();
    let options = PoolOptions {
        max_total: 8,
        max_idle: 8,
        acquire_timeout: Duration::from_mins(1), // whoever leaves has been cancelled
        min_evictable_idle: Duration::from_hours(1),
        ..PoolOptions::default()
    };
    with_pool(&server, options, async |pool, _| {
        let begun = Instant::now();
        let done = acquire_all(&pool).await;
        println!("{done:?} in {:?}", begun.elapsed());
        eventually("all are back", async || is_quiet(&pool.status())).await;
        assert_eq!(done.begun.load(Ordering::SeqCst), ACQUIRES);
        check(&pool, done.leased.load(Ordering::SeqCst), inherited).await;
        check_kernel(server.port(), pool.status().size);
        println!("{:?}", pool.status());
    })
    .await;
    check_kernel(server.port(), 0);
}

#[derive(Debug, Default)]
struct Done {
    begun: AtomicU64,
    leased: AtomicU64,
    queried: AtomicU64,
    dropped: AtomicU64,
}

async fn acquire_all(pool: &Pool<Postgres>) -> Arc<Done> {
    let done = Arc::new(Done::default());
    let ended = scope(&Context::current(), |s| {
        let (pool, done) = (pool.clone(), Arc::clone(&done));
        async move {
            for task in 0..TASKS {
                let (pool, done) = (pool.clone(), Arc::clone(&done));
                s.spawn(async move {
                    let mut random = Random(task + 1);
                    for _ in 0..ACQUIRES / TASKS {
                        done.begun.fetch_add(1, Ordering::Relaxed);
                        acquire(&pool, &mut random, &done).await?;
                    }
                    Ok(())
                });
            }
            Ok::<_, BoxError>(())
        }
    });
    ended.await.unwrap();
    done
}

/// One acquire, and what comes of it.
async fn acquire(pool: &Pool<Postgres>, random: &mut Random, done: &Done) -> Result<(), BoxError> {
    let leased = match random.below(4) {
        0 => poll_times(random.below(4) as usize, pool.acquire()).await,
        _ => Some(pool.acquire().await),
    };
    let Some(lease) = leased else { return Ok(()) };
    let mut lease = lease?;
    done.leased.fetch_add(1, Ordering::Relaxed);
    if random.below(QUERIES) > 0 {
        if random.below(2) == 0 {
            tokio::task::yield_now().await;
        }
        lease.touch();
        return Ok(());
    }
    let connection = lease.connection()?;
    let query = connection.query_one_cached("SELECT 1", &[]);
    if random.below(DROPPED) > 0 {
        query.await?;
        done.queried.fetch_add(1, Ordering::Relaxed);
    } else if poll_times(1 + random.below(2) as usize, query).await.is_none() {
        done.dropped.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn is_quiet(status: &PoolStatus) -> bool {
    (status.leased, status.waiters) == (0, 0) && status.idle == status.size
}

async fn check(pool: &Pool<Postgres>, leased: u64, inherited: usize) {
    let status = pool.status();
    let waited: u64 = status.acquired_within.iter().map(|(_, count)| count).sum();
    assert_eq!(status.acquired_at_once + waited, leased, "every lease was counted");
    assert_eq!(status.failed, 0);
    let destroyed: u64 = status.destroyed.iter().map(|(_, count)| count).sum();
    assert_eq!(status.created - destroyed, status.size as u64, "{status:?}");
    assert!(status.size > 0, "{status:?}");
    assert_eq!(live(Kind::LEASE), 0);
    // What has ended says goodbye, and a wish to cancel is seen to its end; the server notices the
    // end of a session a moment after us.
    let pooled = Kind::user("pooled").unwrap();
    eventually("goodbyes are said", async || {
        (live(pooled), live(Kind::CONNECTION)) == (status.size, status.size + inherited)
    })
    .await;
    eventually("the server agrees", async || sessions(pool).await == status.size).await;
}

/// The kernel has as many connections to the server, and no socket that is not on the ledger.
fn check_kernel(port: u16, expected: usize) {
    let reconciliation = Ledger::current().reconcile().unwrap();
    assert!(reconciliation.agrees(), "{reconciliation:?}");
    let to_server = |remote: std::net::SocketAddr| remote.port() == port;
    let sockets = reconciliation.sockets.iter();
    let sockets = sockets.filter(|(_, socket)| socket.remote.is_some_and(to_server));
    assert_eq!(sockets.count(), expected);
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
