//! How to connect to PostgreSQL, to reset a session and to end it.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::ClientConfig;
use staunch_net::{Connection, DialError, DialOptions, Dialer};
use staunch_scope::{Context, Scope};
use tokio::io::AsyncReadExt;
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
    tls::TlsConnect,
};

use super::{
    PgResult,
    connection::PostgresConnection,
    error::{ConnectPostgresError, described},
    target::Target,
    tls::Handshake,
};
use crate::{
    manager::{Condition, Manager},
    managers::driver::{Drivers, Switch},
};

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
    statements_max: usize,
    tls: Option<Arc<ClientConfig>>,
    drivers: Drivers,
}

/// When a session's state (settings, temporary tables, cursors, what `PREPARE` made, an open
/// transaction) is discarded before the next lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetSession {
    /// After something that can change it: `batch_execute`, `simple_query`, or use of the client
    /// itself; and after a query or a transaction that was dropped. A round trip then.
    #[default]
    WhenTouched,
    /// After each lease. A round trip each.
    Always,
}

impl Postgres {
    /// Connects as `config` says, to the first of its hosts that answers. The tasks of the
    /// connections are children of `scope`, born on the caller's line.
    ///
    /// Of its options `target_session_attrs`, `load_balance_hosts` and those of the socket are not
    /// looked at.
    #[track_caller]
    pub fn new<E: Send + 'static>(scope: &Scope<E>, config: Config) -> Postgres {
        let options = DialOptions::default();
        let timeout = config.get_connect_timeout().copied().unwrap_or(options.timeout);
        let dialer = Dialer::owned(scope, DialOptions { timeout, ..options });
        let (reset, drivers) = (ResetSession::default(), Drivers::new(scope));
        Postgres { config, dialer, reset, statements_max: 100, tls: None, drivers }
    }

    /// When a session's state is discarded.
    #[must_use]
    pub fn reset_session(mut self, reset: ResetSession) -> Postgres {
        self.reset = reset;
        self
    }

    /// Prepared statements that each session keeps for the methods that end in `_cached`; 0 for
    /// none. Default 100: more than most services have, and a few hundred KiB of the server's
    /// memory. If there are more, the one that was not used for longest is prepared again.
    #[must_use]
    pub fn statements_max(mut self, most: usize) -> Postgres {
        self.statements_max = most;
        self
    }

    /// Speaks TLS, also to cancel a query, as the configuration's `sslmode` demands: `disable`
    /// never, `require` always, and `prefer`, which is the default, if the server does; whoever can
    /// change packets on the way can talk that one out of it. The server's certificate must be for
    /// the name of the host, and one that `config` trusts, in either case. Over a Unix socket there
    /// is no TLS.
    ///
    /// # Examples
    /// ```no_run
    /// use std::sync::Arc;
    /// use rustls::{ClientConfig, RootCertStore, crypto::ring};
    /// use staunch_pool::Postgres;
    /// # use staunch_scope::{BoxError, Scope};
    ///
    /// # fn example(scope: &Scope<BoxError>, roots: RootCertStore) -> Result<(), BoxError> {
    /// let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
    ///     .with_safe_default_protocol_versions()?
    ///     .with_root_certificates(roots)
    ///     .with_no_client_auth();
    /// let manager = Postgres::new(scope, "host=db user=app sslmode=require".parse()?).tls(tls);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Postgres {
        self.tls = Some(config.into());
        self
    }

    /// A socket to the first of the hosts that answers.
    async fn dial(&self) -> Result<(Connection, Target), ConnectPostgresError> {
        let mut failure = ConnectPostgresError::NoHost;
        for target in Target::all(&self.config) {
            match self.dial_target(&target).await {
                Ok(connection) => return Ok((connection, target)),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    async fn dial_target(&self, target: &Target) -> Result<Connection, DialError> {
        let (born_at, context) = (self.drivers.born_at, Context::current());
        let address = target.to_string();
        match target.host {
            Host::Tcp(_) => self.dialer.tcp_at(born_at, context, address).await,
            Host::Unix(_) => self.dialer.unix_at(born_at, context, address).await,
        }
    }

    /// Begins a session, and the task that drives it.
    async fn begin<T>(&self, socket: Connection, tls: T) -> PgResult<(Client, Switch)>
    where
        T: TlsConnect<Connection, Stream: Send + 'static, Future: Send> + Send,
    {
        let (client, driver) = self.config.connect_raw(socket, tls).await?;
        let switch = self.drivers.start(async {
            if let Err(error) = driver.await {
                tracing::debug!("postgresql: {}", described(&error));
            }
        });
        Ok((client, switch))
    }

    /// How to speak TLS with a server; `None` if that is not wanted.
    fn handshake<'b>(
        &self,
        target: &Target,
        began: &'b AtomicBool,
    ) -> Result<Option<Handshake<'b>>, ConnectPostgresError> {
        let mode = self.config.get_ssl_mode();
        match &self.tls {
            _ if mode == SslMode::Disable || !target.is_remote() => Ok(None),
            Some(config) => {
                Ok(Some(Handshake { config: Arc::clone(config), name: target.name()?, began }))
            }
            None if mode == SslMode::Require => Err(ConnectPostgresError::NoTrust),
            None => Ok(None),
        }
    }

    /// Asks the server to give up what the connection waits for; of no effect when that is over.
    ///
    /// When it is done the wish has reached the session, so it cannot meet the query of another.
    async fn cancel(&self, connection: &PostgresConnection) -> Result<(), ConnectPostgresError> {
        let mut socket = self.dial_target(&connection.target).await?;
        let began = AtomicBool::new(false);
        let token = &connection.cancel;
        match self.handshake(&connection.target, &began)? {
            Some(tls) => token.cancel_query_raw(&mut socket, tls).await?,
            None => token.cancel_query_raw(&mut socket, NoTls).await?,
        }
        let mut rest = [0; 64];
        while let Ok(1..) = socket.read(&mut rest).await {} // the server closes when it has passed it on
        Ok(())
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
        let (socket, target) = self.dial().await?;
        let began = AtomicBool::new(false);
        let (client, switch) = match self.handshake(&target, &began)? {
            None => self.begin(socket, NoTls).await?,
            Some(tls) => self.begin(socket, tls).await.map_err(|error| {
                let is_required = self.config.get_ssl_mode() == SslMode::Require;
                let began = began.load(Ordering::Relaxed);
                ConnectPostgresError::secure(target.to_string(), error, is_required, began)
            })?,
        };
        Ok(PostgresConnection::new(client, switch, target, self.statements_max))
    }

    async fn validate(
        &self,
        connection: &mut PostgresConnection,
    ) -> Result<(), ConnectPostgresError> {
        Ok(connection.session.ping().await?)
    }

    fn condition(&self, connection: &mut PostgresConnection) -> Condition {
        let may_be_clean = self.reset == ResetSession::WhenTouched;
        match connection {
            _ if connection.is_broken() => Condition::Broken,
            _ if may_be_clean && connection.session.is_clean() => Condition::Clean,
            _ => Condition::Dirty,
        }
    }

    /// Discards the session's state. If a query is still running, the server is asked to give it
    /// up; again and again, for the wish may come before the query does.
    async fn reset(&self, connection: &mut PostgresConnection) -> Result<(), ConnectPostgresError> {
        const AGAIN: Duration = Duration::from_millis(50);
        let mut is_running = connection.session.is_running();
        let mut discarded = pin!(connection.session.discard());
        loop {
            if is_running {
                self.cancel(connection).await?;
            }
            if let Ok(discarded) = tokio::time::timeout(AGAIN, discarded.as_mut()).await {
                return Ok(discarded?);
            }
            is_running = true; // by ways of the client, perhaps, whose queries nobody counts
        }
    }

    /// Without a client its driver says goodbye. A server that is still at work would not hear it.
    async fn close(&self, connection: PostgresConnection) {
        if connection.session.is_running() {
            let _ = self.cancel(&connection).await; // or it is down anyway
        }
        drop(connection);
    }

    fn killer(&self, connection: &PostgresConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let switch = connection.switch.clone();
        Some(Box::new(move || switch.off()))
    }
}
