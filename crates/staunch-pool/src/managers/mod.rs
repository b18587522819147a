//! Managers for what services connect to, each behind a feature of its name.

#[cfg(any(feature = "postgres", feature = "redis"))]
mod driver;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tcp")]
mod tcp;

#[cfg(feature = "postgres")]
pub use self::postgres::{
    ConnectPostgresError, Postgres, PostgresConnection, PostgresSession, PostgresTransaction,
    PostgresTransactionBuilder, ResetSession,
};
#[cfg(feature = "redis")]
pub use self::redis::{ConnectRedisError, Redis, RedisConnection};
#[cfg(feature = "tcp")]
pub use self::tcp::Tcp;
