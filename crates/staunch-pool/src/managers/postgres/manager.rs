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

use rustls::{ClientConfig, pki_types::ServerName};
use staunch_net::{Connection, DialOptions, Dialer};
use staunch_scope::Scope;
use tokio::time::timeout;
use tokio_postgres::{Config, NoTls, config::SslMode, error::SqlState, tls::TlsConnect};

use super::{
    PgResult,
    canceller::{Canceller, dial},
    connection::PostgresConnection,
    error::{ConnectPostgresError, described},
    session::PostgresSession,
    state::State,
    target::Target,
    tls::Handshake,
};
use crate::{
    manager::{Condition, Manager},
    managers::driver::Drivers,
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
    dialer: Arc<Dialer>,
    reset: ResetSession,
    statements_max: usize,
    tls: Option<Arc<ClientConfig>>,
    drivers: Drivers,
}

/// When a session's state (settings, temporary tables, cursors, what `PREPARE` made, an open
/// transaction) is discarded before the next lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetSession {
    /// After something that can change it, as far as is known: see
    /// [`PostgresSession`](crate::PostgresSession#what-touches-the-session); and after a query or a
    /// transaction that was dropped. A round trip then.
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
        let dialer = Arc::new(Dialer::owned(scope, DialOptions { timeout, ..options }));
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
    /// is no TLS. A password is proved for this session only (`channel_binding`), unless the
    /// certificate is signed with SHA-512 or Ed25519.
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
            match dial(&self.dialer, self.drivers.born_at, &target).await {
                Ok(connection) => return Ok((connection, target)),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    /// Begins a session, and the task that drives it. Switched off while a query runs, it asks the
    /// server to give that up: it would go on, and keep its locks.
    async fn begin<T>(
        &self,
        socket: Connection,
        target: Target,
        name: Option<ServerName<'static>>,
        tls: T,
    ) -> PgResult<PostgresConnection>
    where
        T: TlsConnect<Connection, Stream: Send + 'static, Future: Send> + Send,
    {
        let (client, driver) = self.config.connect_raw(socket, tls).await?;
        let canceller = Canceller {
            dialer: Arc::clone(&self.dialer),
            born_at: self.drivers.born_at,
            target,
            token: client.cancel_token(),
            tls: self.tls.clone().zip(name),
        };
        let state = Arc::<State>::default();
        let driver = async {
            if let Err(error) = driver.await {
                tracing::debug!("postgresql: {}", described(&error));
            }
        };
        let (last, at_work) = (canceller.clone(), Arc::clone(&state));
        let switch = self.drivers.start_with(driver, move || {
            let is_at_work = at_work.is_at_work(); // until the query hears that its driver is gone
            async move {
                if is_at_work {
                    last.cancel_soon().await;
                }
            }
        });
        let session = PostgresSession::new(client, state, self.statements_max);
        Ok(PostgresConnection { session, canceller, switch })
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
        let Some(tls) = self.handshake(&target, &began)? else {
            return Ok(self.begin(socket, target, None, NoTls).await?);
        };
        let (server, name) = (target.to_string(), tls.name.clone());
        self.begin(socket, target, Some(name), tls).await.map_err(|error| {
            let is_required = self.config.get_ssl_mode() == SslMode::Require;
            let began = began.load(Ordering::Relaxed);
            ConnectPostgresError::secure(server, error, is_required, began)
        })
    }

    async fn validate(
        &self,
        connection: &mut PostgresConnection,
    ) -> Result<(), ConnectPostgresError> {
        Ok(connection.session.ping().await?)
    }

    fn is_local(&self, error: &ConnectPostgresError) -> bool {
        matches!(error, ConnectPostgresError::Dial(error) if error.is_local())
    }

    fn condition(&self, connection: &mut PostgresConnection) -> Condition {
        let may_be_clean = self.reset == ResetSession::WhenTouched;
        match connection {
            _ if connection.is_broken() => Condition::Broken,
            _ if may_be_clean && connection.session.is_clean() => Condition::Clean,
            _ => Condition::Dirty,
        }
    }

    /// Discards the session's state. If a query may still be running, the server is asked to give it
    /// up; again and again, less and less often, for the wish may come before the query does.
    async fn reset(&self, connection: &mut PostgresConnection) -> Result<(), ConnectPostgresError> {
        const AGAIN: Duration = Duration::from_millis(50);
        const AGAIN_MOST: Duration = Duration::from_secs(1);
        let (session, canceller) = (&connection.session, &connection.canceller);
        if session.is_running() {
            canceller.cancel().await?;
        }
        let mut may_be_running = session.state().may_be_running();
        let mut again = AGAIN;
        let mut discarded = pin!(session.discard());
        while may_be_running {
            match timeout(again, discarded.as_mut()).await {
                Err(_) => canceller.cancel().await?,
                Ok(Err(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                    // The wish met the discarding: what was before it is over.
                    discarded.set(session.discard());
                    may_be_running = false;
                }
                Ok(discarded) => return Ok(discarded?),
            }
            again = (again * 2).min(AGAIN_MOST);
        }
        Ok(discarded.await?)
    }

    /// Without a client its driver says goodbye. A server that is still at work would not hear it.
    async fn close(&self, connection: PostgresConnection) {
        if connection.session.is_running() && connection.canceller.cancel().await.is_ok() {
            connection.session.state().give_up(); // or it is down anyway
        }
        drop(connection);
    }

    fn killer(&self, connection: &PostgresConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let switch = connection.switch.clone();
        Some(Box::new(move || switch.off()))
    }

    fn pulse(
        &self,
        connection: &PostgresConnection,
    ) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        let state = Arc::clone(connection.session.state());
        Some(Box::new(move || state.is_awaited()))
    }
}
