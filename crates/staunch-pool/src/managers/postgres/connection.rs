//! A session, and the task that drives it.

use std::{fmt, ops::Deref};

use super::{
    PgResult,
    canceller::Canceller,
    session::PostgresSession,
    transaction::{PostgresTransaction, PostgresTransactionBuilder},
};
use crate::managers::driver::Switch;

/// A pooled connection to PostgreSQL: a [`PostgresSession`], on which transactions can be begun.
///
/// # Examples
/// ```no_run
/// # async fn example(connection: &mut staunch_pool::PostgresConnection) -> Result<(), tokio_postgres::Error> {
/// let transaction = connection.transaction().await?;
/// let paid = "UPDATE account SET balance = balance - $2 WHERE id = $1";
/// transaction.execute_cached(paid, &[&7_i64, &100_i64]).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresConnection {
    pub(super) session: PostgresSession,
    pub(super) canceller: Canceller,
    pub(super) switch: Switch,
}

impl PostgresConnection {
    pub(super) fn is_broken(&self) -> bool {
        self.session.is_broken() || self.switch.has_ended()
    }

    /// Begins a transaction. Ended by [`commit`](PostgresTransaction::commit) or
    /// [`rollback`](PostgresTransaction::rollback) it leaves the session clean; dropped, it is
    /// rolled back, and the session is reset before the next lease.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Cancel safe: what has begun is rolled back.
    pub async fn transaction(&mut self) -> PgResult<PostgresTransaction<'_>> {
        self.build_transaction().start().await
    }

    /// Begins a transaction that is not as they usually are: isolated more, or read only.
    pub fn build_transaction(&mut self) -> PostgresTransactionBuilder<'_> {
        PostgresTransactionBuilder::new(&self.session)
    }
}

impl Drop for PostgresConnection {
    fn drop(&mut self) {
        if self.session.is_running() {
            self.switch.off(); // it would wait for the query's end, which nobody wants
        }
    }
}

impl Deref for PostgresConnection {
    type Target = PostgresSession;

    fn deref(&self) -> &PostgresSession {
        &self.session
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection")
            .field("server", &self.canceller.target.to_string())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
