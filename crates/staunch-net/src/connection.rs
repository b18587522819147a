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
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use staunch_ledger::{Account, EntryId, State};
use staunch_scope::{Wait, with_current_account};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    activity::{Activity, Reading},
    admission::{Admitted, Source},
    buffer::{Buffer, Ticket},
    lines::Lines,
    listening::Listening,
    pipe::Pipe,
    socket::Socket,
    watchdog::CutReason,
};

/// What a read that is pending is for: it decides which limit bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFor {
    /// The next message: `idle`. So unless something else was said.
    Message,
    /// The rest of a message that has begun: `read_stall` and `message`.
    Rest,
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

/// Dropped from top to bottom: the entry closes after its socket.
#[derive(Debug)]
pub(crate) struct Core {
    socket: Socket,
    account: Account,
    listening: Arc<Listening>,
    /// Whom the listener's limits count it for.
    source: Option<Source>,
    key: u32,
    activity: Activity,
}

impl Core {
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// How long nothing has moved.
    pub(crate) fn still(&self) -> Duration {
        self.account.ledger().now().since(self.account.progress())
    }

    /// Ends the connection, once; the task that waits on it is woken by the kernel.
    ///
    /// A peer between messages sees an orderly end. One in the middle of something sees a
    /// reset, so that it cannot take half an answer for a whole one.
    pub(crate) fn cut(&self, reason: CutReason) -> bool {
        if self
            .activity
            .cut
            .compare_exchange(0, reason.number(), Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        // Neither can fail in a way that matters: the peer may have gone meanwhile.
        let _ = match reason {
            CutReason::FirstByte | CutReason::Idle | CutReason::Pressure => {
                self.socket.shutdown(Shutdown::Both)
            }
            _ => self.socket.abort(),
        };
        true
    }

    /// The error of a cut connection.
    fn check_cut(&self) -> io::Result<()> {
        match CutReason::from_number(self.activity.cut.load(Ordering::Acquire)) {
            None => Ok(()),
            Some(reason) => {
                let cut = reason.cut(self.listening.limits());
                Err(io::Error::new(io::ErrorKind::TimedOut, cut))
            }
        }
    }

    /// Reads into what is unfilled of `buffer` when the kernel has bytes; 0 is the end.
    fn poll_read(&self, buffer: &mut ReadBuf<'_>, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        self.poll_reading(buffer.remaining() > 0, cx, |socket| socket.try_read(buffer))
    }

    /// Reads by `read` when the kernel has bytes; 0 is the end, if there is room for any.
    fn poll_reading(
        &self,
        has_room: bool,
        cx: &mut Poller<'_>,
        mut read: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match read(&self.socket) {
                Err(error) if is_in_vain(&error) => {}
                Err(error) => return Poll::Ready(self.check_cut().and(Err(error))),
                Ok(0) if !has_room => return Poll::Ready(Ok(0)),
                Ok(0) => {
                    self.ended();
                    return Poll::Ready(self.check_cut().map(|()| 0));
                }
                Ok(count) => {
                    self.activity.set_reading(Reading::Working);
                    self.moved();
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn poll_write(&self, parts: &[IoSlice<'_>], cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |socket| socket.try_write(parts))
    }

    /// Writes by `write` when the kernel takes bytes.
    fn poll_writing(
        &self,
        cx: &mut Poller<'_>,
        mut write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = self.socket.poll_write_ready(cx);
            if ready.is_pending() {
                self.activity.waits_to_write(self.account.ledger().now());
                self.account.set_state(State::Write);
            }
            ready!(ready)?;
            match write(&self.socket) {
                Err(error) if is_in_vain(&error) => {}
                Err(error) => return Poll::Ready(self.check_cut().and(Err(error))),
                Ok(count) => {
                    self.activity.wrote(count);
                    self.moved();
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    /// Bytes moved.
    /// The peer has said its last: from now on the connection is half closed.
    fn ended(&self) {
        if self.activity.reading() != Reading::Ended {
            self.activity.set_reading(Reading::Ended);
            self.account.touch();
        }
    }

    fn moved(&self) {
        self.account.touch();
        self.account.set_state(self.activity.state());
    }

    /// Reading waits.
    fn waits_to_read(&self, what: Reading) {
        self.activity.waits_to_read(what);
        self.account.set_state(self.activity.state());
    }
}

/// Nothing was done, and it can be tried again: when the socket is ready, or at once. A `splice` sees a
/// signal even if it does not wait.
fn is_in_vain(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Drop for Core {
    fn drop(&mut self) {
        let told = self.listening.proxies().and_then(|proxies| proxies.forget(self.key));
        self.listening.watchdog().release(self.key);
        self.listening.admission().leave(self.source.or(told));
        if self.activity.is_unsent() || std::thread::panicking() {
            let _ = self.socket.reset_on_close(); // half an answer must not look like a whole one
        }
    }
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
    /// When the peer is gone (`ENOTCONN`).
    pub fn peer(&self) -> io::Result<Option<SocketAddr>> {
        let told = self.core.listening.proxies().and_then(|proxies| proxies.peer(self.core.key));
        match (&self.core.socket, told) {
            (_, Some(client)) => Ok(Some(client)),
            (Socket::Tcp(stream), None) => stream.peer_addr().map(Some),
            (Socket::Unix(_), None) => Ok(None),
        }
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

    /// It is a connection of `client`, and counts as one from now on; not if that has too many.
    pub(crate) fn is_of(&self, client: SocketAddr) -> bool {
        let Core { listening, key, account, .. } = &*self.core;
        let Some(proxies) = listening.proxies() else { return true };
        let (source, most) = (Source::of(client.ip()), listening.limits().connections_per_ip);
        if !listening.admission().count_for(source, most) {
            return false;
        }
        proxies.tell(*key, client, most.map(|_| source));
        account.peer(client);
        true
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

/// Writes several parts as one; made by [`Connection::write_all`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct WriteAll<'a, const N: usize> {
    connection: &'a Connection,
    parts: [&'a [u8]; N],
    /// Bytes of the parts, taken together, that are written.
    written: usize,
}

/// Parts that together are no longer than this are copied together: a `send` of one piece costs
/// the kernel less than a `writev` of several.
const COPIED: usize = 512;

impl<const N: usize> WriteAll<'_, N> {
    /// What is not written yet.
    fn left(&self) -> [&[u8]; N] {
        let mut skip = self.written;
        self.parts.map(|part| {
            let (_, left) = part.split_at(skip.min(part.len()));
            skip -= part.len() - left.len();
            left
        })
    }

    fn poll_write(&self, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        let core = &self.connection.core;
        let left = self.left();
        let length = left.iter().map(|part| part.len()).sum::<usize>();
        if N == 1 || length > COPIED {
            return core.poll_write(&left.map(IoSlice::new), cx);
        }
        let mut piece = [0; COPIED];
        let mut end = 0;
        for part in left {
            piece[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        core.poll_write(&[IoSlice::new(&piece[..end])], cx)
    }
}

impl<const N: usize> Future for WriteAll<'_, N> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let length = self.parts.iter().map(|part| part.len()).sum::<usize>();
        while self.written < length {
            let polled = self.poll_write(cx);
            if polled.is_pending() {
                with_current_account(|task| task.set_state(State::Write));
            }
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counts of its `Arc` it just fits a size of the allocator; every idle connection
    /// has one.
    #[test]
    fn a_core_is_small() {
        assert!(size_of::<Core>() <= 96, "{} bytes", size_of::<Core>());
    }
}
