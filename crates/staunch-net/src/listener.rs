//! Listeners: bind, accept, serve, drain.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    panic::Location,
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use staunch_ledger::{Account, EntryId, Kind, Ledger, Obligation, State};
use staunch_scope::{
    Context, Forced, Isolate, Scope, ScopeBuilder, Wait, serve_subject, with_current_account,
};

use crate::{
    activity::Reading,
    admission::{Admitted, Source},
    bind_error::BindError,
    connection::Connection,
    control::{Control, Refuses},
    handover::{InheritedSockets, KeptFile, SharedSocket},
    limits::Limits,
    listening::Listening,
    observe::observe,
    options::SocketOptions,
    proxied::{Proxies, introduced},
    socket::Socket,
};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What is written is no endpoint.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no endpoint: write an address with its port, as 127.0.0.1:9000 or [::1]:9000, or unix:PATH"
)]
pub struct ParseEndpointError {
    text: String,
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    /// An IP address with its port, or `unix:` and a path.
    fn from_str(text: &str) -> Result<Endpoint, ParseEndpointError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Endpoint::Unix(path.into())),
            _ => {
                let address = text.parse();
                address.map(Endpoint::Tcp).map_err(|_| ParseEndpointError { text: text.to_owned() })
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket that connections can be accepted from.
///
/// # Examples
/// ```
/// use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
/// use staunch_scope::Context;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::Tcp("127.0.0.1:0".parse()?);
/// let listener = Listener::bind(&endpoint, &SocketOptions::default(), Limits::default())?;
/// let (context, cancel) = Context::background().with_cancel();
/// cancel.cancel(); // at once, since this is an example
/// let served = listener
///     .serve(&context, |connection| async move {
///         let mut lines = connection.lines();
///         while let Some(line) = lines.next().await? {
///             connection.write_all([b"Echo: ", line.trim_ascii(), b"\n"]).await?;
///         }
///         Ok::<_, staunch_net::ReadLineError>(())
///     })
///     .await;
/// assert_eq!(served.accepted, 0);
/// # Ok(())
/// # }
/// ```
pub struct Listener {
    socket: ListenerSocket,
    endpoint: Endpoint,
    account: Account,
    listening: Arc<Listening>,
    refuses: Option<Box<Refuses>>,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, Arc<UnlinkOnDrop>),
}

/// A bound socket that listens, but belongs to no runtime yet: it can be handed to the thread of the
/// one that is to accept from it.
///
/// # Examples
/// ```
/// use staunch_net::{Endpoint, Limits, SocketOptions, UnattachedListener};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::Tcp("127.0.0.1:0".parse()?);
/// let (options, limits) = (SocketOptions::default(), Limits::default());
/// let each = UnattachedListener::bind_each(&endpoint, &options, limits, 2)?;
/// assert_eq!(each[0].endpoint(), each[1].endpoint());
/// for listener in each {
///     std::thread::spawn(move || {
///         let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
///         let _entered = runtime.enter();
///         listener.attach().map(drop) // and serve
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UnattachedListener {
    socket: UnattachedSocket,
    endpoint: Endpoint,
    account: Account,
    listening: Arc<Listening>,
}

#[derive(Debug)]
enum UnattachedSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, Arc<UnlinkOnDrop>),
}

/// Removes the socket's file with its listener.
#[derive(Debug)]
struct UnlinkOnDrop(PathBuf, KeptFile);

impl Drop for UnlinkOnDrop {
    fn drop(&mut self) {
        if !self.1.is_kept() {
            let _ = std::fs::remove_file(&self.0); // somebody may have been quicker
        }
    }
}

/// What a listener did, once it is drained.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Served {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections reset because their address had too many, or while connections were refused
    /// ([`Listener::refuse_while`]).
    pub refused: u64,
    /// Connections that did not end within the drain deadline and were cut.
    pub cut: Vec<Forced>,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// [`BindError`], one line that says what to do.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn bind(
        endpoint: &Endpoint,
        options: &SocketOptions,
        limits: Limits,
    ) -> Result<Listener, BindError> {
        let unattached = UnattachedListener::bind(endpoint, options, limits)?;
        unattached.attach().map_err(|error| BindError::new(endpoint, error))
    }

    /// As [`Listener::bind`], by a socket of a predecessor if there is one that listens there.
    ///
    /// # Errors
    /// [`BindError`], one line that says what to do.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn bind_or_inherit(
        endpoint: &Endpoint,
        options: &SocketOptions,
        limits: Limits,
        inherited: &mut InheritedSockets,
    ) -> Result<Listener, BindError> {
        let mut each = UnattachedListener::inherit_each(endpoint, options, &limits, inherited)?;
        match each.pop() {
            Some(one) => one.attach().map_err(|error| BindError::new(endpoint, error)),
            None => Listener::bind(endpoint, options, limits),
        }
    }

    /// Its socket once more, to be handed to a successor.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    #[track_caller]
    pub fn share(&self) -> io::Result<SharedSocket> {
        match &self.socket {
            ListenerSocket::Tcp(listener) => shared(listener.as_fd(), &self.endpoint, None),
            ListenerSocket::Unix(listener, unlink) => {
                shared(listener.as_fd(), &self.endpoint, Some(unlink))
            }
        }
    }

    /// Its entry on the ledger.
    pub fn id(&self) -> EntryId {
        self.account.id()
    }

    /// Where it listens, with the port that the system chose.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A way to ask something of it while it serves.
    pub fn control(&self) -> Control {
        Control::new(&self.listening)
    }

    /// Resets connections as soon as they are accepted, as long as `refuses` says so: it is asked for
    /// each, and must be quick. A peer is told at once so, rather than wait in the kernel's backlog.
    #[must_use]
    pub fn refuse_while(self, refuses: impl Fn() -> bool + Send + Sync + 'static) -> Listener {
        Listener { refuses: Some(Box::new(refuses)), ..self }
    }

    /// Believes peers whose address `believes` takes when they say for whom they speak: each of their
    /// connections must begin with a [`ProxyHeader`](crate::ProxyHeader), within
    /// [`Limits::handshake`]. Limits count it for the client that it names, and
    /// [`Connection::peer`] is that client; over TLS the header comes before the handshake. Whom it
    /// does not take, is not asked; who says nothing of the kind although it is asked, is reset.
    ///
    /// Whoever can connect from such an address can pretend to be anybody.
    #[must_use]
    pub fn believe_proxies(
        self,
        believes: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Listener {
        self.listening.believe(Proxies::new(believes));
        self
    }

    /// Accepts connections and runs `handler` for each, until `context` is cancelled; then
    /// drains: stops accepting, asks the handlers to stop, waits up to the drain deadline, cuts
    /// who is left, and says whom.
    ///
    /// An error of a handler is logged and is the connection's own affair; so is a panic.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener at once and leaves the connections the drain deadline.
    #[track_caller]
    pub fn serve<H, F, E>(
        self,
        context: &Context,
        handler: H,
    ) -> impl Future<Output = Served> + use<H, F, E>
    where
        H: Fn(Connection) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let nothing_else = |_| std::future::pending();
        serve_introduced(self, context.clone(), Location::caller(), Arc::new(handler), nothing_else)
    }
}

impl UnattachedListener {
    /// Binds and listens.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    #[track_caller]
    pub fn bind(
        endpoint: &Endpoint,
        options: &SocketOptions,
        limits: Limits,
    ) -> Result<UnattachedListener, BindError> {
        UnattachedListener::bind_as(endpoint, options, Listening::new(limits))
    }

    /// Binds `count` sockets that listen on one address, among which the kernel spreads connections
    /// (`SO_REUSEPORT`; one Unix socket is shared instead). They have the limits of one listener: those
    /// that count connections and buffers count all of them together, and a burst may go beyond the most
    /// connections by one for each further socket.
    ///
    /// Unless `options` let others share the address, that another process listens on it is an error,
    /// as it is for a single socket.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    #[track_caller]
    pub fn bind_each(
        endpoint: &Endpoint,
        options: &SocketOptions,
        limits: Limits,
        count: usize,
    ) -> Result<Vec<UnattachedListener>, BindError> {
        if let (Endpoint::Tcp(address), false) = (endpoint, options.reuse_port)
            && address.port() != 0
        {
            drop(UnattachedListener::bind(endpoint, options, limits.clone())?); // nobody has it
        }
        let options =
            SocketOptions { reuse_port: count > 1 || options.reuse_port, ..options.clone() };
        let mut each = Vec::with_capacity(count);
        each.push(UnattachedListener::bind(endpoint, &options, limits)?);
        while each.len() < count {
            let next = each[0].another(&options)?;
            each.push(next);
        }
        Ok(each)
    }

    /// As [`UnattachedListener::bind_each`], by the sockets of a predecessor that listen there. If it
    /// had more of them than `count`, there are more.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    #[track_caller]
    pub fn bind_or_inherit_each(
        endpoint: &Endpoint,
        options: &SocketOptions,
        limits: Limits,
        count: usize,
        inherited: &mut InheritedSockets,
    ) -> Result<Vec<UnattachedListener>, BindError> {
        let mut each = UnattachedListener::inherit_each(endpoint, options, &limits, inherited)?;
        if each.is_empty() {
            return UnattachedListener::bind_each(endpoint, options, limits, count);
        }
        // One that has no share of the port is shared itself.
        while each.len() < count {
            let next = each[0].again()?;
            each.push(next);
        }
        Ok(each)
    }

    /// Those of a predecessor; none, if it had none there.
    #[track_caller]
    fn inherit_each(
        endpoint: &Endpoint,
        options: &SocketOptions,
        limits: &Limits,
        inherited: &mut InheritedSockets,
    ) -> Result<Vec<UnattachedListener>, BindError> {
        let mut each: Vec<UnattachedListener> = Vec::new();
        for fd in inherited.take_streams(endpoint) {
            let listening = match each.first() {
                Some(first) => first.listening.sharing(),
                None => Listening::new(limits.clone()),
            };
            let unlink = match (endpoint, each.first().map(|first| &first.socket)) {
                (Endpoint::Unix(_), Some(UnattachedSocket::Unix(_, unlink))) => {
                    Some(Arc::clone(unlink))
                }
                (Endpoint::Unix(path), _) => {
                    Some(Arc::new(UnlinkOnDrop(path.clone(), inherited.file())))
                }
                (Endpoint::Tcp(_), _) => None,
            };
            let socket = inherit(fd, unlink, options);
            let socket = socket.map_err(|error| BindError::new(endpoint, error))?;
            each.push(UnattachedListener::owned(socket, endpoint.clone(), account(), listening));
        }
        Ok(each)
    }

    /// The same socket, for somebody else to accept from.
    #[track_caller]
    fn again(&self) -> Result<UnattachedListener, BindError> {
        let socket = match &self.socket {
            UnattachedSocket::Tcp(socket) => socket.try_clone().map(UnattachedSocket::Tcp),
            UnattachedSocket::Unix(socket, unlink) => {
                socket.try_clone().map(|socket| UnattachedSocket::Unix(socket, Arc::clone(unlink)))
            }
        };
        let socket = socket.map_err(|error| BindError::new(&self.endpoint, error))?;
        let listening = self.listening.sharing();
        Ok(UnattachedListener::owned(socket, self.endpoint.clone(), account(), listening))
    }

    /// Its socket once more, to be handed to a successor.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    #[track_caller]
    pub fn share(&self) -> io::Result<SharedSocket> {
        match &self.socket {
            UnattachedSocket::Tcp(listener) => shared(listener.as_fd(), &self.endpoint, None),
            UnattachedSocket::Unix(listener, unlink) => {
                shared(listener.as_fd(), &self.endpoint, Some(unlink))
            }
        }
    }

    /// One more on the same address.
    #[track_caller]
    fn another(&self, options: &SocketOptions) -> Result<UnattachedListener, BindError> {
        let listening = self.listening.sharing();
        match &self.socket {
            UnattachedSocket::Tcp(_) => {
                UnattachedListener::bind_as(&self.endpoint, options, listening)
            }
            UnattachedSocket::Unix(..) => self.again(),
        }
    }

    #[track_caller]
    fn bind_as(
        endpoint: &Endpoint,
        options: &SocketOptions,
        listening: Listening,
    ) -> Result<UnattachedListener, BindError> {
        let account = account();
        let bound = match endpoint {
            Endpoint::Tcp(address) => bind_tcp(*address, options),
            Endpoint::Unix(path) => bind_unix(path, options),
        };
        let bound = bound.and_then(|socket| {
            let endpoint = match &socket {
                UnattachedSocket::Tcp(listener) => Endpoint::Tcp(listener.local_addr()?),
                UnattachedSocket::Unix(..) => endpoint.clone(),
            };
            Ok((socket, endpoint))
        });
        let (socket, actual) = bound.map_err(|error| BindError::new(endpoint, error))?;
        Ok(UnattachedListener::owned(socket, actual, account, listening))
    }

    fn owned(
        socket: UnattachedSocket,
        endpoint: Endpoint,
        account: Account,
        listening: Listening,
    ) -> UnattachedListener {
        account.set_fd(match &socket {
            UnattachedSocket::Tcp(listener) => listener.as_raw_fd(),
            UnattachedSocket::Unix(listener, _) => listener.as_raw_fd(),
        });
        account.label(&endpoint.to_string());
        account.set_state(State::Accept);
        UnattachedListener { socket, endpoint, account, listening: Arc::new(listening) }
    }

    /// Where it listens, with the port that the system chose.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Hands it to the runtime of the running thread.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach(self) -> io::Result<Listener> {
        let UnattachedListener { socket, endpoint, account, listening } = self;
        let socket = match socket {
            UnattachedSocket::Tcp(listener) => {
                ListenerSocket::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            UnattachedSocket::Unix(listener, unlink) => {
                ListenerSocket::Unix(tokio::net::UnixListener::from_std(listener)?, unlink)
            }
        };
        Ok(Listener { socket, endpoint, account, listening, refuses: None })
    }
}

/// A socket once more; `unlink` removes its file.
#[track_caller]
fn shared(
    socket: BorrowedFd<'_>,
    endpoint: &Endpoint,
    unlink: Option<&Arc<UnlinkOnDrop>>,
) -> io::Result<SharedSocket> {
    let account = Ledger::current()
        .open(Kind::LISTENER, Obligation::Perpetual("kept to be handed to a successor"));
    let fd = socket.try_clone_to_owned()?;
    account.set_fd(fd.as_raw_fd());
    account.label(&endpoint.to_string());
    Ok(SharedSocket::new(fd, account, unlink.map(|unlink| unlink.1.clone())))
}

/// A socket of a predecessor, with options of our own.
fn inherit(
    fd: OwnedFd,
    unlink: Option<Arc<UnlinkOnDrop>>,
    options: &SocketOptions,
) -> io::Result<UnattachedSocket> {
    let socket = RawSocket::from(fd);
    if unlink.is_none() {
        options.apply(&socket)?;
    }
    socket.listen(options.backlog.cast_signed())?;
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(match unlink {
        None => UnattachedSocket::Tcp(socket.into()),
        Some(unlink) => UnattachedSocket::Unix(socket.into(), unlink),
    })
}

/// The entry of a socket that listens.
#[track_caller]
fn account() -> Account {
    Ledger::current().open(Kind::LISTENER, Obligation::Perpetual("accepts until it is drained"))
}

/// As [`serve`]; those that are handed on say first whose they are. Others hold nothing for that.
pub(crate) async fn serve_introduced<H, F, E, M>(
    listener: Listener,
    context: Context,
    born_at: &'static Location<'static>,
    handler: Arc<H>,
    meanwhile: impl FnOnce(Scope<Infallible>) -> M,
) -> Served
where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
    M: Future<Output = ()>,
{
    if listener.listening.proxies().is_none() {
        return serve(listener, context, born_at, handler, meanwhile).await;
    }
    let handle = move |connection| introduced(connection, Arc::clone(&handler));
    serve(listener, context, born_at, Arc::new(handle), meanwhile).await
}

/// `meanwhile` is what else there is to do as long as connections are accepted.
async fn serve<H, F, E, M>(
    listener: Listener,
    context: Context,
    born_at: &'static Location<'static>,
    handler: Arc<H>,
    meanwhile: impl FnOnce(Scope<Infallible>) -> M,
) -> Served
where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
    M: Future<Output = ()>,
{
    let listening = Arc::clone(&listener.listening);
    let mut counts = (0, 0);
    let serving = ScopeBuilder::<Infallible>::new(&context)
        .policy(Isolate)
        .grace(listening.limits().drain)
        .max_children(max_handlers(listening.limits()))
        .run(async |scope| {
            let mut accepting = Accepting { listener, pause: None, accepted: 0, refused: 0 };
            let work = async {
                while let Ok((socket, peer)) = accepting.next().await {
                    let Some(admitted) = accepting.admit(peer) else {
                        let _ = socket.abort(); // the peer may have gone meanwhile
                        continue;
                    };
                    let connection = accepting.own(&scope, born_at, socket, peer, admitted);
                    start(&scope, born_at, connection, &handler);
                }
            };
            tokio::select! {
                biased; // a flood of connections takes all there is of a poll: it comes last
                () = meanwhile(scope.clone()) => {}
                () = work => {}
            }
            counts = (accepting.accepted, accepting.refused);
            drop(accepting); // stops accepting before the handlers are asked
            Ok(())
        });
    // Outside the scope: peers may stall while it drains, too.
    let ended = tokio::select! {
        biased;
        never = listening.watch() => match never {},
        ended = serving => ended,
    };
    Served { accepted: counts.0, refused: counts.1, cut: ended.forced }
}

/// Twice as many as connections: a handler may outlive its connection for a while.
fn max_handlers(limits: &Limits) -> usize {
    limits.connections.map_or(usize::MAX, |most| most.saturating_mul(2))
}

/// Starts the handler of one connection.
fn start<H, F, E>(
    scope: &Scope<Infallible>,
    born_at: &'static Location<'static>,
    connection: Connection,
    handler: &Arc<H>,
) where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let handler = Arc::clone(handler);
    scope.spawn_at(born_at, Serving::Accepted { connection: Some(connection), handler });
}

pin_project! {
    /// The task of one connection. By hand, since an `async` block would hold room for the
    /// connection, the handler and the handler's future all the time.
    #[project = ServingProjection]
    enum Serving<H, F> {
        Accepted { connection: Option<Connection>, handler: Arc<H> },
        Handled { #[pin] handling: F },
    }
}

impl<H, F, E> Future for Serving<H, F>
where
    H: Fn(Connection) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        if let ServingProjection::Accepted { connection, handler } = self.as_mut().project() {
            let Some(connection) = connection.take() else { return Poll::Ready(Ok(())) };
            serve_subject(connection.id());
            if let Ok(Some(peer)) = connection.peer() {
                with_current_account(|task| task.peer(peer));
            }
            let handling = handler(connection);
            self.set(Serving::Handled { handling });
        }
        if let ServingProjection::Handled { handling } = self.project()
            && let Err(error) = ready!(handling.poll(cx))
        {
            tracing::debug!(%error, "connection ended");
        }
        Poll::Ready(Ok(()))
    }
}

/// The accept loop's own state.
struct Accepting {
    listener: Listener,
    /// The pause after the last failure; doubles while accepting fails.
    pause: Option<Duration>,
    accepted: u64,
    refused: u64,
}

/// Pauses while the process or the system is out of file descriptors: long enough not to burn a
/// core, short enough to be back at once.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Accepting {
    /// The next connection; an error once the task is asked to stop.
    async fn next(&mut self) -> Result<(Socket, Option<SocketAddr>), staunch_scope::Cancelled> {
        let mut wait = Wait::new();
        let listening = Arc::clone(&self.listener.listening);
        loop {
            let mut room =
                std::pin::pin!(listening.admission().room(listening.limits().connections));
            poll_fn(|cx| wait.poll(cx, State::Accept, |cx| room.as_mut().poll(cx))).await?;
            match poll_fn(|cx| wait.poll(cx, State::Accept, |cx| self.listener.poll_accept(cx)))
                .await?
            {
                Ok(accepted) => {
                    self.pause = None;
                    return Ok(accepted);
                }
                Err(error) if out_of_resources(&error) => self.back_off(&mut wait, &error).await?,
                // The peer left before it was accepted: its affair (accept(2)).
                Err(error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            }
        }
    }

    async fn back_off(
        &mut self,
        wait: &mut Wait,
        error: &io::Error,
    ) -> Result<(), staunch_scope::Cancelled> {
        if self.pause.is_none() {
            let endpoint = &self.listener.endpoint;
            tracing::error!(%endpoint, %error, "cannot accept: backing off; raise the limit of open files (ulimit -n) or lower `connections`");
            let listener = &self.listener.account;
            let text = format!("{error} on {endpoint}");
            observe(listener.ledger(), listener.id(), "cannot-accept", text);
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        let mut sleep = std::pin::pin!(tokio::time::sleep(pause));
        poll_fn(|cx| wait.poll(cx, State::Sleep, |cx| sleep.as_mut().poll(cx))).await
    }

    /// A place in the counts; `None` refuses the connection.
    fn admit(&mut self, peer: Option<SocketAddr>) -> Option<Admitted> {
        if self.listener.refuses.as_ref().is_some_and(|refuses| refuses()) {
            self.refused += 1;
            tracing::debug!(peer = ?peer, "refused: no connections are taken for the time being");
            return None;
        }
        let listening = &self.listener.listening;
        let most = listening.limits().connections_per_ip;
        let proxies = listening.proxies();
        let is_handed_on = |ip| proxies.is_some_and(|proxies| proxies.believes(ip));
        // Who is handed on is counted once it is known who it is.
        let source = peer.filter(|it| !is_handed_on(it.ip())).map(|it| Source::of(it.ip()));
        let admitted = listening.admission().admit(source, most);
        if admitted.is_some() {
            self.accepted += 1;
        } else {
            self.refused += 1;
            tracing::debug!(peer = ?peer, "refused: too many connections from this address");
        }
        admitted
    }

    /// From here on the socket is a connection: owned, counted, watched.
    fn own(
        &self,
        scope: &Scope<Infallible>,
        born_at: &'static Location<'static>,
        socket: Socket,
        peer: Option<SocketAddr>,
        admitted: Admitted,
    ) -> Connection {
        let listening = &self.listener.listening;
        let obligation = listening.limits().obligation();
        let ledger = self.listener.account.ledger();
        let account = ledger.open_at(born_at, Kind::CONNECTION, obligation, Some(scope.id()));
        if let Some(peer) = peer {
            account.peer(peer);
        }
        Connection::new(socket, account, listening, admitted, Reading::New)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Poller<'_>) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        match &self.socket {
            ListenerSocket::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| (Socket::Tcp(stream), Some(peer)))
            }
            ListenerSocket::Unix(listener, _) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (Socket::Unix(stream), None))
            }
        }
    }
}

/// Whether nobody can accept for the moment: out of file descriptors or memory.
fn out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

fn bind_tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<UnattachedSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // connections in TIME_WAIT do not block a restart
    socket.set_reuse_port(options.reuse_port)?;
    options.apply(&socket)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(options.backlog.cast_signed())?;
    socket.set_nonblocking(true)?;
    Ok(UnattachedSocket::Tcp(socket.into()))
}

fn bind_unix(path: &Path, options: &SocketOptions) -> io::Result<UnattachedSocket> {
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let unlink = UnlinkOnDrop(path.to_owned(), KeptFile::default());
    socket.listen(options.backlog.cast_signed())?;
    socket.set_nonblocking(true)?;
    Ok(UnattachedSocket::Unix(socket.into(), Arc::new(unlink)))
}

/// Removes the file of a Unix socket that nobody listens on any more. `connect(2)` refuses an
/// ordinary file as it refuses a dead socket, so the file is looked at first.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return Ok(()); // nothing there, or none of ours: `bind` will tell
    }
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?; // a full backlog must not hold us up
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()), // alive: `bind` will tell
    }
}
