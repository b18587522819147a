//! Managers for what services connect to, each behind a feature of its name.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "tcp")]
mod tcp;

#[cfg(feature = "postgres")]
pub use self::postgres::{ConnectPostgresError, Postgres, PostgresConnection, ResetSession};
#[cfg(feature = "tcp")]
pub use self::tcp::Tcp;
