//! Listeners: bind, accept, serve, drain.

mod accepting;
mod binding;
mod unattached;

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    panic::Location,
    sync::Arc,
    task::{Context as Poller, Poll},
};

use staunch_ledger::{Account, EntryId};
use staunch_scope::{Context, Forced};

pub(crate) use self::accepting::serve_introduced;
use self::binding::{UnlinkOnDrop, shared};
pub use self::unattached::UnattachedListener;
use crate::{
    bind_error::BindError,
    connection::Connection,
    control::{Control, Refuses},
    counts::ListenerCounts,
    endpoint::Endpoint,
    handover::{InheritedSockets, SharedSocket},
    limits::Limits,
    listening::Listening,
    options::SocketOptions,
    proxied::Proxies,
    socket::Socket,
};

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
    /// How many more were cut, of whom nothing else is kept: see [`Served::add`].
    pub cut_more: u64,
}

/// Those who were cut, in what [`Served::add`] makes.
const CUT_KEPT: usize = 100;

impl Served {
    /// Adds what another listener did, or the same one at another time. Of those who were cut, the
    /// first 100 are kept, and all others counted.
    pub fn add(&mut self, other: Served) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.cut.extend(other.cut);
        let more = self.cut.drain(CUT_KEPT.min(self.cut.len())..).count() as u64;
        self.cut_more += more + other.cut_more;
    }
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

    /// Gives it a name, once, for the log and for [`listeners`](crate::listeners); those of one name
    /// count together. Without one it is called by its endpoint.
    #[must_use]
    pub fn named(self, name: &str) -> Listener {
        self.listening.counts_as(self.account.ledger(), || name.to_owned());
        self
    }

    /// What it counts, under the name that it has by now.
    pub(crate) fn counts(&self) -> &ListenerCounts {
        self.listening.counts_as(self.account.ledger(), || self.endpoint.to_string())
    }

    /// A way to ask something of it while it serves.
    pub fn control(&self) -> Control {
        Control::new(&self.listening)
    }

    /// Resets connections as soon as they are accepted, as long as `refuses` says so: it is asked
    /// for each, and must be quick. A peer is told at once so, rather than wait in the kernel's
    /// backlog.
    #[must_use]
    pub fn refuse_while(self, refuses: impl Fn() -> bool + Send + Sync + 'static) -> Listener {
        Listener { refuses: Some(Box::new(refuses)), ..self }
    }

    /// Believes peers whose address `believes` takes when they say for whom they speak: each of
    /// their connections must begin with a [`ProxyHeader`](crate::ProxyHeader), within
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
