//! Dials connections that share buffers and a watchdog.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    panic::Location,
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use staunch_ledger::{Account, Deadline, EntryId, Kind, Ledger, Obligation, State};
use staunch_scope::{Context, Scope, Wait, current_task};
use tokio::{
    net::{TcpSocket, TcpStream, ToSocketAddrs, UnixStream, lookup_host},
    sync::Notify,
    time::timeout,
};

use crate::{
    activity::Reading,
    connection::Connection,
    dial::{DialError, DialOptions, race},
    limits::Limits,
    listening::Listening,
    socket::Socket,
    tls::{self, TlsConnection, TlsTrust},
};

/// Dials connections that share buffers and a watchdog.
///
/// For a single connection there are [`dial_tcp`](crate::dial_tcp),
/// [`dial_unix`](crate::dial_unix) and [`dial_tls`](crate::dial_tls).
///
/// # Examples
/// ```no_run
/// use staunch_net::{DialOptions, Dialer, Limits};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
///     let connection = dialer.tcp(s.context(), "cache.internal:11211").await?;
///     connection.write_all([b"version\r\n"]).await?;
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Dialer {
    shared: Arc<Listening>,
    options: DialOptions,
    /// The scope that connections belong to; without one, each belongs to the task that dials it.
    owner: Option<EntryId>,
    /// Told when the dialer is dropped.
    abandoned: Arc<Notify>,
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.abandoned.notify_one();
    }
}

impl Dialer {
    /// Dials connections that nobody watches: whoever uses them must look after stalls. Each
    /// belongs to the task that dials it, and has broken its promise when it outlives the task.
    #[track_caller]
    pub fn unwatched(options: DialOptions) -> Dialer {
        Dialer::new(None, options, Limits::none())
    }

    /// Dials connections that nobody watches, and that belong to `scope`, whoever dials them: for
    /// what is handed from task to task, as by a pool.
    #[track_caller]
    pub fn owned<E: Send + 'static>(scope: &Scope<E>, options: DialOptions) -> Dialer {
        Dialer::new(Some(scope.id()), options, Limits::none())
    }

    /// Dials connections that are watched within `limits`: those for `idle`, `read_stall`,
    /// `write_stall`, `min_send_rate` and `lifetime`, as for a listener.
    ///
    /// The watchdog is a daemon of `scope`, born on the caller's line: it does not keep the scope from
    /// ending, whoever keeps the dialer. It ends with the scope, or with the dialer and the last of its
    /// connections.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn watched<E: Send + 'static>(
        scope: &Scope<E>,
        options: DialOptions,
        limits: Limits,
    ) -> Dialer {
        let dialer = Dialer::new(Some(scope.id()), options, limits);
        let watch = watch(Arc::clone(&dialer.shared), Arc::clone(&dialer.abandoned));
        scope.spawn_daemon_at(Location::caller(), async {
            watch.await;
            Ok(())
        });
        dialer
    }

    #[track_caller]
    fn new(owner: Option<EntryId>, options: DialOptions, limits: Limits) -> Dialer {
        let shared = Arc::new(Listening::new(limits));
        Dialer { shared, options, owner, abandoned: Arc::default() }
    }

    /// Dials a TCP address or `host:port`.
    ///
    /// Names are resolved by `getaddrinfo(3)` on tokio's threads for blocking work, which cannot
    /// be interrupted: a lookup that nobody waits for any more ends by the resolver's own
    /// timeout.
    ///
    /// # Errors
    /// [`DialError`], one line that says what to do; with several addresses, what was wrong with
    /// the first of them.
    ///
    /// # Cancel safety
    /// Cancel safe: attempts are closed. Ends early when `context` is cancelled or the task is
    /// asked to stop.
    #[track_caller]
    pub fn tcp<A: ToSocketAddrs + fmt::Display>(
        &self,
        context: &Context,
        address: A,
    ) -> impl Future<Output = Result<Connection, DialError>> + use<'_, A> {
        self.tcp_at(Location::caller(), context.clone(), address)
    }

    /// Dials whichever of `addresses` answers first, in the order of RFC 8305: the families in
    /// turn, each [`stagger`](DialOptions::stagger) after the one before. For those who have
    /// resolved `name`, which errors tell, by themselves.
    ///
    /// # Errors
    /// As [`Dialer::tcp`].
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    #[track_caller]
    pub fn tcp_any(
        &self,
        context: &Context,
        name: &str,
        addresses: &[SocketAddr],
    ) -> impl Future<Output = Result<Connection, DialError>> + use<'_> {
        let (born_at, context) = (Location::caller(), context.clone());
        let (target, addresses) = (name.to_owned(), addresses.to_owned());
        async move {
            let dial = self.connect(born_at, &target, &*addresses);
            self.bounded(&context, &target, dial).await
        }
    }

    /// Dials a Unix socket.
    ///
    /// # Errors
    /// [`DialError`], one line that says what to do.
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    #[track_caller]
    pub fn unix<P: AsRef<Path>>(
        &self,
        context: &Context,
        path: P,
    ) -> impl Future<Output = Result<Connection, DialError>> + use<'_, P> {
        self.unix_at(Location::caller(), context.clone(), path)
    }

    /// Dials a TCP address or `host:port`, and speaks TLS with it. The server must prove to be
    /// `server_name`, a DNS name or an IP address, to one of the roots of `trust`.
    ///
    /// # Errors
    /// [`DialError`], one line that says what to do.
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    #[track_caller]
    pub fn tls<A: ToSocketAddrs + fmt::Display>(
        &self,
        context: &Context,
        address: A,
        server_name: &str,
        trust: &TlsTrust,
    ) -> impl Future<Output = Result<TlsConnection, DialError>> + use<'_, A> {
        let peer = (server_name.to_owned(), trust.clone());
        self.tls_at(Location::caller(), context.clone(), address, peer)
    }

    /// Speaks TLS on a connection that it has dialled, and on which something was said in plain
    /// before. `address` is whom errors name; the server must prove to be `server_name`, a DNS name
    /// or an IP address, to one of the roots of `trust`.
    ///
    /// # Errors
    /// [`DialError`], one line that says what to do.
    ///
    /// # Cancel safety
    /// Not cancel safe: the connection is lost with the future.
    pub async fn secure(
        &self,
        context: &Context,
        connection: Connection,
        address: &str,
        server_name: &str,
        trust: &TlsTrust,
    ) -> Result<TlsConnection, DialError> {
        let secured = async {
            let name = ServerName::try_from(server_name.to_owned())
                .map_err(|_| DialError::ServerName { name: server_name.to_owned() })?;
            secure(connection, address, name, trust).await
        };
        self.bounded(context, address, secured).await
    }

    /// [`Dialer::tcp`] on behalf of somebody else's line: for wrappers, whose own line would say
    /// nothing.
    ///
    /// # Errors
    /// As [`Dialer::tcp`].
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    pub async fn tcp_at<A: ToSocketAddrs + fmt::Display>(
        &self,
        born_at: &'static Location<'static>,
        context: Context,
        address: A,
    ) -> Result<Connection, DialError> {
        let target = address.to_string();
        self.bounded(&context, &target, self.connect(born_at, &target, address)).await
    }

    /// [`Dialer::unix`] on behalf of somebody else's line.
    ///
    /// # Errors
    /// As [`Dialer::unix`].
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    pub async fn unix_at<P: AsRef<Path>>(
        &self,
        born_at: &'static Location<'static>,
        context: Context,
        path: P,
    ) -> Result<Connection, DialError> {
        let target = format!("unix:{}", path.as_ref().display());
        self.bounded(&context, &target, self.connect_unix(born_at, &target, path.as_ref())).await
    }

    /// [`Dialer::tls`] on behalf of somebody else's line; `peer` is the server's name and whom to
    /// trust.
    ///
    /// # Errors
    /// As [`Dialer::tls`].
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    pub async fn tls_at<A: ToSocketAddrs + fmt::Display>(
        &self,
        born_at: &'static Location<'static>,
        context: Context,
        address: A,
        (server_name, trust): (String, TlsTrust),
    ) -> Result<TlsConnection, DialError> {
        let target = address.to_string();
        let secure = async {
            let name = ServerName::try_from(server_name.clone())
                .map_err(|_| DialError::ServerName { name: server_name })?;
            let connection = self.connect(born_at, &target, address).await?;
            secure(connection, &target, name, &trust).await
        };
        self.bounded(&context, &target, secure).await
    }

    /// Runs `dial` until it ends, the time is over, or nobody wants it any more.
    pub(super) async fn bounded<T>(
        &self,
        context: &Context,
        target: &str,
        dial: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        let limit = self.options.timeout;
        // In memory of its own: it is large, and over soon.
        let mut dial = pin!(context.run(timeout(limit, Box::pin(dial))));
        let mut wait = Wait::new();
        let dialled =
            poll_fn(|cx| wait.poll(cx, State::Handshake, |cx| dial.as_mut().poll(cx))).await??;
        dialled.map_err(|_| DialError::TimedOut { address: target.to_owned(), limit })?
    }

    pub(super) async fn connect<A: ToSocketAddrs>(
        &self,
        born_at: &'static Location<'static>,
        target: &str,
        address: A,
    ) -> Result<Connection, DialError> {
        let unresolved = |source| DialError::Unresolved { address: target.to_owned(), source };
        let addresses = lookup_host(address).await.map_err(unresolved)?;
        let attempts = race::interleave(addresses.collect())
            .into_iter()
            .map(|address| self.attempt(born_at, target, address));
        match race::race(attempts, self.options.stagger).await {
            Some(connected) => {
                let (stream, account) = connected?;
                Ok(self.own(Socket::Tcp(stream), account))
            }
            None => Err(unresolved(io::Error::other("the name has no address"))),
        }
    }

    /// One address of a target.
    async fn attempt(
        &self,
        born_at: &'static Location<'static>,
        target: &str,
        address: SocketAddr,
    ) -> Result<(TcpStream, Account), DialError> {
        let account = self.account(born_at);
        account.peer(address);
        let connected = async {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            account.set_fd(socket.as_raw_fd());
            self.options.socket.apply(&socket)?;
            socket.connect(address).await
        };
        match connected.await {
            Ok(stream) => Ok((stream, account)),
            Err(error) => Err(DialError::connect(target, Some(address), error)),
        }
    }

    async fn connect_unix(
        &self,
        born_at: &'static Location<'static>,
        target: &str,
        path: &Path,
    ) -> Result<Connection, DialError> {
        let account = self.account(born_at);
        account.label(target);
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(self.own(Socket::Unix(stream), account)),
            Err(error) => Err(DialError::connect(target, None, error)),
        }
    }

    /// The entry of an attempt.
    fn account(&self, born_at: &'static Location<'static>) -> Account {
        // The timeout ends it; a promise broken means that it did not.
        let late = self.options.timeout.saturating_add(Duration::from_secs(5));
        let obligation = Obligation::EndsBy(Deadline::after(late));
        let owner = self.owner.or_else(current_task);
        let account = Ledger::current().open_at(born_at, Kind::CONNECTION, obligation, owner);
        account.set_state(State::Handshake);
        account
    }

    /// From here on it is a connection like any other. There is no first byte to wait for: it
    /// may be meant for later.
    fn own(&self, socket: Socket, account: Account) -> Connection {
        account.set_obligation(self.shared.limits().obligation());
        account.set_state(State::Idle);
        let admitted = self.shared.admission().admit_anybody();
        Connection::new(socket, account, &self.shared, admitted, Reading::Unused)
    }
}

/// The server must prove to be `name`.
pub(super) async fn secure(
    connection: Connection,
    target: &str,
    name: ServerName<'static>,
    trust: &TlsTrust,
) -> Result<TlsConnection, DialError> {
    let secured = tls::connect(connection, name, trust.client()).await;
    secured.map_err(|error| DialError::handshake(target, error))
}

/// Looks after a dialer's connections until the task is asked to stop, or there is neither a
/// dialer nor a connection any more.
async fn watch(shared: Arc<Listening>, abandoned: Arc<Notify>) {
    let last_left = async {
        abandoned.notified().await;
        shared.admission().room(Some(1)).await;
    };
    let mut work = pin!(async {
        tokio::select! {
            never = shared.watch() => match never {},
            () = last_left => {}
        }
    });
    let mut wait = Wait::new();
    // Either way there is no more to do.
    let _ = poll_fn(|cx| wait.poll(cx, State::Sleep, |cx| work.as_mut().poll(cx))).await;
}
