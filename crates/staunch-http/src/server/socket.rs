//! The socket under hyper, which tells the watchdog what the connection waits for.
//!
//! While a handler works, hyper reads ahead to notice a client that leaves. To the connection
//! that looks like waiting for the client, and the watchdog would cut it as idle. So while the
//! client can only wait for its answer this socket says so; and when it waits in the middle of a
//! request, where a pause is a stall. It also has the clock of a request's head,
//! since hyper's begins when the answer before ends: a pause between two requests is no slow
//! head. And it looks at each byte of the client once, before hyper does ([`framing`](super::framing)).

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use staunch_ledger::Account;
use staunch_net::{Connection, ReadFor, TlsConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{
    exchange::Exchange,
    frames::{Frames, endless_head},
    framing::{Framing, SPOILED},
    refusal,
    sniff::PREFACE,
    wire,
};
use crate::limits::HttpLimits;

/// What HTTP is spoken over: a [`Connection`] or a [`TlsConnection`].
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + sealed::Sealed + 'static {
    /// Its entry on the ledger.
    fn account(&self) -> &Account;

    /// The peer's address, if it has one.
    fn peer(&self) -> Option<SocketAddr>;

    /// The names in the certificate that the peer has shown.
    fn peer_names(&self) -> Option<Vec<String>> {
        None
    }

    /// Says what the read is for that has just been pending.
    fn reads_for(&self, what: ReadFor);

    /// Says whether it is at rest: nothing but the next request is awaited.
    fn rests(&self, at_rest: bool);

    /// The connection itself, if nothing lies between what it carries and its socket.
    fn plain(&self) -> Option<&Connection> {
        None
    }

    /// Has the coming end look like the failure it is: nobody may take what was sent for all of it.
    fn reset_on_close(&self);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for staunch_net::Connection {}
    impl Sealed for staunch_net::TlsConnection {}
}

impl Transport for Connection {
    fn plain(&self) -> Option<&Connection> {
        Some(self)
    }

    fn account(&self) -> &Account {
        self.account()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer().ok().flatten()
    }

    fn reads_for(&self, what: ReadFor) {
        self.reads_for(what);
    }

    fn rests(&self, at_rest: bool) {
        self.rests(at_rest);
    }

    fn reset_on_close(&self) {
        let _ = self.reset_on_close(); // the peer may have gone meanwhile
    }
}

impl Transport for TlsConnection {
    fn peer_names(&self) -> Option<Vec<String>> {
        self.peer_names()
    }

    fn account(&self) -> &Account {
        self.account()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer().ok().flatten()
    }

    fn reads_for(&self, what: ReadFor) {
        self.reads_for(what);
    }

    fn rests(&self, at_rest: bool) {
        self.rests(at_rest);
    }

    fn reset_on_close(&self) {
        let _ = self.reset_on_close(); // the peer may have gone meanwhile
    }
}

/// What a client is told whose head takes too long (RFC 9110, 15.5.9).
fn late() -> Vec<u8> {
    const HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
        content-type: text/plain; charset=utf-8\r\ncontent-length: 33\r\ndate: ";
    const BODY: &[u8] = b"\r\n\r\nRefused: the head took too long.\n";
    wire::with_date(|now| [HEAD, now, BODY].concat())
}

pub(super) struct Socket<T> {
    transport: T,
    exchange: Exchange,
    head_time: Duration,
    /// When the head must be there, from the first wait for the rest of it.
    head_due: Option<Pin<Box<Sleep>>>,
    /// What was heard before it was clear who is to read it.
    said: Bytes,
    watch: Watch,
    /// hyper's own refusal, with its reason, as far as it is not sent.
    refusal: Option<Box<Bytes>>,
}

/// The most that a head may have.
type HeadBytes = usize;

/// What the bytes of the client are looked at for. Two words: an idle connection has it too.
enum Watch {
    Http1(Framing),
    Http2(Box<Frames>, HeadBytes),
    /// It is over, but for these bytes.
    Spoiled(Box<Bytes>),
}

impl<T: Transport> Socket<T> {
    /// One whose client has begun to speak.
    pub(super) fn new(
        transport: T,
        exchange: Exchange,
        (head_time, head_due): (Duration, Option<Instant>),
        heard: &[u8],
    ) -> Socket<T> {
        let (said, watch) = (Bytes::new(), Watch::Http1(Framing::default()));
        let mut socket =
            Socket { transport, exchange, head_time, head_due: None, said, watch, refusal: None };
        socket.transport.rests(false);
        let begins = socket.exchange.received();
        socket.said = if heard.starts_with(PREFACE) {
            Bytes::copy_from_slice(heard) // frames follow, or nothing that hyper reads
        } else {
            socket.watch_heard(heard, 0, begins)
        };
        // Not before: what is received begins a head with all of its time.
        socket.head_due = head_due.map(|due| Box::pin(sleep_until(due)));
        socket
    }

    /// Nothing but its transport, if it was not said more than was understood.
    pub(super) fn rest(self) -> Result<T, Socket<T>> {
        let is_clear = self.said.is_empty() && matches!(self.watch, Watch::Http1(_));
        if is_clear { Ok(self.transport) } else { Err(self) }
    }

    /// Whether its client is in the middle of a message of which the beginning is gone.
    pub(super) fn is_in_message(&self) -> bool {
        let is_between = matches!(&self.watch, Watch::Http1(framing) if framing.is_between());
        self.said.is_empty() && !is_between
    }

    /// Ends it, in good time for the client to read why: it may still be sending.
    pub(super) async fn linger(mut self) {
        let _ = wire::linger(&mut self.transport).await; // the client may have gone meanwhile
    }

    /// What the client has said that nobody has read.
    pub(super) fn said(&self) -> &[u8] {
        &self.said
    }

    /// The client speaks HTTP/2.
    pub(super) fn multiplex(&mut self, limits: &HttpLimits) {
        self.exchange.multiplex();
        let frames = Box::new(Frames::new(limits.control_frames));
        self.watch = Watch::Http2(frames, limits.head_bytes);
        let said = std::mem::take(&mut self.said);
        self.said = self.watch_heard(&said, PREFACE.len().min(said.len()), false);
    }

    /// Looks at what was heard, from `start` on; what of all of it is to be read.
    fn watch_heard(&mut self, heard: &[u8], start: usize, begins: bool) -> Bytes {
        let mut room = vec![0; heard.len() + SPOILED.len()];
        let mut buffer = ReadBuf::new(&mut room);
        buffer.put_slice(heard);
        self.watch(&mut buffer, start, begins);
        let filled = buffer.filled().len();
        room.truncate(filled);
        room.into()
    }

    /// What was read, but not understood, is to be read again.
    pub(super) fn unread(&mut self, said: Bytes) {
        if !said.is_empty() {
            self.transport.rests(false);
            self.exchange.received();
            self.head_due = None; // that of a head before it
            self.said = said;
        }
    }

    /// Hears more, but reads it not; how much it was. No more than tells one protocol from the other.
    pub(super) fn poll_hear(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        let mut heard = [0; PREFACE.len()];
        let room = PREFACE.len().saturating_sub(self.said.len());
        let mut buffer = ReadBuf::new(&mut heard[..room]);
        ready!(self.poll_receive(cx, &mut buffer))?;
        let heard = buffer.filled();
        self.said = [&self.said, heard].concat().into();
        Poll::Ready(Ok(heard.len()))
    }

    fn poll_receive(
        &mut self,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Watch::Spoiled(rest) = &mut self.watch {
            put(rest, buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.transport).poll_read(cx, buffer);
        if polled.is_pending() {
            return self.poll_late(cx).map(Err);
        }
        if buffer.filled().len() > before {
            self.received(buffer, before);
        }
        polled
    }

    fn received(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        self.transport.rests(false);
        let begins = self.exchange.received();
        if begins {
            self.head_due = None;
        }
        self.watch(buffer, before, begins);
    }

    /// Looks at what has come; from what is too much on nobody reads it.
    fn watch(&mut self, buffer: &mut ReadBuf<'_>, before: usize, begins: bool) {
        let new = buffer.filled().get(before..).unwrap_or_default();
        let (passed, mut instead) = match &mut self.watch {
            Watch::Http1(framing) => {
                if begins {
                    framing.begins();
                }
                let Err((passed, ambiguity)) = framing.walk(new) else { return };
                self.exchange.set_ambiguity(ambiguity);
                (passed, Bytes::from_static(SPOILED))
            }
            Watch::Http2(frames, head_bytes) => {
                let Some(passed) = frames.walk(new) else { return };
                self.exchange.set_flooded();
                (passed, endless_head(*head_bytes))
            }
            Watch::Spoiled(_) => return,
        };
        buffer.set_filled(before + passed);
        put(&mut instead, buffer);
        self.watch = Watch::Spoiled(Box::new(instead));
    }

    /// Whether hyper writes a refusal of its own, which has no body: then it is sent with its reason.
    fn refuses(&mut self, parts: &[IoSlice<'_>]) -> bool {
        if !self.exchange.is_unanswered() {
            return false;
        }
        let said: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let Some((status, refusal)) = refusal::with_reason(&said, self.exchange.ambiguity()) else {
            return false;
        };
        self.exchange.set_refused(status);
        self.refusal = Some(Box::new(refusal));
        true
    }

    fn poll_refusal(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = &mut self.refusal {
            if rest.is_empty() {
                self.refusal = None;
                break;
            }
            let written = ready!(Pin::new(&mut self.transport).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// What has become of a write.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Watch::Http2(frames, _) = &mut self.watch {
            self.exchange.set_blocked(written.is_pending());
            if let Poll::Ready(Ok(bytes)) = &written {
                frames.sent(*bytes);
            }
        }
        written
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut T> {
        Pin::new(&mut self.get_mut().transport)
    }

    /// Nothing has come: says for what the connection waits, and whether that takes too long.
    fn poll_late(&mut self, cx: &mut Poller<'_>) -> Poll<io::Error> {
        if self.exchange.was_late() {
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        if self.exchange.is_answering() {
            self.transport.account().touch();
            self.transport.reads_for(ReadFor::Leaving);
            self.transport.rests(false);
        } else if self.exchange.is_receiving() {
            self.transport.reads_for(ReadFor::TimedRest);
        } else if self.exchange.is_in_head() {
            self.transport.reads_for(ReadFor::TimedRest);
            let head_time = self.head_time;
            let due = self.head_due.get_or_insert_with(|| Box::pin(sleep(head_time)));
            ready!(due.as_mut().poll(cx));
            self.exchange.head_is_late();
            // As far as it goes: hyper ends at once. Nothing else is being written.
            let _ = Pin::new(&mut self.transport).poll_write(cx, &late());
            let _ = Pin::new(&mut self.transport).poll_flush(cx);
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        Poll::Pending
    }
}

/// As much of `rest` as there is room for.
fn put(rest: &mut Bytes, buffer: &mut ReadBuf<'_>) {
    buffer.put_slice(&rest.split_to(rest.len().min(buffer.remaining())));
}

impl<T: Transport> AsyncRead for Socket<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.said.is_empty() {
            return this.poll_receive(cx, buffer);
        }
        let count = this.said.len().min(buffer.remaining());
        buffer.put_slice(&this.said.split_to(count));
        if this.said.is_empty() {
            this.said = Bytes::new(); // no hold on memory that nobody needs
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Socket<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refuses(&[IoSlice::new(bytes)]) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.transport).poll_write(cx, bytes);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refuses(parts) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let written = Pin::new(&mut this.transport).poll_write_vectored(cx, parts);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// hyper flushes when it has nothing more to write. After an answer the next request is
    /// awaited: the read that waits for it was begun before, and the write has hidden that.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        ready!(Pin::new(&mut this.transport).poll_flush(cx))?;
        if this.exchange.sent() {
            this.transport.reads_for(ReadFor::Message);
            // An upgraded one is in hand, whoever speaks next.
            this.transport.rests(!this.exchange.is_upgraded());
        }
        Poll::Ready(Ok(()))
    }

    /// The end of hyper's connection is not that of ours if it is to be parked.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let mut this = self;
        if this.exchange.is_parked() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_refusal(cx))?;
        this.io().poll_shutdown(cx)
    }
}
