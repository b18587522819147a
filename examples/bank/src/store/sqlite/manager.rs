//! Connections to a SQLite file, for the pool.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, ErrorCode};
use staunch::BoxError;
use staunch_pool::{Condition, Manager};

use super::on_a_thread;
use crate::{order::TransferError, store::StoreError};

/// Opens connections to one file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
}

/// A connection could not be opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// SQLite said no.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that should have asked it has not ended well.
    #[error("{0}")]
    Thread(BoxError),
}

/// How long to wait for a lock of another process; within this one the pool is the line.
const BUSY: Duration = Duration::from_secs(2);

impl Sqlite {
    pub(super) fn new(path: PathBuf) -> Sqlite {
        Sqlite { path }
    }
}

impl Manager for Sqlite {
    type Connection = Connection;
    type Error = SqliteError;

    async fn connect(&self) -> Result<Connection, SqliteError> {
        let path = self.path.clone();
        let opened = on_a_thread(move || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY)?;
            // Readers do not wait for the writer; what is committed survives a power failure.
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )?;
            Ok(connection)
        });
        opened.await.map_err(SqliteError::Thread)?
    }

    /// A transaction that is still open was left by somebody who stopped in the middle.
    fn condition(&self, connection: &mut Connection) -> Condition {
        if connection.is_autocommit() { Condition::Clean } else { Condition::Broken }
    }

    /// The last one to close writes the log back into the file.
    async fn close(&self, connection: Connection) {
        let _ = on_a_thread(move || drop(connection)).await; // closed either way
    }

    fn killer(&self, connection: &Connection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let handle = connection.get_interrupt_handle();
        Some(Box::new(move || handle.interrupt()))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OperationInterrupted,
            ) => StoreError::Unavailable(error.into()),
            _ => StoreError::Failed(error.into()),
        }
    }
}

impl From<rusqlite::Error> for TransferError {
    fn from(error: rusqlite::Error) -> TransferError {
        StoreError::from(error).into()
    }
}
