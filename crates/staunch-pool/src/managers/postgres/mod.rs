//! PostgreSQL, by tokio-postgres.
//!
//! The socket is dialled by `staunch-net`, so it is on the ledger, and the task that drives it is a
//! child of the scope the manager was made in. A query whose caller is gone is cancelled on the
//! server before its connection is used again.
//!
//! | file | what |
//! | --- | --- |
//! | `manager` | how to connect, reset and close |
//! | `target` | where a server is |
//! | `tls` | a TLS session around a connection |
//! | `binding` | what binds the proof of a password to it |
//! | `connection` | a session, and the task that drives it |
//! | `canceller` | how a server is asked to give up a query |
//! | `session` | queries, and what is known of the session's state |
//! | `query` | what a query leaves behind, as far as its text says |
//! | `state` | whether it was touched, and what runs |
//! | `statements` | the prepared statements that are kept |
//! | `transaction` | what ends by a commit, or did not happen |
//! | `error` | why there is no connection |
//!
//! **Invariant.** A session is clean only if every query that was begun on it has been answered,
//! every transaction ended, and nothing was used that is known to change its state.

mod binding;
mod canceller;
mod connection;
mod error;
mod manager;
mod query;
mod session;
mod state;
mod statements;
mod target;
mod tls;
mod transaction;

pub use self::{
    connection::PostgresConnection,
    error::ConnectPostgresError,
    manager::{Postgres, ResetSession},
    query::PostgresQuery,
    session::PostgresSession,
    transaction::{PostgresTransaction, PostgresTransactionBuilder},
};

type PgResult<T> = Result<T, tokio_postgres::Error>;
