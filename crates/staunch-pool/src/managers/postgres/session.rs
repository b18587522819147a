//! Queries, and what is known of the session's state.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context as Poller, Waker},
};

use tokio_postgres::{
    Client, Row, SimpleQueryMessage, Statement,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    PgResult,
    query::{PostgresQuery, is_plain},
    state::State,
    statements::Statements,
};

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];
type TypedParams<'p> = &'p [(&'p (dyn ToSql + Sync), Type)];

/// A session with a PostgreSQL server: a [`PostgresConnection`](crate::PostgresConnection), or a
/// transaction on one.
///
/// Its methods are those of [`Client`] that are used most; the others are on the
/// [`client`](Self::client) itself.
///
/// # What touches the session
/// A session that was touched is reset before the next lease: its state is discarded, which is a round
/// trip. It is touched by
/// - the [`client`](Self::client), [`batch_execute`](Self::batch_execute) and
///   [`simple_query`](Self::simple_query);
/// - a query given as text, also to be prepared, unless it begins as those do that leave nothing:
///   `SELECT`, `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `WITH`, `VALUES`, `TABLE`, `FETCH`, `SHOW`, `LOCK`,
///   `NOTIFY`, `TRUNCATE`, `SET LOCAL`;
/// - such a one, too, if `INTO TEMP`, `set_config`, or `pg_advisory_lock` and its like are in its text.
///
/// Two things are not seen. A function of your own may change the session: call it by `batch_execute`,
/// or say [`ResetSession::Always`](crate::ResetSession::Always). And of a
/// [`Statement`](tokio_postgres::Statement) nobody remembers what it is: preparing it has touched the
/// session that one time, and it should not outlive its lease if it changes the session.
///
/// # Statements that are kept
/// A query given as text is prepared each time, which is a round trip of its own. The methods that
/// end in `_cached` prepare it once in each session. What is kept is bounded
/// ([`Postgres::statements_max`](crate::Postgres::statements_max)), and survives the reset of a
/// session. If the server cannot use a statement any more, since a table it names was changed, it is
/// prepared again, and the query with it; not so in a transaction, which such an error ends: there it
/// is prepared again by the next attempt.
///
/// # Examples
/// ```no_run
/// # async fn example(session: &staunch_pool::PostgresSession) -> Result<(), tokio_postgres::Error> {
/// let row = session.query_one_cached("SELECT balance FROM account WHERE id = $1", &[&7_i64]).await?;
/// let balance: i64 = row.try_get(0)?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresSession {
    // Before the statements, which would say goodbye one by one.
    client: Client,
    statements: Statements<Prepared>,
    state: Arc<State>,
}

/// A statement that is kept, and whether it leaves nothing in the session.
#[derive(Clone, Debug)]
struct Prepared {
    statement: Statement,
    is_plain: bool,
}

/// Everything that `DISCARD ALL` does, but for the statements that were prepared by the protocol:
/// those are kept on purpose, or closed by whoever dropped them, and tokio-postgres has some of its
/// own that it could not miss. The last statement's rows say how to forget what `PREPARE` made.
const DISCARD: &str = "\
ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; \
SELECT pg_catalog.format('DEALLOCATE %I', name) FROM pg_catalog.pg_prepared_statements \
WHERE from_sql";

impl PostgresSession {
    pub(super) fn new(client: Client, state: Arc<State>, statements_max: usize) -> PostgresSession {
        PostgresSession { client, statements: Statements::new(statements_max), state }
    }

    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    pub(super) fn is_broken(&self) -> bool {
        self.client.is_closed() || self.state.is_lost()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.state.is_clean()
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.is_running()
    }

    /// Touches the session, unless a query given as text is known to leave nothing.
    fn look_at(&self, query: &str) {
        if !is_plain(query) {
            self.state.touch();
        }
    }

    /// Whether the server still answers.
    pub(super) async fn ping(&self) -> PgResult<()> {
        self.say("SELECT 1").await
    }

    /// Rolls back and discards what a lease has changed, in one round trip.
    pub(super) async fn discard(&self) -> PgResult<()> {
        let messages = self.client.simple_query(DISCARD).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).filter(|text| !text.is_empty()),
            _ => None,
        });
        let forget = rows.collect::<Vec<_>>().join("; ");
        if !forget.is_empty() {
            self.client.batch_execute(&forget).await?;
        }
        self.state.clean();
        Ok(())
    }

    /// What is known not to change the session, such as the begin of a transaction.
    pub(super) async fn say(&self, statement: &str) -> PgResult<()> {
        self.run(self.client.batch_execute(statement)).await
    }

    /// Sends a statement whose answer nobody waits for. It is done before whatever is sent next.
    pub(super) fn send(&self, statement: &str) {
        let mut cx = Poller::from_waker(Waker::noop());
        // The first poll sends; an answer that comes later is dropped by the driver.
        let _ = pin!(self.client.batch_execute(statement)).poll(&mut cx);
    }

    /// Runs a query. When it is dropped before its end, it counts as running.
    async fn run<T>(&self, query: impl Future<Output = PgResult<T>>) -> PgResult<T> {
        self.state.begin();
        let _awaited = self.state.awaits();
        let answer = query.await;
        self.state.end();
        if let Err(error) = &answer {
            self.hear(error);
        }
        answer
    }

    /// After an error that says that a statement is of no use, no other is trusted.
    fn hear(&self, error: &tokio_postgres::Error) {
        let Some(stale) = Stale::of(error) else { return };
        self.statements.clear();
        self.client.clear_type_cache();
        if stale == Stale::Missing {
            self.state.lose();
        }
    }

    /// The client, for what is not here. Touches the session.
    pub fn client(&self) -> &Client {
        self.state.touch_raw();
        &self.client
    }

    /// As [`Client::query`].
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Dropped before its end, the query is cancelled on the server when the connection goes back.
    pub async fn query<S: ?Sized + PostgresQuery>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<Vec<Row>> {
        statement.text().into_iter().for_each(|text| self.look_at(text));
        self.run(self.client.query(statement, params)).await
    }

    /// As [`Client::query_one`].
    ///
    /// # Errors
    /// The server's; and when there is not exactly one row.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_one<S: ?Sized + PostgresQuery>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<Row> {
        statement.text().into_iter().for_each(|text| self.look_at(text));
        self.run(self.client.query_one(statement, params)).await
    }

    /// As [`Client::query_opt`].
    ///
    /// # Errors
    /// The server's; and when there is more than one row.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_opt<S: ?Sized + PostgresQuery>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<Option<Row>> {
        statement.text().into_iter().for_each(|text| self.look_at(text));
        self.run(self.client.query_opt(statement, params)).await
    }

    /// As [`Client::query_typed`]: one round trip, without a prepared statement.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_typed(&self, query: &str, params: TypedParams<'_>) -> PgResult<Vec<Row>> {
        self.look_at(query);
        self.run(self.client.query_typed(query, params)).await
    }

    /// As [`Client::execute`].
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn execute<S: ?Sized + PostgresQuery>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<u64> {
        statement.text().into_iter().for_each(|text| self.look_at(text));
        self.run(self.client.execute(statement, params)).await
    }

    /// As [`Client::prepare`]. The server forgets it when the last clone is dropped.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn prepare(&self, query: &str) -> PgResult<Statement> {
        self.look_at(query);
        self.run(self.client.prepare(query)).await
    }

    /// As [`prepare`](Self::prepare), once in each session.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn prepare_cached(&self, query: &str) -> PgResult<Statement> {
        if let Some(prepared) = self.statements.find(query) {
            if !prepared.is_plain {
                self.state.touch();
            }
            return Ok(prepared.statement);
        }
        let statement = self.prepare(query).await?;
        let prepared = Prepared { statement: statement.clone(), is_plain: is_plain(query) };
        self.statements.keep(query, prepared);
        Ok(statement)
    }

    /// As [`query`](Self::query), with a statement that is kept.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_cached(&self, query: &str, params: Params<'_>) -> PgResult<Vec<Row>> {
        self.ask(query, |statement| async move { self.query(&statement, params).await }).await
    }

    /// As [`query_one`](Self::query_one), with a statement that is kept.
    ///
    /// # Errors
    /// The server's; and when there is not exactly one row.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_one_cached(&self, query: &str, params: Params<'_>) -> PgResult<Row> {
        self.ask(query, |statement| async move { self.query_one(&statement, params).await }).await
    }

    /// As [`query_opt`](Self::query_opt), with a statement that is kept.
    ///
    /// # Errors
    /// The server's; and when there is more than one row.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_opt_cached(&self, query: &str, params: Params<'_>) -> PgResult<Option<Row>> {
        self.ask(query, |statement| async move { self.query_opt(&statement, params).await }).await
    }

    /// As [`execute`](Self::execute), with a statement that is kept.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn execute_cached(&self, query: &str, params: Params<'_>) -> PgResult<u64> {
        self.ask(query, |statement| async move { self.execute(&statement, params).await }).await
    }

    /// Asks with a statement that is kept; once more if it is stale.
    async fn ask<T, F: Future<Output = PgResult<T>>>(
        &self,
        query: &str,
        ask: impl Fn(Statement) -> F,
    ) -> PgResult<T> {
        let error = match ask(self.prepare_cached(query).await?).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if Stale::of(&error).is_none() {
            if error.code().is_some_and(|state| state.code().starts_with("42")) {
                self.statements.forget(query); // a name or a type in it is not what it was
            }
            return Err(error);
        }
        let again = async { ask(self.prepare_cached(query).await?).await };
        match again.await {
            Err(second) if second.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                Err(error)
            }
            answer => answer,
        }
    }

    /// As [`Client::batch_execute`]. Touches the session.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn batch_execute(&self, query: &str) -> PgResult<()> {
        self.state.touch();
        self.run(self.client.batch_execute(query)).await
    }

    /// As [`Client::simple_query`]. Touches the session.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn simple_query(&self, query: &str) -> PgResult<Vec<SimpleQueryMessage>> {
        self.state.touch();
        self.run(self.client.simple_query(query)).await
    }
}

/// Why a prepared statement is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stale {
    /// What it names has changed.
    Changed,
    /// It is not there: somebody has discarded it behind our back.
    Missing,
}

impl Stale {
    fn of(error: &tokio_postgres::Error) -> Option<Stale> {
        let said = error.as_db_error()?;
        // By the routine: the message is in the server's language, and its code says little.
        if said.routine() == Some("RevalidateCachedQuery") {
            return Some(Stale::Changed);
        }
        (*said.code() == SqlState::INVALID_SQL_STATEMENT_NAME).then_some(Stale::Missing)
    }
}

impl fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSession").field("state", &self.state).finish_non_exhaustive()
    }
}
