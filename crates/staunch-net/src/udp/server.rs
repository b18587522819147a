//! The server: bind, serve, drain.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    panic::Location,
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use staunch_ledger::{Account, Kind, Ledger, Obligation, State};
use staunch_scope::{Context, Forced, Isolate, Scope, ScopeBuilder, serve_subject};
use tokio::{net::UdpSocket, sync::OwnedSemaphorePermit};

use crate::{
    bind_error::BindError,
    control::Refuses,
    handover::{InheritedSockets, SharedSocket},
    udp::{
        UdpCounts, UdpLimits, UdpOptions,
        datagram::{Bound, Datagram},
        known::Known,
        receiving::Receiving,
    },
};

/// A bound UDP socket whose datagrams can be handled.
///
/// # Examples
/// ```
/// use staunch_net::{Datagram, UdpLimits, UdpOptions, UdpServer};
/// use staunch_scope::Context;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let address = "127.0.0.1:0".parse()?;
/// let server = UdpServer::bind(address, &UdpOptions::default(), UdpLimits::default())?;
/// let (context, cancel) = Context::background().with_cancel();
/// cancel.cancel(); // at once, since this is an example
/// let served = server.serve(&context, |datagram: Datagram| async move {
///     datagram.reply(datagram.bytes()).await
/// });
/// assert_eq!(served.await.received, 0);
/// # Ok(())
/// # }
/// ```
pub struct UdpServer {
    bound: Arc<Bound>,
    address: SocketAddr,
    limits: UdpLimits,
    counts: UdpCounts,
    refuses: Option<Box<Refuses>>,
}

/// What a UDP server did, once it is drained.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct UdpServed {
    /// Datagrams handed to the handler.
    pub received: u64,
    /// Datagrams dropped because they were too long.
    pub oversize: u64,
    /// Datagrams of new peers, dropped because none were taken
    /// ([`UdpServer::refuse_while`]).
    pub refused: u64,
    /// Peers forgotten before their time to make room for new ones.
    pub evicted: u64,
    /// Handlers that did not end within the drain deadline and were cut.
    pub cut: Vec<Forced>,
}

impl UdpServer {
    /// Binds the socket.
    ///
    /// # Errors
    /// [`BindError`], one line that says what to do.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn bind(
        address: SocketAddr,
        options: &UdpOptions,
        limits: UdpLimits,
    ) -> Result<UdpServer, BindError> {
        let account = account();
        let failed = |error| BindError::new(&format_args!("udp:{address}"), error);
        let socket = bind(address, options).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(UdpServer::owned(socket, account, address, limits))
    }

    /// As [`UdpServer::bind`], by the socket of a predecessor if there is one that receives there.
    ///
    /// # Errors
    /// [`BindError`], one line that says what to do.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn bind_or_inherit(
        address: SocketAddr,
        options: &UdpOptions,
        limits: UdpLimits,
        inherited: &mut InheritedSockets,
    ) -> Result<UdpServer, BindError> {
        let Some(fd) = inherited.take_datagram(address) else {
            return UdpServer::bind(address, options, limits);
        };
        let socket = RawSocket::from(fd);
        let attach = || {
            socket.set_nonblocking(true)?;
            socket.set_cloexec(true)?;
            UdpSocket::from_std(socket.into())
        };
        let socket =
            attach().map_err(|error| BindError::new(&format_args!("udp:{address}"), error))?;
        Ok(UdpServer::owned(socket, account(), address, limits))
    }

    /// Its socket once more, to be handed to a successor.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    #[track_caller]
    pub fn share(&self) -> io::Result<SharedSocket> {
        let account = Ledger::current()
            .open(Kind::LISTENER, Obligation::Perpetual("kept to be handed to a successor"));
        let fd = self.bound.socket.as_fd().try_clone_to_owned()?;
        account.set_fd(fd.as_raw_fd());
        account.label(&format!("udp:{}", self.address));
        Ok(SharedSocket::new(fd, account, None))
    }

    fn owned(
        socket: UdpSocket,
        account: Account,
        address: SocketAddr,
        limits: UdpLimits,
    ) -> UdpServer {
        account.set_fd(socket.as_raw_fd());
        account.label(&format!("udp:{address}"));
        account.set_state(State::Read);
        let (bound, counts) = (Arc::new(Bound { socket, account }), UdpCounts::default());
        UdpServer { bound, address, limits, counts, refuses: None }
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it allows.
    pub fn limits(&self) -> &UdpLimits {
        &self.limits
    }

    /// What it has done, to be read while it serves.
    pub fn counts(&self) -> UdpCounts {
        self.counts.clone()
    }

    /// Drops datagrams of peers that are not remembered, as long as `refuses` says so: it is asked
    /// for each, and must be quick. Those that are remembered go on.
    #[must_use]
    pub fn refuse_while(self, refuses: impl Fn() -> bool + Send + Sync + 'static) -> UdpServer {
        UdpServer { refuses: Some(Box::new(refuses)), ..self }
    }

    /// Receives datagrams and runs `handler` for each, until `context` is cancelled; then
    /// drains: stops receiving, asks the handlers to stop, waits up to the drain deadline, cuts
    /// who is left, and says whom.
    ///
    /// Of each peer an `S` is remembered from its first datagram until it has been silent for
    /// [`UdpLimits::peer_idle`], or must make room for another; see [`UdpLimits::peers`].
    ///
    /// An error of a handler is logged and is the datagram's own affair; so is a panic.
    ///
    /// # Cancel safety
    /// Dropping it closes the socket as soon as the handlers have ended, which get the drain
    /// deadline.
    #[track_caller]
    pub fn serve<S, H, F, E>(
        self,
        context: &Context,
        handler: H,
    ) -> impl Future<Output = UdpServed> + use<S, H, F, E>
    where
        S: Default + Send + Sync + 'static,
        H: Fn(Datagram<S>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        serve(self, context.clone(), Location::caller(), (|_: &Datagram<S>| false, handler))
    }

    /// As [`UdpServer::serve`], but asks `shortcut` first about each datagram, in the loop that
    /// receives: true if all is done, and no handler is needed. What can be done without waiting
    /// needs no task then, and what comes from a peer is done in the order in which it came;
    /// handlers overtake each other. It must be quick, since everybody else waits.
    ///
    /// # Cancel safety
    /// As that.
    #[track_caller]
    pub fn serve_with_shortcut<S, Q, H, F, E>(
        self,
        context: &Context,
        shortcut: Q,
        handler: H,
    ) -> impl Future<Output = UdpServed> + use<S, Q, H, F, E>
    where
        S: Default + Send + Sync + 'static,
        Q: Fn(&Datagram<S>) -> bool + Send + Sync + 'static,
        H: Fn(Datagram<S>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        serve(self, context.clone(), Location::caller(), (shortcut, handler))
    }
}

impl fmt::Debug for UdpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The entry of a socket that receives.
#[track_caller]
fn account() -> Account {
    Ledger::current().open(Kind::LISTENER, Obligation::Perpetual("receives until it is drained"))
}

fn bind(address: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(options.reuse_port)?;
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
        let granted = socket.recv_buffer_size()? / 2; // Linux doubles it, for its own needs
        if granted < bytes {
            tracing::warn!(
                wanted = bytes,
                granted,
                "udp:{address}: smaller receive buffer than wanted: raise net.core.rmem_max"
            );
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    UdpSocket::from_std(socket.into())
}

async fn serve<S, Q, H, F, E>(
    server: UdpServer,
    context: Context,
    born_at: &'static Location<'static>,
    (shortcut, handler): (Q, H),
) -> UdpServed
where
    S: Default + Send + Sync + 'static,
    Q: Fn(&Datagram<S>) -> bool + Send + Sync + 'static,
    H: Fn(Datagram<S>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let UdpServer { bound, limits, counts, refuses, .. } = server;
    let serving = (refuses, counts.clone());
    let ended = ScopeBuilder::<Infallible>::new(&context)
        .policy(Isolate)
        .grace(limits.drain)
        .max_children(limits.in_flight.max(1).saturating_mul(2)) // as many as may run, and may end
        .run(async |scope| {
            let handler = Arc::new(handler);
            let known = Known::new(&limits, bound.account.ledger(), born_at, scope.id());
            let known = Arc::new(known);
            let mut receiving = Receiving::new(bound, &limits, Arc::clone(&known), serving);
            let work = async {
                while let Ok((datagram, permit)) = receiving.next().await {
                    if !shortcut(&datagram) {
                        start(&scope, born_at, datagram, permit, &handler);
                    }
                }
            };
            tokio::select! {
                biased; // a flood of datagrams takes all there is of a poll: it comes last
                () = known.keep_forgetting() => {}
                () = work => {}
            }
            known.forget_all();
            Ok(())
        })
        .await;
    UdpServed {
        received: counts.received(),
        oversize: counts.oversize(),
        refused: counts.refused(),
        evicted: counts.evicted(),
        cut: ended.forced,
    }
}

/// Starts the handler of one datagram.
fn start<S, H, F, E>(
    scope: &Scope<Infallible>,
    born_at: &'static Location<'static>,
    datagram: Datagram<S>,
    permit: OwnedSemaphorePermit,
    handler: &Arc<H>,
) where
    S: Send + Sync + 'static,
    H: Fn(Datagram<S>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let handler = Arc::clone(handler);
    scope.spawn_at(born_at, async move {
        let _permit = permit;
        serve_subject(datagram.account().id());
        if let Err(error) = handler(datagram).await {
            tracing::debug!(%error, "a datagram's handler failed");
        }
        Ok(())
    });
}
