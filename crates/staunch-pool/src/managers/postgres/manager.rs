//! PostgreSQL, by tokio-postgres.
//!
//! The socket is dialled by `staunch-net`, so it is on the ledger, and the task that drives it is a
//! child of the scope the manager was made in. A query whose caller is gone is cancelled on the
//! server before its connection is used again.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::pin,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use staunch_net::{Connection, DialError, DialOptions, Dialer};
use staunch_scope::{Context, Scope};
use tokio_postgres::{
    CancelToken, Client, Config, NoTls, Row, SimpleQueryMessage, Statement, ToStatement,
    Transaction, config::Host, types::ToSql,
};

use super::driver::{Drivers, Switch};
use crate::manager::{Condition, Manager};

/// Makes PostgreSQL connections.
///
/// # Examples
/// ```no_run
/// use staunch_pool::{Pool, PoolOptions, Postgres};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let manager = Postgres::new(&s, "host=/run/postgresql user=app".parse()?);
///     let pool = Pool::new(&s, manager, PoolOptions::default())?;
///     let mut lease = pool.acquire().await?;
///     let row = lease.connection()?.query_one("SELECT 1 + 1", &[]).await?;
///     assert_eq!(row.get::<_, i32>(0), 2);
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub struct Postgres {
    config: Config,
    dialer: Dialer,
    reset: ResetSession,
    drivers: Drivers,
}

/// When a session's state (settings, temporary tables, prepared statements, an open transaction) is
/// discarded before the next lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetSession {
    /// After something that can change it: `batch_execute`, `simple_query`, or use of the client
    /// itself; and after a query that was cancelled. A round trip then.
    #[default]
    WhenTouched,
    /// After each lease. A round trip each.
    Always,
}

/// There is no connection to PostgreSQL, or it does not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectPostgresError {
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It said no, or the connection broke.
    #[error("postgresql: {}", described(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The configuration names no server.
    #[error("the PostgreSQL configuration names no host: write host=NAME, or host=/run/postgresql")]
    NoHost,
}

/// tokio-postgres says `db error`; what the server said is its source.
fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {} ({})", said.severity(), said.message(), said.code().code()),
        None => error.to_string(),
    }
}

impl Postgres {
    /// Connects as `config` says, without TLS. The tasks of the connections are children of
    /// `scope`, born on the caller's line.
    #[track_caller]
    pub fn new<E: Send + 'static>(scope: &Scope<E>, config: Config) -> Postgres {
        let options = DialOptions::default();
        let timeout = config.get_connect_timeout().copied().unwrap_or(options.timeout);
        let dialer = Dialer::owned(scope, DialOptions { timeout, ..options });
        let (reset, drivers) = (ResetSession::default(), Drivers::new(scope));
        Postgres { config, dialer, reset, drivers }
    }

    /// When a session's state is discarded.
    #[must_use]
    pub fn reset_session(mut self, reset: ResetSession) -> Postgres {
        self.reset = reset;
        self
    }

    /// A socket to the first of the hosts that answers.
    async fn dial(&self) -> Result<Connection, ConnectPostgresError> {
        let mut failure = ConnectPostgresError::NoHost;
        for (number, host) in self.config.get_hosts().iter().enumerate() {
            let ports = self.config.get_ports();
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            match self.dial_host(host, port).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    async fn dial_host(&self, host: &Host, port: u16) -> Result<Connection, DialError> {
        let context = Context::current();
        match host {
            Host::Tcp(name) => {
                self.dialer.tcp_at(self.drivers.born_at, context, format!("{name}:{port}")).await
            }
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                self.dialer.unix_at(self.drivers.born_at, context, path).await
            }
        }
    }

    /// Asks the server to give up what the connection waits for; of no effect when that is over.
    async fn cancel_query(&self, token: &CancelToken) -> Result<(), ConnectPostgresError> {
        Ok(token.cancel_query_raw(self.dial().await?, NoTls).await?)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration may hold a password: it shows itself without.
        f.debug_struct("Postgres").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Manager for Postgres {
    type Connection = PostgresConnection;
    type Error = ConnectPostgresError;

    async fn connect(&self) -> Result<PostgresConnection, ConnectPostgresError> {
        let socket = self.dial().await?;
        let (client, driver) = self.config.connect_raw(socket, NoTls).await?;
        let switch = self.drivers.start(async {
            if let Err(error) = driver.await {
                tracing::debug!("postgresql: {}", described(&error));
            }
        });
        let cancel = client.cancel_token();
        Ok(PostgresConnection { client, cancel, switch, session: Session::default() })
    }

    async fn validate(
        &self,
        connection: &mut PostgresConnection,
    ) -> Result<(), ConnectPostgresError> {
        connection.client.simple_query("SELECT 1").await?;
        Ok(())
    }

    fn condition(&self, connection: &mut PostgresConnection) -> Condition {
        let session = connection.session.get();
        match session {
            _ if connection.client.is_closed() || connection.switch.has_ended() => {
                Condition::Broken
            }
            Session::CLEAN if self.reset == ResetSession::WhenTouched => Condition::Clean,
            _ => Condition::Dirty,
        }
    }

    /// Discards the session's state. If a query is still running, the server is asked to give it
    /// up; again and again, for the wish may come before the query does.
    async fn reset(&self, connection: &mut PostgresConnection) -> Result<(), ConnectPostgresError> {
        const AGAIN: Duration = Duration::from_millis(50);
        let mut is_running = connection.session.is_running();
        let mut discarded = pin!(discard(&connection.client));
        loop {
            if is_running {
                self.cancel_query(&connection.cancel).await?;
            }
            if let Ok(discarded) = tokio::time::timeout(AGAIN, discarded.as_mut()).await {
                discarded?;
                connection.session.clean();
                return Ok(());
            }
            is_running = true; // in a transaction, perhaps, whose queries nobody counts
        }
    }

    /// Without a client its driver says goodbye. A server that is still at work would not hear it.
    async fn close(&self, connection: PostgresConnection) {
        if connection.session.is_running() {
            let _ = self.cancel_query(&connection.cancel).await; // or it is down anyway
        }
        drop(connection);
    }

    fn killer(&self, connection: &PostgresConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let switch = connection.switch.clone();
        Some(Box::new(move || switch.off()))
    }
}

/// `DISCARD ALL` cannot run inside a transaction, so one that is open is rolled back first.
async fn discard(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.simple_query("ROLLBACK").await?;
    client.simple_query("DISCARD ALL").await?;
    Ok(())
}

/// A pooled connection to PostgreSQL. Its methods are those of [`Client`] that are used most; the
/// others are on the client itself ([`Deref`]), whose use counts as touching the session.
pub struct PostgresConnection {
    client: Client,
    cancel: CancelToken,
    switch: Switch,
    session: Session,
}

impl Drop for PostgresConnection {
    fn drop(&mut self) {
        if self.session.is_running() {
            self.switch.off(); // it would wait for the query's end, which nobody wants
        }
    }
}

/// What is known of a session.
#[derive(Debug, Default)]
struct Session(AtomicU8);

impl Session {
    const CLEAN: u8 = 0;
    /// Its state may have been changed.
    const TOUCHED: u8 = 1;
    /// A query was begun, and has not ended.
    const RUNNING: u8 = 2;

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn is_running(&self) -> bool {
        self.get() & Session::RUNNING != 0
    }

    fn clean(&self) {
        self.0.store(Session::CLEAN, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.0.fetch_or(Session::TOUCHED, Ordering::Relaxed);
    }

    /// Runs a query. When it is dropped before its end, the session stays `RUNNING`.
    async fn run<F: Future>(&self, query: F) -> F::Output {
        self.0.fetch_or(Session::RUNNING, Ordering::Relaxed);
        let output = query.await;
        self.0.fetch_and(!Session::RUNNING, Ordering::Relaxed);
        output
    }
}

type PgResult<T> = Result<T, tokio_postgres::Error>;
type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

impl PostgresConnection {
    /// As [`Client::query`].
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Dropped before its end, the query is cancelled on the server when the connection goes back.
    pub async fn query<S: ?Sized + ToStatement + Sync>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<Vec<Row>> {
        self.session.run(self.client.query(statement, params)).await
    }

    /// As [`Client::query_one`].
    ///
    /// # Errors
    /// The server's; and when there is not exactly one row.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_one<S: ?Sized + ToStatement + Sync>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<Row> {
        self.session.run(self.client.query_one(statement, params)).await
    }

    /// As [`Client::query_opt`].
    ///
    /// # Errors
    /// The server's; and when there is more than one row.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn query_opt<S: ?Sized + ToStatement + Sync>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<Option<Row>> {
        self.session.run(self.client.query_opt(statement, params)).await
    }

    /// As [`Client::execute`].
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn execute<S: ?Sized + ToStatement + Sync>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> PgResult<u64> {
        self.session.run(self.client.execute(statement, params)).await
    }

    /// As [`Client::prepare`].
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn prepare(&self, query: &str) -> PgResult<Statement> {
        self.session.run(self.client.prepare(query)).await
    }

    /// As [`Client::batch_execute`]. Touches the session.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn batch_execute(&self, query: &str) -> PgResult<()> {
        self.session.touch();
        self.session.run(self.client.batch_execute(query)).await
    }

    /// As [`Client::simple_query`]. Touches the session.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn simple_query(&self, query: &str) -> PgResult<Vec<SimpleQueryMessage>> {
        self.session.touch();
        self.session.run(self.client.simple_query(query)).await
    }

    /// As [`Client::transaction`]. Touches the session: a transaction that is dropped in the
    /// middle of a query is cancelled and rolled back before the next lease.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// As [`query`](Self::query).
    pub async fn transaction(&mut self) -> PgResult<Transaction<'_>> {
        self.session.touch();
        self.client.transaction().await
    }
}

impl Deref for PostgresConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.session.touch();
        &self.client
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection").field("session", &self.session).finish_non_exhaustive()
    }
}
