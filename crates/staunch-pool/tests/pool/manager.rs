//! A manager that does what the test says, and counts its connections.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use staunch::{BoxError, Scope};
use staunch_pool::{Condition, Manager, Pool, PoolOptions};

/// The server of a test: what it has seen, and how it behaves.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Connections that live, wherever they are.
    pub(crate) live: AtomicUsize,
    /// The most that ever lived at once.
    pub(crate) most: AtomicUsize,
    pub(crate) made: AtomicU64,
    pub(crate) resets: AtomicU64,
    pub(crate) validated: AtomicU64,
    pub(crate) goodbyes: AtomicU64,
    pub(crate) killed: AtomicU64,
    pub(crate) is_down: AtomicBool,
    /// It is not the server's fault if it is down.
    pub(crate) is_lacking: AtomicBool,
    /// Connections are at work all the time.
    pub(crate) is_busy: AtomicBool,
    /// Nothing answers, and nothing fails.
    pub(crate) is_silent: AtomicBool,
    /// Connections are made, but none answers when it is validated.
    pub(crate) is_mute: AtomicBool,
    pub(crate) panics: AtomicBool,
    /// How long each call takes, in milliseconds.
    pub(crate) delay: AtomicU64,
    /// How long a goodbye takes, in milliseconds.
    pub(crate) goodbye: AtomicU64,
}

pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) condition: Condition,
    /// No validation succeeds any more.
    pub(crate) is_dead: bool,
    server: Arc<Server>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a server that is down says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server is down")
    }
}

impl std::error::Error for Down {}

#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted(pub(crate) Arc<Server>);

impl Scripted {
    async fn work(&self) -> Result<(), Down> {
        let delay = self.0.delay.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if self.0.is_silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        assert!(!self.0.panics.load(Ordering::SeqCst), "the manager panics, as it should");
        if self.0.is_down.load(Ordering::SeqCst) { Err(Down) } else { Ok(()) }
    }
}

impl Manager for Scripted {
    type Connection = Connection;
    type Error = Down;

    async fn connect(&self) -> Result<Connection, Down> {
        self.work().await?;
        let number = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        let live = self.0.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(live, Ordering::SeqCst);
        let server = Arc::clone(&self.0);
        Ok(Connection { number, condition: Condition::Clean, is_dead: false, server })
    }

    fn is_local(&self, _: &Down) -> bool {
        self.0.is_lacking.load(Ordering::SeqCst)
    }

    async fn validate(&self, connection: &mut Connection) -> Result<(), Down> {
        self.0.validated.fetch_add(1, Ordering::SeqCst);
        if self.0.is_mute.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.work().await?;
        if connection.is_dead { Err(Down) } else { Ok(()) }
    }

    fn condition(&self, connection: &mut Connection) -> Condition {
        connection.condition
    }

    async fn reset(&self, connection: &mut Connection) -> Result<(), Down> {
        self.0.resets.fetch_add(1, Ordering::SeqCst);
        self.work().await?;
        connection.condition = Condition::Clean;
        Ok(())
    }

    async fn close(&self, connection: Connection) {
        self.0.goodbyes.fetch_add(1, Ordering::SeqCst);
        let goodbye = self.0.goodbye.load(Ordering::SeqCst);
        if goodbye > 0 {
            tokio::time::sleep(Duration::from_millis(goodbye)).await;
        }
        drop(connection);
    }

    fn killer(&self, _: &Connection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let server = Arc::clone(&self.0);
        Some(Box::new(move || _ = server.killed.fetch_add(1, Ordering::SeqCst)))
    }

    fn pulse(&self, _: &Connection) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        let server = Arc::clone(&self.0);
        Some(Box::new(move || server.is_busy.load(Ordering::SeqCst)))
    }
}

/// Options without anything that happens by itself.
pub(crate) fn plain(max_total: usize) -> PoolOptions {
    PoolOptions {
        max_total,
        max_idle: max_total,
        test_while_idle: false,
        min_evictable_idle: Duration::from_hours(1),
        max_lifetime: None,
        ..PoolOptions::default()
    }
}

/// Runs `test` on a pool in a scope of its own; then no connection is left.
pub(crate) async fn with_pool(
    options: PoolOptions,
    test: impl AsyncFnOnce(Pool<Scripted>, Arc<Server>, Scope<BoxError>),
) {
    let server = Arc::new(Server::default());
    let manager = Scripted(Arc::clone(&server));
    let made = |_: &Scope<BoxError>| Ok::<_, Down>(manager);
    let tested = async |pool, s| test(pool, Arc::clone(&server), s).await;
    staunch_harness::with_pool(made, options, tested).await;
    assert_eq!(server.live.load(Ordering::SeqCst), 0, "connections are left");
}
