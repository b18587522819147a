//! Dials one UDP peer.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    panic::Location,
    pin::pin,
};

use rustix::net::RecvFlags;
use staunch_ledger::{Account, EntryId, Kind, Ledger, Obligation, State};
use staunch_scope::{Cancelled, Context, Wait, current_task};
use tokio::{
    io::Interest,
    net::{ToSocketAddrs, UdpSocket, lookup_host},
    time::timeout,
};

use crate::dial::{DialError, DialOptions};

/// A UDP socket that talks to one peer only: the kernel drops what comes from anybody else.
///
/// It belongs to the task that dialled it.
#[derive(Debug)]
pub struct UdpPeer {
    /// Dropped first: the entry closes after its socket.
    socket: UdpSocket,
    account: Account,
}

/// No datagram came, or none was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// It is longer than the room for it; it is lost.
    #[error("a datagram of {length} bytes for a buffer of {room}: give it a larger one")]
    TooLong {
        /// Its length.
        length: usize,
        /// The length of the buffer.
        room: usize,
    },
    /// The socket failed. `ConnectionRefused` tells that nobody listened when an earlier datagram
    /// arrived there (ICMP, udp(7)); a send that says so has sent nothing.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The task was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Dials one UDP peer: resolves the name and connects a socket to its first address. No
/// datagram is sent, so it is not known whether anybody listens.
///
/// # Errors
/// [`DialError`], one line that says what to do.
///
/// # Cancel safety
/// Cancel safe. Ends early when `context` is cancelled or the task is asked to stop.
///
/// # Examples
/// ```no_run
/// use staunch_net::{DialOptions, dial_udp};
/// use staunch_scope::Context;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let peer = dial_udp(&Context::current(), "localhost:9001", &DialOptions::default()).await?;
/// peer.send(b"hi there").await?;
/// let mut answer = [0; 1472];
/// let length = peer.receive(&mut answer).await?;
/// println!("{}", answer[..length].escape_ascii());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn dial_udp<A: ToSocketAddrs + fmt::Display>(
    context: &Context,
    address: A,
    options: &DialOptions,
) -> impl Future<Output = Result<UdpPeer, DialError>> + use<A> {
    let (born_at, context, limit) = (Location::caller(), context.clone(), options.timeout);
    async move {
        let target = address.to_string();
        let mut dial = pin!(context.run(timeout(limit, connect(born_at, &target, address))));
        let mut wait = Wait::new();
        let dialled =
            poll_fn(|cx| wait.poll(cx, State::Handshake, |cx| dial.as_mut().poll(cx))).await??;
        dialled.map_err(|_| DialError::TimedOut { address: target.clone(), limit })?
    }
}

async fn connect<A: ToSocketAddrs>(
    born_at: &'static Location<'static>,
    target: &str,
    address: A,
) -> Result<UdpPeer, DialError> {
    let unresolved = |source| DialError::Unresolved { address: target.to_owned(), source };
    let mut addresses = lookup_host(address).await.map_err(unresolved)?;
    let address = addresses.next();
    let address = address.ok_or_else(|| unresolved(io::Error::other("the name has no address")))?;
    let promise = Obligation::EndsWithParent;
    let account = Ledger::current().open_at(born_at, Kind::CONNECTION, promise, current_task());
    account.peer(address);
    let connected = async {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        account.set_fd(socket.as_raw_fd());
        socket.connect(address).await?;
        Ok(socket)
    };
    match connected.await {
        Ok(socket) => Ok(UdpPeer { socket, account }),
        Err(error) => Err(DialError::connect(target, Some(address), error)),
    }
}

impl UdpPeer {
    /// Its entry on the ledger.
    pub fn id(&self) -> EntryId {
        self.account.id()
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// [`DatagramError`]; `EMSGSIZE` inside [`DatagramError::Io`] when it is longer than the
    /// protocol allows.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, nothing was sent.
    pub async fn send(&self, datagram: &[u8]) -> Result<(), DatagramError> {
        let mut wait = Wait::new();
        // Not `poll_send`, which wakes the one who has polled last.
        let mut send = pin!(self.socket.send(datagram));
        poll_fn(|cx| wait.poll(cx, State::Write, |cx| send.as_mut().poll(cx))).await??;
        self.account.touch();
        Ok(())
    }

    /// Sends one datagram if that can be done without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if it cannot; otherwise as [`UdpPeer::send`].
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.try_send(datagram)?;
        self.account.touch();
        Ok(())
    }

    /// Receives one datagram; its length.
    ///
    /// # Errors
    /// [`DatagramError`].
    ///
    /// # Cancel safety
    /// Cancel safe: no datagram is lost.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<usize, DatagramError> {
        let room = buffer.len();
        let mut wait = Wait::new();
        loop {
            // What ICMP says makes a socket no more readable than it was.
            let mut ready = pin!(self.socket.ready(Interest::READABLE | Interest::ERROR));
            let ready =
                poll_fn(|cx| wait.poll(cx, State::Read, |cx| ready.as_mut().poll(cx))).await??;
            let interest = if ready.is_readable() { Interest::READABLE } else { Interest::ERROR };
            let received = self.socket.try_io(interest, || {
                // With `TRUNC` the kernel tells the datagram's own length (recv(2)).
                let (_, length) = rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::TRUNC)?;
                Ok(length)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(length) if length > room => {
                    return Err(DatagramError::TooLong { length, room });
                }
                received => {
                    self.account.touch();
                    return Ok(received?);
                }
            }
        }
    }
}
