//! What happens wholly or not at all.

use std::{fmt, ops::Deref};

use tokio_postgres::IsolationLevel;

use super::{PgResult, session::PostgresSession};

/// A transaction, or a part of one that can be undone by itself. Its queries are those of
/// [`PostgresSession`].
///
/// Dropped before its end it is rolled back, also in the middle of a query: that is cancelled on
/// the server before the next lease.
///
/// # Examples
/// ```no_run
/// # async fn example(connection: &mut staunch_pool::PostgresConnection) -> Result<(), tokio_postgres::Error> {
/// let mut transaction = connection.transaction().await?;
/// transaction.execute_cached("INSERT INTO visits VALUES ($1)", &[&"ann"]).await?;
/// let attempt = transaction.savepoint("attempt").await?;
/// if attempt.execute_cached("INSERT INTO names VALUES ($1)", &[&"ann"]).await.is_ok() {
///     attempt.commit().await?;
/// } else {
///     attempt.rollback().await?; // the visit stays
/// }
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
pub struct PostgresTransaction<'c> {
    session: &'c PostgresSession,
    /// `None`: it is the whole.
    savepoint: Option<Savepoint>,
    is_over: bool,
}

#[derive(Debug)]
struct Savepoint {
    /// Quoted.
    name: String,
    depth: u32,
}

impl<'c> PostgresTransaction<'c> {
    /// Begins. It is there before its first word is sent, so that it ends if nobody waits. One that
    /// is forgotten (`mem::forget`) stays open, and its session is not clean.
    async fn begin(
        session: &'c PostgresSession,
        savepoint: Option<Savepoint>,
        statement: &str,
    ) -> PgResult<PostgresTransaction<'c>> {
        let transaction = PostgresTransaction { session, savepoint, is_over: false };
        if transaction.savepoint.is_none() {
            session.state().begin_transaction();
        }
        session.say(statement).await?;
        Ok(transaction)
    }

    /// Makes it happen. After an error of one of its queries the server rolls it back instead, and
    /// does not say so.
    ///
    /// # Errors
    /// The server's; it has not happened then, unless the connection broke on the way: then nobody
    /// knows.
    ///
    /// # Cancel safety
    /// Dropped on its way, it has happened or not.
    pub async fn commit(self) -> PgResult<()> {
        let statement = match &self.savepoint {
            Some(savepoint) => format!("RELEASE {}", savepoint.name),
            None => "COMMIT".to_owned(),
        };
        self.end(&statement).await
    }

    /// Undoes it.
    ///
    /// # Errors
    /// The server's; it is undone all the same.
    ///
    /// # Cancel safety
    /// Cancel safe: it is undone.
    pub async fn rollback(self) -> PgResult<()> {
        let statement = self.undo();
        self.end(&statement).await
    }

    fn undo(&self) -> String {
        match &self.savepoint {
            Some(savepoint) => format!("ROLLBACK TO {}", savepoint.name),
            None => "ROLLBACK".to_owned(),
        }
    }

    async fn end(mut self, statement: &str) -> PgResult<()> {
        let ended = self.session.say(statement).await;
        self.is_over = ended.is_ok();
        if self.is_over && self.savepoint.is_none() {
            self.session.state().end_transaction();
        }
        ended
    }

    /// Begins a part that can be undone by itself.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Cancel safe: what has begun is undone.
    pub async fn transaction(&mut self) -> PgResult<PostgresTransaction<'_>> {
        let depth = self.depth() + 1;
        self.savepoint(&format!("sp_{depth}")).await
    }

    /// As [`transaction`](Self::transaction), with a name of your own.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Cancel safe: what has begun is undone.
    pub async fn savepoint(&mut self, name: &str) -> PgResult<PostgresTransaction<'_>> {
        let name = format!("\"{}\"", name.replace('"', "\"\""));
        let statement = format!("SAVEPOINT {name}");
        let savepoint = Savepoint { name, depth: self.depth() + 1 };
        PostgresTransaction::begin(self.session, Some(savepoint), &statement).await
    }

    fn depth(&self) -> u32 {
        self.savepoint.as_ref().map_or(0, |savepoint| savepoint.depth)
    }
}

impl Drop for PostgresTransaction<'_> {
    /// The server is told at once, so that whatever comes next is not part of it.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.savepoint.is_none() {
            self.session.state().touch();
        }
        self.session.send(&self.undo());
    }
}

impl Deref for PostgresTransaction<'_> {
    type Target = PostgresSession;

    fn deref(&self) -> &PostgresSession {
        self.session
    }
}

impl fmt::Debug for PostgresTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction")
            .field("savepoint", &self.savepoint)
            .finish_non_exhaustive()
    }
}

/// How a transaction begins; what is not said is as the session has it.
///
/// # Examples
/// ```no_run
/// use tokio_postgres::IsolationLevel;
///
/// # async fn example(connection: &mut staunch_pool::PostgresConnection) -> Result<(), tokio_postgres::Error> {
/// let builder = connection.build_transaction().isolation_level(IsolationLevel::Serializable);
/// let report = builder.read_only(true).start().await?;
/// report.query_cached("SELECT sum(balance) FROM account", &[]).await?;
/// report.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it begins with `start`"]
pub struct PostgresTransactionBuilder<'c> {
    session: &'c PostgresSession,
    isolation: Option<IsolationLevel>,
    read_only: Option<bool>,
    deferrable: Option<bool>,
}

impl<'c> PostgresTransactionBuilder<'c> {
    pub(super) fn new(session: &'c PostgresSession) -> PostgresTransactionBuilder<'c> {
        PostgresTransactionBuilder { session, isolation: None, read_only: None, deferrable: None }
    }

    /// What it may see of others.
    pub fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Whether it must not write.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = Some(read_only);
        self
    }

    /// Whether it may wait at its begin, to be sure not to fail later: for one that is serializable
    /// and read only.
    pub fn deferrable(mut self, deferrable: bool) -> Self {
        self.deferrable = Some(deferrable);
        self
    }

    /// Begins.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Cancel safe: what has begun is rolled back.
    pub async fn start(self) -> PgResult<PostgresTransaction<'c>> {
        PostgresTransaction::begin(self.session, None, &self.statement()).await
    }

    fn statement(&self) -> String {
        let isolation = self.isolation.map(|level| match level {
            IsolationLevel::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
            IsolationLevel::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            IsolationLevel::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            _ => "ISOLATION LEVEL SERIALIZABLE", // if there will ever be more, this is the safe one
        });
        let read_only = self.read_only.map(|is| if is { "READ ONLY" } else { "READ WRITE" });
        let deferrable = self.deferrable.map(|is| if is { "DEFERRABLE" } else { "NOT DEFERRABLE" });
        let modes: Vec<&str> = [isolation, read_only, deferrable].into_iter().flatten().collect();
        format!("START TRANSACTION {}", modes.join(", "))
    }
}
