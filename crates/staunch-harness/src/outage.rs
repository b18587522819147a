//! A server that is killed while a pool works on it, or falls silent, and comes back.

use std::{
    error::Error,
    future::Future,
    time::{Duration, Instant},
};

use staunch_pool::{AcquireError, Destroyed, Manager, Pool, PoolOptions};
use staunch_scope::{BoxError, Context, Scope, scope};

use crate::{
    PostgresServer, RedisServer, Swallow,
    pool::{destroyed, eventually, with_pool},
};

/// Tasks that work without a pause, and for how long.
const TASKS: usize = 8;
const WORK: Duration = Duration::from_secs(4);

/// How soon whoever needs a connection is told that the server is down.
const FAST: Duration = Duration::from_secs(1);

/// A server that can be killed and started again.
pub trait Restart {
    /// Kills it at once.
    ///
    /// # Errors
    /// When that cannot be done.
    fn kill(&mut self) -> anyhow::Result<()>;

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not start.
    fn restart(&mut self) -> anyhow::Result<()>;
}

impl Restart for PostgresServer {
    fn kill(&mut self) -> anyhow::Result<()> {
        PostgresServer::kill(self)
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        PostgresServer::restart(self)
    }
}

impl Restart for RedisServer {
    fn kill(&mut self) -> anyhow::Result<()> {
        RedisServer::kill(self)
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        RedisServer::restart(self)
    }
}

/// Kills the server while requests come without a pause, and starts it again: until then whoever
/// needs a connection fails fast, afterwards the pool works, and everything is back.
///
/// # Panics
/// When it is not so.
pub async fn outlives_a_kill<M: Manager, F>(
    pool: &Pool<M>,
    server: &mut impl Restart,
    request: impl Fn(Pool<M>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<(), BoxError>> + Send,
{
    let until = Instant::now() + WORK;
    let worked = scope(&Context::current(), |s| async move {
        let work = |_| {
            let (pool, request) = (pool.clone(), request.clone());
            s.fork(async move { Ok::<_, BoxError>(work(pool, until, request).await) })
        };
        let tasks: Vec<_> = (0..TASKS).map(work).collect();
        tokio::time::sleep(WORK / 8).await; // the load
        server.kill()?;
        fails_fast(pool).await;
        server.restart()?;
        let mut sums = (0, 0);
        for task in tasks {
            let (good, bad) = task.join().await?;
            sums = (sums.0 + good, sums.1 + bad);
        }
        Ok::<_, BoxError>(sums)
    });
    let (good, bad) = worked.await.unwrap_or_else(|error| panic!("{}", error.resume_panic()));
    assert!(good > 100 && bad > 0, "{good} good, {bad} bad");
    eventually("it is up", async || pool.acquire().await.is_ok()).await;
    let is_back = async || (pool.status().leased, pool.status().waiters) == (0, 0);
    eventually("everything is back", is_back).await;
}

/// Two connections are idle when their packets begin to be lost. Each is found by the validation of
/// whoever is leased it, within the timeouts; afterwards the pool works.
///
/// The server listens on `port`; `manager` connects to the port that it is given.
///
/// # Panics
/// When it is not so.
pub async fn outlives_a_silence<M: Manager, E: Error + Send + Sync + 'static>(
    port: u16,
    manager: impl FnOnce(&Scope<BoxError>, u16) -> Result<M, E>,
    request: impl AsyncFnOnce(Pool<M>) -> Result<(), BoxError>,
) {
    let network = Swallow::start(port).unwrap_or_else(|error| panic!("no proxy: {error}"));
    let options = PoolOptions {
        test_on_borrow: true,
        max_total: 3,
        connect_timeout: Duration::from_millis(500),
        validation_timeout: Duration::from_millis(300),
        ..PoolOptions::default()
    };
    let manager = |s: &Scope<BoxError>| manager(s, network.port());
    with_pool(manager, options, async |pool, _| {
        let both = (pool.acquire().await, pool.acquire().await);
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        drop(both);
        network.swallow(true);
        let begun = Instant::now();
        let acquired = pool.acquire().await;
        assert!(matches!(acquired, Err(AcquireError::ConnectTimedOut { .. })), "{acquired:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(found(&pool), (1, 1));
        assert!(pool.acquire().await.is_err(), "the other one is found, too");
        assert_eq!(found(&pool), (0, 2));
        network.swallow(false);
        eventually("it works again", async || pool.acquire().await.is_ok()).await;
        if let Err(error) = request(pool).await {
            panic!("it does not work: {error}");
        }
    })
    .await;
}

/// How many connections there are, and how many did not answer.
fn found<M: Manager>(pool: &Pool<M>) -> (usize, u64) {
    let status = pool.status();
    (status.size, destroyed(&status, Destroyed::Invalid))
}

/// Requests without a pause; how many succeeded, and how many did not.
async fn work<M: Manager, F: Future<Output = Result<(), BoxError>>>(
    pool: Pool<M>,
    until: Instant,
    request: impl Fn(Pool<M>) -> F,
) -> (u64, u64) {
    let (mut good, mut bad) = (0, 0);
    while Instant::now() < until {
        if request(pool.clone()).await.is_ok() {
            good += 1;
        } else {
            bad += 1;
            tokio::time::sleep(Duration::from_millis(1)).await; // as a client's next try
        }
    }
    (good, bad)
}

/// Acquires until the answer is that the server is down; none takes long.
async fn fails_fast<M: Manager>(pool: &Pool<M>) {
    let killed = Instant::now();
    loop {
        let acquired = pool.acquire().await;
        assert!(killed.elapsed() < FAST, "after {:?}: {acquired:?}", killed.elapsed());
        match acquired {
            Err(AcquireError::Down { .. }) => return,
            // One that was idle, and dead; or the one that tries.
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
}
