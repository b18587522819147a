//! Redis, by redis-rs.
//!
//! The socket is dialled by `staunch-net`, so it is on the ledger, and the task that drives it is a
//! child of the scope the manager was made in; redis-rs would spawn one that nobody owns.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | how to connect, validate and reset |
//! | `connection` | a connection, and what is known of its state |
//! | `command` | what a command does to its connection |
//!
//! **Invariant.** A connection is clean only if every command that was begun on it has been answered,
//! and none of them is known to change it.

mod command;
mod connection;

use std::{fmt, io, time::Duration};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisError, aio::MultiplexedConnection,
};
use staunch_net::{DialError, DialOptions, Dialer};
use staunch_scope::{Context, Scope};
use tokio::sync::oneshot;

use self::connection::OffOnDrop;
pub use self::connection::RedisConnection;
use super::driver::Drivers;
use crate::manager::{Condition, Manager};

/// Makes Redis connections.
///
/// A connection is used again when every command on it has been answered. One whose caller is gone, as
/// that of a `BLPOP` that was cancelled or timed out, ends with its lease. What changes the connection
/// itself (`SELECT`, `WATCH`, `MULTI` without its `EXEC`, `AUTH`, `CLIENT`) is undone before the next
/// lease by `RESET`, which Redis knows since 6.2; an older server's connection is ended instead. After
/// `SUBSCRIBE`, `MONITOR` and `CLIENT REPLY`, whose answers do not match their commands, it is ended, too.
/// Commands of modules are taken for such that leave nothing.
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
///     redis::cmd("SET").arg("key").arg(1).exec_async(&mut *connection).await?;
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
    response_timeout: Duration,
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
        let (drivers, response_timeout) = (Drivers::new(scope), Duration::from_millis(500));
        Ok(Redis { info, dialer, drivers, response_timeout })
    }

    /// How long an answer is waited for; without one the connection ends with its lease. Default
    /// 500 ms, as redis-rs has it. More than a blocking command, such as `BLPOP`, is given to wait.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Redis {
        self.response_timeout = timeout;
        self
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

    /// What makes a connection as new: `RESET`, and then what its begin was.
    fn begin_again(&self) -> Pipeline {
        let settings = self.info.redis_settings();
        let mut pipeline = redis::pipe();
        pipeline.cmd("RESET");
        if let Some(password) = settings.password() {
            let auth = pipeline.cmd("AUTH");
            if let Some(username) = settings.username() {
                auth.arg(username);
            }
            auth.arg(password);
        }
        if settings.protocol() != ProtocolVersion::RESP2 {
            pipeline.cmd("HELLO").arg(3);
        }
        if settings.db() != 0 {
            pipeline.cmd("SELECT").arg(settings.db());
        }
        pipeline
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
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.response_timeout));
        let (sender, made) = oneshot::channel();
        // The driver borrows the settings, so they live in its task, where it is made.
        let switch = OffOnDrop(self.drivers.start(async move {
            match MultiplexedConnection::new_with_config(&settings, socket, config).await {
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
        Ok(RedisConnection::new(made?, switch))
    }

    async fn validate(&self, connection: &mut RedisConnection) -> Result<(), ConnectRedisError> {
        Ok(redis::cmd("PING").exec_async(connection).await?)
    }

    fn is_local(&self, error: &ConnectRedisError) -> bool {
        matches!(error, ConnectRedisError::Dial(error) if error.is_local())
    }

    fn condition(&self, connection: &mut RedisConnection) -> Condition {
        connection.condition()
    }

    /// All that a command has changed, in one round trip.
    async fn reset(&self, connection: &mut RedisConnection) -> Result<(), ConnectRedisError> {
        self.begin_again().exec_async(connection.raw()).await?;
        connection.is_reset();
        Ok(())
    }

    fn killer(&self, connection: &RedisConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let switch = connection.switch();
        Some(Box::new(move || switch.off()))
    }
}
