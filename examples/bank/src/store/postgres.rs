//! Accounts in PostgreSQL.

mod booking;

use staunch::{BoxError, Scope};
use staunch_pool::{Pool, PoolOptions, PoolStatus, Postgres};
use tokio_postgres::{Config, Row, error::SqlState};

#[cfg(feature = "leaky")]
use crate::leaky::{self, Leak};

use super::{Answer, Store, StoreError, migrations};
use crate::{
    model::{Account, AccountId, Entry, EntryId, Receipt, Transfer, TransferId},
    money::Money,
    order::{Order, TransferError},
    timestamp::Timestamp,
};

/// A bank in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool<Postgres>,
}

/// The lock under which tables are made, so that two services that start do not both do it.
const MIGRATION_LOCK: i64 = 0x5374_6175_6e63_6800;

impl PostgresStore {
    /// Connects and brings the tables up to date. The connections belong to `scope`.
    ///
    /// # Errors
    /// When it cannot connect.
    pub async fn open<E: Send + 'static>(
        scope: &Scope<E>,
        config: Config,
    ) -> Result<PostgresStore, BoxError> {
        let options = PoolOptions { name: "postgres", ..PoolOptions::default() };
        let pool = Pool::new(scope, Postgres::new(scope, config), options)?;
        let store = PostgresStore { pool };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut lease = self.pool.acquire().await?;
        let mut connection = lease.connection()?;
        let transaction = connection.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
        transaction
            .batch_execute("CREATE TABLE IF NOT EXISTS migrations (step bigint PRIMARY KEY)")
            .await?;
        let done: i64 = transaction.query_one("SELECT count(*) FROM migrations", &[]).await?.get(0);
        for (number, step) in (0_i64..).zip(migrations::POSTGRES) {
            if number >= done {
                transaction.batch_execute(step).await?;
                transaction.execute("INSERT INTO migrations VALUES ($1)", &[&number]).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

impl Store for PostgresStore {
    fn open(&self, balance: Money) -> Answer<'_, Account> {
        Box::pin(async move {
            let mut lease = self.pool.acquire().await?;
            let connection = lease.connection()?;
            let row = connection
                .query_one_cached(
                    "WITH opened AS (INSERT INTO accounts (balance) VALUES ($1) RETURNING id) \
                     INSERT INTO entries (account, amount, balance, at_ms) \
                     SELECT id, $1, $1, $2 FROM opened RETURNING account",
                    &[&balance.cents(), &Timestamp::now().millis()],
                )
                .await?;
            Ok(Account { id: AccountId(row.try_get(0)?), balance })
        })
    }

    fn account(&self, id: AccountId) -> Answer<'_, Option<Account>> {
        Box::pin(async move {
            let mut lease = self.pool.acquire().await?;
            let connection = lease.connection()?;
            let found = connection
                .query_opt_cached("SELECT balance FROM accounts WHERE id = $1", &[&id.0])
                .await?;
            let account =
                |row: Row| Ok(Account { id, balance: Money::from_cents(row.try_get(0)?) });
            #[cfg(feature = "leaky")]
            if leaky::strikes(Leak::Lease) {
                drop(connection);
                leaky::keep(lease);
            }
            found.map(account).transpose()
        })
    }

    fn book<'a>(&'a self, order: &'a Order) -> Answer<'a, Receipt, TransferError> {
        Box::pin(async move {
            let mut lease = self.pool.acquire().await.map_err(StoreError::from)?;
            let mut connection = lease.connection().map_err(StoreError::from)?;
            booking::book(&mut connection, order).await
        })
    }

    fn transfer(&self, id: TransferId) -> Answer<'_, Option<Transfer>> {
        Box::pin(async move {
            let mut lease = self.pool.acquire().await?;
            let connection = lease.connection()?;
            let found = connection
                .query_opt_cached(
                    "SELECT id, from_account, to_account, amount, at_ms FROM transfers \
                     WHERE id = $1 AND refused_with IS NULL",
                    &[&id.0],
                )
                .await?;
            Ok(found.as_ref().map(transfer).transpose()?)
        })
    }

    fn entries(&self, account: AccountId, after: EntryId, most: u16) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            let mut lease = self.pool.acquire().await?;
            let connection = lease.connection()?;
            let rows = connection
                .query_cached(
                    "SELECT id, transfer, amount, balance, at_ms FROM entries \
                     WHERE account = $1 AND id > $2 ORDER BY id LIMIT $3",
                    &[&account.0, &after.0, &i64::from(most)],
                )
                .await?;
            #[cfg(feature = "leaky")]
            if leaky::strikes(Leak::Rows) {
                let open = "BEGIN; DECLARE open CURSOR FOR SELECT * FROM entries; FETCH open";
                connection.batch_execute(open).await?;
                drop(connection);
                leaky::keep(lease);
            }
            Ok(rows.iter().map(entry).collect::<Result<_, _>>()?)
        })
    }

    fn newest_entry(&self, account: AccountId) -> Answer<'_, Option<EntryId>> {
        Box::pin(async move {
            let mut lease = self.pool.acquire().await?;
            let connection = lease.connection()?;
            let newest = "SELECT max(id) FROM entries WHERE account = $1";
            let row = connection.query_one_cached(newest, &[&account.0]).await?;
            Ok(row.try_get::<_, Option<i64>>(0)?.map(EntryId))
        })
    }

    fn pools(&self) -> Vec<PoolStatus> {
        vec![self.pool.status()]
    }
}

fn transfer(row: &Row) -> Result<Transfer, tokio_postgres::Error> {
    Ok(Transfer {
        id: TransferId(row.try_get(0)?),
        from: AccountId(row.try_get(1)?),
        to: AccountId(row.try_get(2)?),
        amount: Money::from_cents(row.try_get(3)?),
        at: Timestamp::from_millis(row.try_get(4)?),
    })
}

fn entry(row: &Row) -> Result<Entry, tokio_postgres::Error> {
    Ok(Entry {
        id: EntryId(row.try_get(0)?),
        transfer: row.try_get::<_, Option<i64>>(1)?.map(TransferId),
        amount: Money::from_cents(row.try_get(2)?),
        balance: Money::from_cents(row.try_get(3)?),
        at: Timestamp::from_millis(row.try_get(4)?),
    })
}

impl From<tokio_postgres::Error> for StoreError {
    /// A connection that broke, and a server that is busy or ending, may be better next time.
    fn from(error: tokio_postgres::Error) -> StoreError {
        let passes = |state: &SqlState| {
            let class = state.code().get(..2);
            matches!(class, Some("08" | "40" | "53" | "57"))
                || *state == SqlState::LOCK_NOT_AVAILABLE
        };
        if error.is_closed() || error.code().is_none_or(passes) {
            StoreError::Unavailable(error.into())
        } else {
            StoreError::Failed(error.into())
        }
    }
}

impl From<tokio_postgres::Error> for TransferError {
    fn from(error: tokio_postgres::Error) -> TransferError {
        StoreError::from(error).into()
    }
}
