//! The body of an answer on its way to its client: copied, or through a pipe of the kernel.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_http::Transport;
use staunch_net::ReadFor;
use tokio::io::{AsyncRead, ReadBuf};

use super::{answer::Body, client::Client, exchange::Broken, server::Leased};
use crate::{
    held::Held,
    pipes::{self, Lent},
    scratch,
};

/// Read at a time from a server, at first and whenever its client falls behind.
pub(super) const PIECE_MIN: usize = 16 << 10;

/// Once the client has taken so much without falling behind, the rest goes through a pipe, if that is
/// so long, too.
const PIPED_MIN: u64 = 48 << 10;

/// Together with the head up to so many bytes of a body are copied: one `send` costs the kernel
/// less than a `writev` of two parts.
const COPIED: usize = 4 << 10;

/// The body of an answer on its way to the client.
pub(super) struct Download {
    body: Body,
    held: Held,
    way: Way,
    /// Read at a time from the server.
    piece: usize,
    /// Bytes that the client has taken since it last fell behind.
    taken: u64,
    /// Bytes that went into the pipe at once.
    passed: usize,
    handed: u64,
    /// The connection to the server is of no use after it.
    is_last: bool,
    must_flush: bool,
}

/// How an answer's body gets from one socket to the other.
enum Way {
    /// Through the thread's buffer; a pipe may be found for it.
    Copied,
    Piped(Lent),
    /// Through the thread's buffer: the kernel does not move it.
    MustBeCopied,
}

/// What a chunked answer is that is none.
const NO_CHUNK: Broken = Broken::Nonsense("a chunk of its body is not as RFC 9112, 7.1, has it");

impl Way {
    fn pipe(&mut self) -> Option<&mut Lent> {
        match self {
            Way::Piped(pipe) => Some(pipe),
            Way::Copied | Way::MustBeCopied => None,
        }
    }

    /// Bytes in the pipe.
    fn piped(&self) -> usize {
        match self {
            Way::Piped(pipe) => pipe.len(),
            Way::Copied | Way::MustBeCopied => 0,
        }
    }
}

impl Download {
    pub(super) fn new() -> Download {
        Download {
            body: Body::Length(0),
            held: Held::default(),
            way: Way::Copied,
            piece: PIECE_MIN,
            taken: 0,
            passed: 0,
            handed: 0,
            is_last: true,
            must_flush: false,
        }
    }

    /// Hands over the head, which lies in `client.out`, with what has come of the body.
    ///
    /// # Errors
    /// When the client has gone, or the server said what is no body.
    pub(super) fn begin<T: Transport>(
        &mut self,
        client: &mut Client<'_, T>,
        body: Body,
        is_last: bool,
        bytes: &[u8],
        cx: &mut Poller<'_>,
    ) -> Result<(), Broken> {
        (self.body, self.is_last) = (body, is_last);
        let there = self.walk(bytes)?;
        let (bytes, out) = (&bytes[..there], &mut client.out);
        let written = if bytes.len() <= COPIED {
            out.extend_from_slice(bytes);
            Pin::new(&mut client.io).poll_write(cx, out)
        } else {
            let parts = [IoSlice::new(out), IoSlice::new(bytes)];
            Pin::new(&mut client.io).poll_write_vectored(cx, &parts)
        };
        let written = match written {
            Poll::Ready(written) => written.map_err(|_| Broken::Client)?,
            Poll::Pending => 0,
        };
        self.must_flush = true;
        self.held.keep(out, written.min(out.len()));
        if bytes.len() > COPIED {
            self.held.keep(bytes, written.saturating_sub(out.len()));
        }
        Ok(())
    }

    /// Whether the end of the connection is that of the answer.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.body, Body::Rest)
    }

    /// Bytes of the body that are with the client, or kept for it.
    pub(super) fn handed(&self) -> u64 {
        self.handed
    }

    /// Bytes that are kept for it, here and in the kernel's pipe.
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.way.piped()
    }

    /// Whether the connection to the server is of no use after it.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Ready when all of the answer's body is with the client.
    pub(super) fn poll_body<T: Transport>(
        &mut self,
        server: &mut Leased,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let held = self.held.poll_write(cx, &mut client.io);
            ready!(held).map_err(|_| Broken::Client)?;
            ready!(self.poll_pipe_emptied(client, cx))?;
            if self.held.len() > 0 {
                continue; // it was taken out of the pipe
            }
            if self.has_ended() {
                ready!(self.poll_flush(client, cx))?;
                return Poll::Ready(Ok(()));
            }
            let is_piped = self.finds_pipe(server, client);
            let piece = if is_piped {
                self.poll_pipe_filled(server, cx)
            } else {
                self.poll_piece(server, client, cx)
            };
            if piece.is_pending() {
                self.rests();
                server.io.reads_for(ReadFor::Rest);
                let _ = self.poll_flush(client, cx)?;
            }
            ready!(piece)?;
        }
    }

    /// Whether the rest of the answer's body goes through a pipe: if it is long, is taken as fast as it
    /// comes, and there is one.
    fn finds_pipe<T: Transport>(&mut self, server: &Leased, client: &Client<'_, T>) -> bool {
        let (taken, left) = (self.taken, self.left());
        match self.way {
            Way::Piped(_) => return true,
            Way::MustBeCopied => return false,
            Way::Copied if taken < PIPED_MIN || left < PIPED_MIN => return false,
            Way::Copied => {}
        }
        if server.io.plain().is_none() || client.io.plain().is_none() {
            return false;
        }
        let lent = pipes::lend();
        let is_lent = lent.is_some();
        self.way = lent.map_or(Way::Copied, Way::Piped);
        self.passed = PIECE_MIN; // so far its server had much to say
        is_lent
    }

    /// Moves some of the answer's body into the pipe.
    fn poll_pipe_filled(
        &mut self,
        server: &mut Leased,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        let most = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let pipe = self.way.pipe();
        let Some((from, pipe)) = server.io.plain().zip(pipe) else {
            return Poll::Ready(Ok(()));
        };
        match ready!(from.poll_fill_pipe(pipe, most, cx)) {
            // The end, or what cannot be moved (TCP's urgent data): who reads sees which.
            Ok(0) => self.way = Way::MustBeCopied,
            Ok(count) => self.passes(count),
            Err(error) if pipes::is_refusal(&error) => self.way = Way::MustBeCopied,
            Err(_) => return Poll::Ready(Err(Broken::Server { is_unanswered: false })),
        }
        server.touch();
        Poll::Ready(Ok(()))
    }

    /// Reads some of the answer's body, and writes what the client takes of it at once. As long as
    /// that is all of it, the next piece may be larger.
    fn poll_piece<T: Transport>(
        &mut self,
        server: &mut Leased,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        scratch::with_scratch(|scratch| {
            let most = self.piece.min(self.held.most());
            let mut buffer = ReadBuf::new(&mut scratch[..most]);
            let read = Pin::new(&mut server.io).poll_read(cx, &mut buffer);
            ready!(read).map_err(|_| Broken::Server { is_unanswered: false })?;
            let piece = buffer.filled();
            if piece.is_empty() {
                return Poll::Ready(self.closed());
            }
            let is_full = piece.len() == most;
            let there = self.walk(piece)?;
            let piece = &piece[..there];
            let written = match Pin::new(&mut client.io).poll_write(cx, piece) {
                Poll::Ready(written) => written.map_err(|_| Broken::Client)?,
                Poll::Pending => 0,
            };
            self.must_flush = true;
            if written < piece.len() {
                (self.piece, self.taken) = (PIECE_MIN, 0);
            } else if is_full {
                self.piece = (self.piece * 2).min(scratch::LENGTH);
                self.taken += piece.len() as u64;
            }
            self.held.keep(piece, written);
            server.touch();
            Poll::Ready(Ok(()))
        })
    }

    fn poll_flush<T: Transport>(
        &mut self,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        if self.must_flush {
            ready!(Pin::new(&mut client.io).poll_flush(cx)).map_err(|_| Broken::Client)?;
            self.must_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pipe_emptied<T: Transport>(
        &mut self,
        client: &Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        let Some((client, pipe)) = client.io.plain().zip(self.way.pipe()) else {
            return Poll::Ready(Ok(()));
        };
        while !pipe.is_empty() {
            match ready!(client.poll_empty_pipe(pipe, cx)) {
                Ok(count) if count > 0 => {}
                Err(error) if pipes::is_refusal(&error) => {
                    let bytes = pipe.take().map_err(|_| Broken::Client)?;
                    self.held.keep(&bytes, 0);
                    self.way = Way::MustBeCopied;
                    return Poll::Ready(Ok(()));
                }
                Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Client)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The server says nothing more for now. If it had little to say, a pipe is for others.
    fn rests(&mut self) {
        if matches!(self.way, Way::Piped(_)) && self.passed < PIECE_MIN {
            (self.way, self.piece, self.taken) = (Way::Copied, PIECE_MIN, 0);
        }
    }

    /// Bytes that the server has still to say, of which nobody has to know what they are.
    fn left(&self) -> u64 {
        match self.body {
            Body::Length(left) => left,
            Body::Chunked(_) => 0,
            Body::Rest => u64::MAX,
        }
    }

    /// So many of these have come.
    fn passes(&mut self, count: usize) {
        self.passed = count;
        if let Body::Length(left) = &mut self.body {
            *left -= count as u64;
        }
        self.handed += count as u64;
    }

    /// How much of what the server has said belongs to the body. If it says more, or something
    /// else, its connection is not used again.
    fn walk(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let (there, data) = match &mut self.body {
            Body::Length(left) => {
                let there = (*left).min(bytes.len() as u64);
                *left -= there;
                (there as usize, there)
            }
            Body::Chunked(chunked) => {
                let before = chunked.data();
                let there = chunked.walk(bytes).map_err(|_| NO_CHUNK)?;
                (there, chunked.data() - before)
            }
            Body::Rest => (bytes.len(), bytes.len() as u64),
        };
        self.is_last |= there < bytes.len();
        self.handed += data;
        Ok(there)
    }

    fn has_ended(&self) -> bool {
        match &self.body {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunked) => chunked.has_ended(),
            Body::Rest => false,
        }
    }

    /// The server has closed the connection.
    fn closed(&mut self) -> Result<(), Broken> {
        self.is_last = true;
        match self.body {
            Body::Rest => {
                self.body = Body::Length(0);
                Ok(())
            }
            _ => Err(Broken::Server { is_unanswered: false }),
        }
    }
}
