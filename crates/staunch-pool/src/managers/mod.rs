//! Managers for what services connect to, each behind a feature of its name.

#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
mod driver;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tcp")]
mod tcp;

#[cfg(feature = "http")]
pub use self::http::{
    BodyError, ConnectHttpError, Http, HttpConnection, HttpError, HttpOptions, HttpProtocol,
    NotSent, Opened, PooledBody, RequestBody,
};
#[cfg(feature = "postgres")]
pub use self::postgres::{
    ConnectPostgresError, Postgres, PostgresConnection, PostgresQuery, PostgresSession,
    PostgresTransaction, PostgresTransactionBuilder, ResetSession,
};
#[cfg(feature = "redis")]
pub use self::redis::{ConnectRedisError, Redis, RedisConnection};
#[cfg(feature = "tcp")]
pub use self::tcp::{Tcp, TcpConnection};
