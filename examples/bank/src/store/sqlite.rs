//! Accounts in a file, by SQLite.
//!
//! SQLite blocks its thread and lets one connection write at a time. So there are two pools: one
//! with the connection that writes, whose line of waiters is fair, and one with those that read. A
//! lease goes to the thread that uses it; it comes back when the work is done, also when nobody
//! waits for it any more.

mod booking;
mod manager;

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, params};
use staunch::{BoxError, Context, Scope, scope};
use staunch_pool::{Pool, PoolOptions, PoolStatus};

#[cfg(feature = "leaky")]
use crate::leaky::{self, Leak};

use super::{Answer, Store, StoreError, migrations};
use crate::{
    model::{Account, AccountId, Entry, EntryId, Receipt, Transfer, TransferId},
    money::Money,
    order::{Order, TransferError},
    timestamp::Timestamp,
};

pub use self::manager::{Sqlite, SqliteError};

/// Connections that read. Four: they share two or three cores with everybody else, and a query
/// takes microseconds.
const READERS: usize = 4;

/// A bank in a file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Pool<Sqlite>,
    readers: Pool<Sqlite>,
}

impl SqliteStore {
    /// Opens the file, makes it if there is none, and brings its tables up to date. The
    /// connections belong to `scope`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open<E: Send + 'static>(
        scope: &Scope<E>,
        path: PathBuf,
    ) -> Result<SqliteStore, BoxError> {
        let kept =
            PoolOptions { min_evictable_idle: Duration::from_mins(10), ..PoolOptions::default() };
        let writer = PoolOptions { name: "sqlite writer", max_total: 1, ..kept.clone() };
        let readers = PoolOptions { name: "sqlite readers", max_total: READERS, ..kept };
        let store = SqliteStore {
            writer: Pool::new(scope, Sqlite::new(path.clone()), writer)?,
            readers: Pool::new(scope, Sqlite::new(path), readers)?,
        };
        on(&store.writer, migrate).await?;
        Ok(store)
    }
}

/// Brings the tables up to date. The file says how far they are.
fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = booking::begin(connection)?;
    let done: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (number, step) in (0_i64..).zip(migrations::SQLITE) {
        if number >= done {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number + 1)?;
        }
    }
    Ok(transaction.commit()?)
}

/// Leases a connection and runs `work` with it on a thread that may block.
async fn on<T, E>(
    pool: &Pool<Sqlite>,
    work: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let mut lease = pool.acquire().await.map_err(StoreError::from)?;
    #[cfg(feature = "leaky")]
    let is_forgotten = pool.options().max_total > 1 && leaky::strikes(Leak::Lease);
    let done = on_a_thread(move || {
        let mut connection = lease.connection().map_err(StoreError::from)?;
        let done = work(&mut connection);
        #[cfg(feature = "leaky")]
        if is_forgotten || !connection.is_autocommit() {
            drop(connection);
            leaky::keep(lease);
        }
        done
    });
    done.await.map_err(StoreError::failed)?
}

/// Runs `work` where it may block. Whoever drops this leaves it to the scope around: the work
/// goes on, and that scope does not end before it.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BoxError> {
    // Asked to stop are connections, not answers: those are finished.
    let context = Context::background().with_trace_id(Context::current().trace_id());
    let done = scope(&context, |s| async move {
        Ok::<_, BoxError>(s.blocking(move |_| Ok(work())).join().await?)
    });
    Ok(done.await?)
}

impl Store for SqliteStore {
    fn open(&self, balance: Money) -> Answer<'_, Account> {
        Box::pin(on(&self.writer, move |connection| booking::open(connection, balance)))
    }

    fn account(&self, id: AccountId) -> Answer<'_, Option<Account>> {
        Box::pin(on(&self.readers, move |connection| {
            let balance = booking::balance(connection, id)?;
            Ok(balance.map(|balance| Account { id, balance }))
        }))
    }

    fn book<'a>(&'a self, order: &'a Order) -> Answer<'a, Receipt, TransferError> {
        let order = order.clone();
        Box::pin(on(&self.writer, move |connection| booking::book(connection, &order)))
    }

    fn transfer(&self, id: TransferId) -> Answer<'_, Option<Transfer>> {
        Box::pin(on(&self.readers, move |connection| {
            let found = connection.query_row(
                "SELECT id, from_account, to_account, amount, at_ms FROM transfers \
                 WHERE id = ?1 AND refused_with IS NULL",
                params![id.0],
                transfer,
            );
            Ok(found.optional()?)
        }))
    }

    fn entries(&self, account: AccountId, after: EntryId, most: u16) -> Answer<'_, Vec<Entry>> {
        Box::pin(on(&self.readers, move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, transfer, amount, balance, at_ms FROM entries \
                 WHERE account = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let rows = statement.query_map(params![account.0, after.0, most], entry)?;
            let entries = rows.collect::<Result<_, _>>()?;
            #[cfg(feature = "leaky")]
            if leaky::strikes(Leak::Rows) {
                connection.execute_batch("BEGIN; SELECT count(*) FROM entries")?;
            }
            Ok(entries)
        }))
    }

    fn newest_entry(&self, account: AccountId) -> Answer<'_, Option<EntryId>> {
        Box::pin(on(&self.readers, move |connection| {
            let newest = "SELECT max(id) FROM entries WHERE account = ?1";
            let id = connection.query_row(newest, params![account.0], |row| row.get(0))?;
            Ok::<_, StoreError>(Option::map(id, EntryId))
        }))
    }

    fn pools(&self) -> Vec<PoolStatus> {
        vec![self.writer.status(), self.readers.status()]
    }
}

fn transfer(row: &Row<'_>) -> rusqlite::Result<Transfer> {
    Ok(Transfer {
        id: TransferId(row.get(0)?),
        from: AccountId(row.get(1)?),
        to: AccountId(row.get(2)?),
        amount: Money::from_cents(row.get(3)?),
        at: Timestamp::from_millis(row.get(4)?),
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: EntryId(row.get(0)?),
        transfer: row.get::<_, Option<i64>>(1)?.map(TransferId),
        amount: Money::from_cents(row.get(2)?),
        balance: Money::from_cents(row.get(3)?),
        at: Timestamp::from_millis(row.get(4)?),
    })
}
