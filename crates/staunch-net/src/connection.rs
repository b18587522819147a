//! A connection: a socket, its entry on the ledger, and nothing else while it is idle.
//!
//! The socket and what belongs to it live in one shared [`Core`] of about 100 bytes, so that a
//! task holds 8 bytes of it in each state of its future, and the watchdog can reach it. Bytes
//! are read only when the kernel has some: the buffer is taken then, and given back when it is
//! used up.
//!
//! What its two directions do ([`Activity`]) decides which limits the watchdog applies, and what
//! the ledger shows: `Open` before the first byte, `Idle` between messages, `ReadRest` within
//! one, `Write` while the peer does not take what it is sent, `Running` while the handler works.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Shutdown, SocketAddr},
    os::fd::AsRawFd,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context as Poller, Poll, ready},
};

use staunch_ledger::{Account, EntryId, Label, State};
use staunch_scope::{Wait, with_current_account};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    activity::{Activity, Reading},
    admission::{Admitted, Source, TooMany},
    buffer::{Buffer, Ticket},
    counts::ListenerCounts,
    lines::Lines,
    listening::Listening,
    pipe::Pipe,
    socket::Socket,
};

mod core;
mod write_all;

pub(crate) use self::core::Core;
pub use self::write_all::WriteAll;

/// What a read that is pending is for: it decides which limit bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFor {
    /// The next message: `idle`. So unless something else was said.
    Message,
    /// The rest of a message that has begun: `read_stall` and `message`.
    Rest,
    /// The rest of a message for which its reader has a time of its own: `read_stall` alone.
    TimedRest,
    /// Nothing but to notice when the peer leaves: no limit.
    Leaving,
}

/// A connection that a listener accepted, or that was dialled.
///
/// One task reads and one writes at a time; both may be the same. Dropping it closes the
/// socket, the ledger entry, and its place in the listener's limits.
#[derive(Debug)]
pub struct Connection {
    core: Arc<Core>,
}

impl Connection {
    /// Wraps a socket: from here on it is owned, counted and watched.
    pub(crate) fn new(
        socket: Socket,
        account: Account,
        listening: &Arc<Listening>,
        admitted: Admitted,
        reading: Reading,
    ) -> Connection {
        account.set_fd(socket.as_raw_fd());
        let core = Arc::new_cyclic(|core| Core {
            socket,
            account,
            key: listening.watchdog().watch(core.clone(), listening.limits()),
            listening: Arc::clone(listening),
            source: admitted.keep(),
            activity: Activity::new(reading),
        });
        Connection { core }
    }

    /// Its entry on the ledger; also its id in log lines.
    pub fn id(&self) -> EntryId {
        self.core.account.id()
    }

    /// Its account, for labels and children.
    pub fn account(&self) -> &Account {
        &self.core.account
    }

    /// The peer's address, or that of the client for whom it speaks
    /// ([`Listener::believe_proxies`](crate::Listener::believe_proxies)); for a Unix socket `None`.
    ///
    /// # Errors
    /// When the peer is gone (`ENOTCONN`), and the ledger had no room for its address.
    pub fn peer(&self) -> io::Result<Option<SocketAddr>> {
        let told = self.core.listening.proxies().and_then(|proxies| proxies.peer(self.core.key));
        match (&self.core.socket, told) {
            (_, Some(client)) => Ok(Some(client)),
            // Of one who has reset it the kernel says nothing any more; what was sent before can be read.
            (Socket::Tcp(stream), None) => {
                let gone = |error| self.peer_before().ok_or(error);
                stream.peer_addr().or_else(gone).map(Some)
            }
            (Socket::Unix(_), None) => Ok(None),
        }
    }

    /// The address with which it came, unless its entry says something else by now.
    fn peer_before(&self) -> Option<SocketAddr> {
        self.known_peer()?.to_string().parse().ok()
    }

    /// Our own address; for a Unix socket `None`.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local(&self) -> io::Result<Option<SocketAddr>> {
        match &self.core.socket {
            Socket::Tcp(stream) => stream.local_addr().map(Some),
            Socket::Unix(_) => Ok(None),
        }
    }

    /// The peer's IP address, as far as it is known.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.peer().ok().flatten().map(|peer| peer.ip())
    }

    /// A way to end it from elsewhere, while a task uses it.
    pub fn closer(&self) -> Closer {
        Closer { core: Arc::downgrade(&self.core) }
    }

    /// Reads it line by line, each at most as long as the listener's buffer.
    pub fn lines(&self) -> Lines<'_> {
        Lines::new(self)
    }

    /// Writes all of `parts`, one after the other, with as few system calls as the kernel
    /// allows.
    ///
    /// # Errors
    /// Those of the socket; [`Cut`](crate::Cut) inside `TimedOut` when the watchdog cut it.
    ///
    /// # Cancel safety
    /// Not cancel safe: a part may have been written. A task that is asked to stop goes on
    /// writing until it is done or forced, so that no answer is cut in half.
    pub fn write_all<'a, const N: usize>(&'a self, parts: [&'a [u8]; N]) -> WriteAll<'a, N> {
        WriteAll { connection: self, parts, written: 0 }
    }

    /// Moves what has come, at most so many bytes, into a pipe that is empty; 0 is the end.
    ///
    /// # Errors
    /// As those of reading. `InvalidInput` where the kernel cannot do it: nothing is lost then, and the
    /// bytes can be read.
    pub fn poll_fill_pipe(
        &self,
        pipe: &mut Pipe,
        most: usize,
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<usize>> {
        let fill = |socket: &Socket| socket.try_fill(|fd| pipe.fill(fd, most));
        let polled = self.core.poll_reading(most > 0, cx, fill);
        if polled.is_pending() {
            self.core.waits_to_read(Reading::Bytes);
            with_current_account(|task| task.set_state(State::Read));
        }
        polled
    }

    /// Moves what is in a pipe to the peer, as far as the kernel takes it.
    ///
    /// # Errors
    /// As those of writing.
    pub fn poll_empty_pipe(&self, pipe: &mut Pipe, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        self.core.poll_writing(cx, |socket| socket.try_empty(|fd| pipe.empty(fd)))
    }

    /// Says what a read through [`AsyncRead`] is for that has just been pending: of what it reads
    /// so, the connection knows no messages. Holds until the next read.
    pub fn reads_for(&self, what: ReadFor) {
        let (activity, account) = (&self.core.activity, &self.core.account);
        match what {
            ReadFor::Rest => activity.waits_for_rest(account.ledger().now()),
            ReadFor::TimedRest => {
                activity.message_ended();
                activity.set_reading(Reading::Rest);
            }
            ReadFor::Message => {
                activity.message_ended();
                activity.waits_to_read(Reading::Idle);
            }
            ReadFor::Leaving => {
                activity.message_ended();
                activity.set_reading(Reading::Working);
            }
        }
        account.set_state(activity.state());
    }

    /// Says whether it is at rest: nothing is in hand but the wait for what the peer says next. One
    /// that is may be closed when something runs short
    /// ([`Control::close_idle`](crate::Control::close_idle)); one of which nobody says so is not.
    pub fn rests(&self, at_rest: bool) {
        self.core.activity.set_at_rest(at_rest);
    }

    /// Tells the peer that no more bytes will come.
    ///
    /// # Errors
    /// Those of `shutdown(2)`.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.core.socket.shutdown(Shutdown::Write)
    }

    /// Makes the coming close a reset (`SO_LINGER` of 0).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.core.socket.reset_on_close()
    }

    /// Says that a message is complete: what is left in the buffer belongs to the next one.
    pub(crate) fn message_ended(&self) {
        self.core.activity.message_ended();
    }

    /// Whether its peer is to say for whom it speaks.
    pub(crate) fn is_handed_on(&self) -> bool {
        let Some(proxies) = self.core.listening.proxies() else { return false };
        self.peer_ip().is_some_and(|peer| proxies.believes(peer))
    }

    /// What its listener counts; a dialled one has none.
    pub(crate) fn counts(&self) -> Option<&ListenerCounts> {
        self.core.listening.counts()
    }

    /// Who the peer is, as the ledger has it: also when it has gone.
    pub(crate) fn known_peer(&self) -> Option<Label> {
        let entry = self.core.account.ledger().entry(self.id())?;
        Some(entry.label().clone()).filter(|peer| *peer != Label::None)
    }

    /// It is a connection of `client`, and counts as one from now on; not if that has too many.
    pub(crate) fn is_of(&self, client: SocketAddr) -> Result<(), TooMany> {
        let Core { listening, key, account, .. } = &*self.core;
        let Some(proxies) = listening.proxies() else { return Ok(()) };
        let (source, most) = (Source::of(client.ip()), listening.limits().connections_per_ip);
        if !listening.admission().count_for(source, most) {
            return Err(TooMany::of(listening.limits()));
        }
        proxies.tell(*key, client, most.map(|_| source));
        account.peer(client);
        Ok(())
    }

    /// What was read of it until now was not the client's.
    pub(crate) fn begins_anew(&self) {
        self.begin_session(Reading::New);
    }

    /// A TLS session has begun on it; nothing of what it carries was read or written.
    pub(crate) fn begin_session(&self, reading: Reading) {
        self.core.activity.set_reading(reading);
        self.core.account.set_state(self.core.activity.state());
    }

    /// The peer has said something, which came with what was read before.
    pub(crate) fn heard(&self) {
        self.core.activity.set_reading(Reading::Working);
        self.core.account.set_state(self.core.activity.state());
    }

    /// The peer has said its last, in the words of what the connection carries: nobody reads the socket's end.
    pub(crate) fn ended(&self) {
        self.core.ended();
    }

    /// Reads more bytes into `held`, taking a buffer only when there are bytes for it. Between
    /// messages (`held` is empty) it holds none and a task that is asked to stop stops here;
    /// within a message the task may finish it first.
    pub(crate) fn poll_fill(
        &self,
        held: &mut Option<Buffer>,
        ticket: &mut Option<Ticket>,
        wait: &mut Wait,
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<usize>> {
        if held.as_ref().is_some_and(|buffer| !buffer.is_empty()) {
            return self.poll_fill_rest(held, cx);
        }
        *held = None;
        let core = &*self.core;
        core.activity.message_ended();
        loop {
            let ready = wait.poll(cx, State::Read, |cx| core.socket.poll_read_ready(cx));
            if ready.is_pending() {
                core.waits_to_read(Reading::Idle);
            }
            ready!(ready).map_err(io::Error::other)??;
            let buffer = core.listening.buffers().poll_take(ticket, cx);
            if buffer.is_pending() {
                core.activity.set_reading(Reading::Working); // it waits for us, not for the peer
                core.account.set_state(State::Waiting);
            }
            let mut buffer = ready!(buffer);
            match core.poll_read(&mut ReadBuf::new(buffer.spare()), cx) {
                Poll::Pending => {} // a false alarm: wait again, without the buffer
                Poll::Ready(result) => {
                    let count = result?;
                    buffer.fill(count);
                    *held = Some(buffer).filter(|buffer| !buffer.is_empty());
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn poll_fill_rest(
        &self,
        held: &mut Option<Buffer>,
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(buffer) = held else { return Poll::Ready(Ok(0)) };
        let polled = self.core.poll_read(&mut ReadBuf::new(buffer.spare()), cx);
        if polled.is_pending() {
            self.core.activity.waits_for_rest(self.core.account.ledger().now());
            self.core.account.set_state(self.core.activity.state());
            with_current_account(|task| task.set_state(State::ReadRest));
        }
        let count = ready!(polled)?;
        buffer.fill(count);
        Poll::Ready(Ok(count))
    }
}

/// Ends a connection from elsewhere; made by [`Connection::closer`].
#[derive(Clone, Debug)]
pub struct Closer {
    core: Weak<Core>,
}

impl Closer {
    /// Resets the connection, if it is still there: whoever waits on it gets an error.
    pub fn close(&self) {
        if let Some(core) = self.core.upgrade() {
            let _ = core.socket.abort(); // the peer may have gone meanwhile
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.core.poll_read(buffer, cx);
        if polled.is_pending() {
            self.core.waits_to_read(Reading::Bytes);
            with_current_account(|task| task.set_state(State::Read));
        }
        ready!(polled)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.core.poll_write(&[IoSlice::new(bytes)], cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.core.poll_write(parts, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
        match self.shutdown_write() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}
