//! Listeners that belong to no runtime yet.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
};

use staunch_ledger::{Account, Kind, Ledger, Obligation, State};

use super::{
    Listener, ListenerSocket,
    binding::{UnlinkOnDrop, bind_tcp, bind_unix, inherit, set_options, shared},
};
use crate::{
    bind_error::BindError,
    endpoint::Endpoint,
    handover::{InheritedSockets, SharedSocket},
    limits::Limits,
    listening::Listening,
    options::SocketOptions,
};

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
    /// What its socket is still to be set to.
    options: Option<SocketOptions>,
}

#[derive(Debug)]
pub(super) enum UnattachedSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, Arc<UnlinkOnDrop>),
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
    /// had more of them than `count`, there are more. `options` are set when they are
    /// [attached](Self::attach): until then they are as the predecessor goes on to need them.
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
    pub(super) fn inherit_each(
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
                (Endpoint::Unix(path), _) => Some(UnlinkOnDrop::new(path, inherited.file())),
                (Endpoint::Tcp(_), _) => None,
            };
            let socket = inherit(fd, unlink);
            let socket = socket.map_err(|error| BindError::new(endpoint, error))?;
            let one = UnattachedListener::owned(socket, endpoint.clone(), account(), listening);
            each.push(UnattachedListener { options: Some(options.clone()), ..one });
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
        let one = UnattachedListener::owned(socket, self.endpoint.clone(), account(), listening);
        Ok(UnattachedListener { options: self.options.clone(), ..one })
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
        let listening = Arc::new(listening);
        UnattachedListener { socket, endpoint, account, listening, options: None }
    }

    /// Where it listens, with the port that the system chose.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// As [`Listener::named`].
    #[must_use]
    pub fn named(self, name: &str) -> UnattachedListener {
        self.listening.counts_as(self.account.ledger(), || name.to_owned());
        self
    }

    /// Hands it to the runtime of the running thread.
    ///
    /// # Errors
    /// When the runtime cannot watch it, or the kernel refuses an option.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach(self) -> io::Result<Listener> {
        let UnattachedListener { socket, endpoint, account, listening, options } = self;
        if let Some(options) = options {
            set_options(&socket, &options)?;
        }
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

/// The entry of a socket that listens.
#[track_caller]
fn account() -> Account {
    Ledger::current().open(Kind::LISTENER, Obligation::Perpetual("accepts until it is drained"))
}
