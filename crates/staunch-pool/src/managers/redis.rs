//! Redis, by redis-rs.
//!
//! The socket is dialled by `staunch-net`, so it is on the ledger, and the task that drives it is a
//! child of the scope the manager was made in; redis-rs would spawn one that nobody owns.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
};

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, aio::MultiplexedConnection,
};
use staunch_net::{DialError, DialOptions, Dialer};
use staunch_scope::{Context, Scope};
use tokio::sync::oneshot;

use super::driver::{Drivers, Switch};
use crate::manager::{Condition, Manager};

/// Makes Redis connections.
///
/// A command whose caller is gone leaves its connection in order: redis-rs reads its answer and
/// drops it. What changes the connection itself (`SELECT`, `MULTI`, `SUBSCRIBE`) is not undone;
/// [`destroy`](crate::Lease::destroy) the lease after it.
///
/// # Examples
/// ```no_run
/// use staunch_pool::{Pool, PoolOptions, Redis};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let pool = Pool::new(&s, Redis::new(&s, "redis://cache/")?, PoolOptions::default())?;
///     let mut lease = pool.acquire().await?;
///     let mut connection = lease.connection()?;
///     redis::cmd("SET").arg("key").arg(1).exec_async(&mut **connection).await?;
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub struct Redis {
    info: ConnectionInfo,
    dialer: Dialer,
    drivers: Drivers,
}

/// There is no connection to Redis, or it does not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectRedisError {
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It said no, or the connection broke.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    /// TLS is not spoken here.
    #[error("redis: {address}: TLS is not supported: write redis://, not rediss://")]
    Tls {
        /// Where to.
        address: String,
    },
}

impl Redis {
    /// Connects as `info` says, for instance `redis://host:6379/0`. The tasks of the connections are
    /// children of `scope`, born on the caller's line.
    ///
    /// # Errors
    /// When `info` cannot be read, or asks for TLS.
    #[track_caller]
    pub fn new<E: Send + 'static>(
        scope: &Scope<E>,
        info: impl IntoConnectionInfo,
    ) -> Result<Redis, ConnectRedisError> {
        let info = info.into_connection_info()?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(ConnectRedisError::Tls { address: info.addr().to_string() });
        }
        let dialer = Dialer::owned(scope, DialOptions::default());
        Ok(Redis { info, dialer, drivers: Drivers::new(scope) })
    }

    async fn dial(&self) -> Result<staunch_net::Connection, ConnectRedisError> {
        let (born_at, context) = (self.drivers.born_at, Context::current());
        let dialled = match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                self.dialer.tcp_at(born_at, context, format!("{host}:{port}")).await
            }
            ConnectionAddr::Unix(path) => self.dialer.unix_at(born_at, context, path).await,
            other => return Err(ConnectRedisError::Tls { address: other.to_string() }),
        };
        Ok(dialled?)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.info.addr().to_string(); // and not the password
        f.debug_struct("Redis").field("address", &address).finish_non_exhaustive()
    }
}

impl Manager for Redis {
    type Connection = RedisConnection;
    type Error = ConnectRedisError;

    async fn connect(&self) -> Result<RedisConnection, ConnectRedisError> {
        let socket = self.dial().await?;
        let settings = self.info.redis_settings().clone();
        let (sender, made) = oneshot::channel();
        // The driver borrows the settings, so they live in its task, where it is made.
        let switch = OffOnDrop(self.drivers.start(async move {
            match MultiplexedConnection::new(&settings, socket).await {
                Err(error) => _ = sender.send(Err(error)), // or nobody waits any more
                Ok((connection, driver)) => {
                    if sender.send(Ok(connection)).is_ok() {
                        driver.await;
                    }
                }
            }
        }));
        let made =
            made.await.unwrap_or_else(|_| Err(io::Error::other("its task has ended").into()));
        Ok(RedisConnection { connection: made?, switch })
    }

    async fn validate(&self, connection: &mut RedisConnection) -> Result<(), ConnectRedisError> {
        Ok(redis::cmd("PING").exec_async(&mut connection.connection).await?)
    }

    fn condition(&self, connection: &mut RedisConnection) -> Condition {
        if connection.switch.0.has_ended() { Condition::Broken } else { Condition::Clean }
    }

    fn killer(&self, connection: &RedisConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let switch = connection.switch.0.clone();
        Some(Box::new(move || switch.off()))
    }
}

/// A pooled connection to Redis.
pub struct RedisConnection {
    connection: MultiplexedConnection,
    switch: OffOnDrop,
}

/// Ends the driver when it is dropped: by itself it would wait for the answer of a blocking
/// command.
#[derive(Debug)]
struct OffOnDrop(Switch);

impl Drop for OffOnDrop {
    fn drop(&mut self) {
        self.0.off();
    }
}

impl Deref for RedisConnection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.connection
    }
}

impl DerefMut for RedisConnection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").field("switch", &self.switch).finish_non_exhaustive()
    }
}
