//! Plain TCP connections.

use std::{
    io::{self, IoSlice},
    ops::Deref,
    panic::Location,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context as Poller, Poll, Waker},
};

use staunch_net::{Connection, DialError, Dialer};
use staunch_scope::Context;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::manager::{Condition, Manager};

/// Dials TCP connections to one address.
///
/// Of what is spoken on them it knows nothing: only you can say that an answer has been read to its
/// end. So a connection that was used is ended with its lease, unless
/// [`exchange_complete`](TcpConnection::exchange_complete) was said after its last use. Whoever is
/// cancelled before that leaves no half of an exchange to the next. One that comes back with bytes
/// unread, or closed by the peer, is ended in either case.
///
/// # Examples
/// ```no_run
/// use staunch_net::{DialOptions, Dialer, Limits};
/// use staunch_pool::{Pool, PoolOptions, Tcp};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
///     let pool = Pool::new(&s, Tcp::new(dialer, "cache:11211"), PoolOptions::default())?;
///     let mut lease = pool.acquire().await?;
///     let mut connection = lease.connection()?;
///     connection.write_all([b"version\r\n"]).await?;
///     println!("{:?}", connection.lines().next().await?);
///     connection.exchange_complete(); // the next lease may have it
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tcp {
    dialer: Dialer,
    address: String,
    born_at: &'static Location<'static>,
}

impl Tcp {
    /// Dials `host:port` with `dialer`. The connections are born on the caller's line.
    #[track_caller]
    pub fn new(dialer: Dialer, address: impl Into<String>) -> Tcp {
        Tcp { dialer, address: address.into(), born_at: Location::caller() }
    }
}

impl Manager for Tcp {
    type Connection = TcpConnection;
    type Error = DialError;

    async fn connect(&self) -> Result<TcpConnection, DialError> {
        let connection =
            self.dialer.tcp_at(self.born_at, Context::current(), &self.address).await?;
        Ok(TcpConnection { connection, is_in_exchange: AtomicBool::new(false) })
    }

    fn is_local(&self, error: &DialError) -> bool {
        error.is_local()
    }

    async fn validate(&self, connection: &mut TcpConnection) -> Result<(), DialError> {
        match self.condition(connection) {
            Condition::Clean => Ok(()),
            _ => Err(DialError::Refused { address: self.address.clone() }),
        }
    }

    fn condition(&self, connection: &mut TcpConnection) -> Condition {
        if connection.is_in_exchange.load(Ordering::Relaxed) || !connection.is_quiet() {
            Condition::Broken
        } else {
            Condition::Clean
        }
    }

    fn killer(&self, connection: &TcpConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let closer = connection.connection.closer();
        Some(Box::new(move || closer.close()))
    }
}

/// A pooled TCP connection.
///
/// Reading from it, writing to it, and reaching for the [`Connection`] in it begin an exchange; the
/// connection is used again only after [`exchange_complete`](Self::exchange_complete).
#[derive(Debug)]
pub struct TcpConnection {
    connection: Connection,
    is_in_exchange: AtomicBool,
}

impl TcpConnection {
    /// Says that whatever was asked has been answered, and the answer read to its last byte. The next
    /// use begins another exchange.
    ///
    /// What was read ahead and not used is lost with whoever read it: if the peer may say more than
    /// it was asked for, do not call this.
    pub fn exchange_complete(&mut self) {
        self.is_in_exchange.store(false, Ordering::Relaxed);
    }

    /// The connection; an exchange begins.
    fn begin(&self) -> &Connection {
        self.is_in_exchange.store(true, Ordering::Relaxed);
        &self.connection
    }

    fn begin_mut(self: Pin<&mut Self>) -> Pin<&mut Connection> {
        let this = self.get_mut();
        this.begin();
        Pin::new(&mut this.connection)
    }

    /// Whether the peer says nothing, not even that it has gone.
    fn is_quiet(&mut self) -> bool {
        let mut cx = Poller::from_waker(Waker::noop());
        let mut byte = [0];
        let connection = Pin::new(&mut self.connection);
        connection.poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

impl Deref for TcpConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.begin()
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.begin_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.begin_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begin_mut().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.begin_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.begin_mut().poll_shutdown(cx)
    }
}
