//! A request on its way to its server: the head, and then the body as the client sends it.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use staunch_http::Transport;
use staunch_net::ReadFor;
use tokio::{
    io::{AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{client::Client, exchange::Broken, server::Leased};
use crate::{held::Held, scratch};

/// Read at a time from a client.
const PIECE: usize = 64 << 10;

/// A request on its way to the server.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Bytes of its head that the server has been sent.
    head_sent: usize,
    /// Bytes of its body that the client has not sent yet.
    left: u64,
    /// Bytes that it has.
    got: u64,
    begun: Instant,
    /// When the last of it was sent.
    over: Option<Instant>,
    held: Held,
    /// What was written may still lie with the server's own buffers, as TLS has them.
    must_flush: bool,
    /// The server takes no more of it.
    is_broken: bool,
    /// The client is waited for.
    is_waiting: bool,
    /// When its rate is looked at next.
    look_at: Instant,
}

/// What a request may cost its server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadLimits {
    pub(crate) time: Duration,
    /// Bytes a second, after a while; 0 takes any.
    pub(crate) rate: u32,
}

/// A client has so long before its rate counts.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Between two looks at it.
const RATE_PERIOD: Duration = Duration::from_secs(1);

impl Upload {
    pub(crate) fn new(left: u64, now: Instant) -> Upload {
        let over = (left == 0).then_some(now);
        let held = Held::default();
        let look_at = now + RATE_GRACE;
        let [must_flush, is_broken, is_waiting] = [false; 3];
        Upload {
            head_sent: 0,
            left,
            got: 0,
            begun: now,
            over,
            held,
            must_flush,
            is_broken,
            is_waiting,
            look_at,
        }
    }

    /// When the server had all of it.
    pub(crate) fn over(&self) -> Option<Instant> {
        self.over
    }

    /// Whether there is more of it, and the server takes it.
    pub(crate) fn is_coming(&self) -> bool {
        self.over.is_none() && !self.is_broken
    }

    /// Whether the client still sends what nobody will read.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.left > 0
    }

    /// Bytes of it that nobody has taken from the client.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Whether more of it is read from the client.
    pub(super) fn is_heard(&self) -> bool {
        self.left > 0 && !self.is_broken
    }

    /// Whether some of it has been taken from the client.
    pub(crate) fn has_begun(&self) -> bool {
        self.got > 0
    }

    /// Whether the server has all of it, down to its socket.
    pub(super) fn is_whole(&self, asking: &[u8]) -> bool {
        // What TLS still holds of the request would be the beginning of the next one.
        let is_sent = self.over.is_some() && !self.must_flush;
        self.head_sent == asking.len() && is_sent && !self.is_broken
    }

    /// Bytes that are kept for the server.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Bytes that the client has sent.
    pub(crate) fn got(&self) -> u64 {
        self.got
    }

    /// So many bytes of what the client had said already are on their way.
    fn took<T>(&mut self, client: &mut Client<'_, T>, count: usize) {
        self.left -= count as u64;
        self.got += count as u64;
        if count == client.said.len() {
            client.said = Vec::new();
        } else {
            client.said.drain(..count);
        }
    }

    /// When to look whether it takes too long.
    pub(crate) fn due(&self, limits: &UploadLimits) -> Instant {
        let last = self.begun + limits.time;
        if limits.rate == 0 { last } else { last.min(self.look_at) }
    }

    /// Whether the client takes too long over it. If not, it is looked at again.
    pub(crate) fn is_late(&mut self, limits: &UploadLimits, now: Instant) -> bool {
        let took = now - self.begun;
        let least = u64::from(limits.rate).saturating_mul(took.as_secs());
        self.look_at = self.look_at.max(now + RATE_PERIOD);
        took >= limits.time || (self.is_waiting && took >= RATE_GRACE && self.got < least)
    }

    /// Sends what the server takes of it, if that takes any; an error when the client has gone.
    pub(super) fn poll<T: Transport>(
        &mut self,
        server: &mut Leased,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Result<(), Broken> {
        let is_sent = self.over.is_some() && self.head_sent == client.asking.len();
        if self.is_broken || (is_sent && !self.must_flush) {
            return Ok(());
        }
        let mut sent = self.poll_sent(server, client, cx);
        if !matches!(sent, Poll::Ready(Err(_))) && self.must_flush {
            let flushed = Pin::new(&mut server.io).poll_flush(cx);
            self.must_flush = flushed.is_pending();
            match flushed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => sent = Poll::Ready(Err(Lost::Server)),
                Poll::Pending => sent = Poll::Pending,
            }
        }
        match sent {
            Poll::Ready(Ok(())) => {
                self.over.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Err(Lost::Client)) => return Err(Broken::Client),
            // Perhaps it has said why, and closed.
            Poll::Ready(Err(Lost::Server)) => self.is_broken = true,
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Ready when all of the request is sent.
    fn poll_sent<T: Transport>(
        &mut self,
        server: &mut Leased,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Lost>> {
        loop {
            while let Some(head) = client.asking.get(self.head_sent..).filter(|it| !it.is_empty()) {
                let there = client.said.len().min(self.left as usize);
                let parts = [IoSlice::new(head), IoSlice::new(&client.said[..there])];
                let parts = if there == 0 { &parts[..1] } else { &parts[..] };
                let io = Pin::new(&mut server.io);
                let sent = ready!(io.poll_write_vectored(cx, parts)).map_err(|_| Lost::Server)?;
                self.must_flush = true;
                let of_head = sent.min(head.len());
                self.head_sent += of_head;
                self.took(client, sent - of_head);
            }
            self.must_flush |= self.held.len() > 0;
            ready!(self.held.poll_write(cx, &mut server.io)).map_err(|_| Lost::Server)?;
            if self.left == 0 {
                return Poll::Ready(Ok(()));
            }
            if client.said.is_empty() {
                ready!(self.poll_piece(server, client, cx))?;
            } else {
                let there = client.said.len().min(self.left as usize);
                self.held.keep(&client.said[..there], 0);
                self.took(client, there);
            }
        }
    }

    /// Reads some of the request's body, and writes what the server takes of it at once.
    fn poll_piece<T: Transport>(
        &mut self,
        server: &mut Leased,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Lost>> {
        scratch::with_scratch(|scratch| {
            let most = PIECE.min(self.held.most());
            let most = self.left.min(most as u64) as usize;
            let mut buffer = ReadBuf::new(&mut scratch[..most]);
            let read = Pin::new(&mut client.io).poll_read(cx, &mut buffer);
            self.is_waiting = read.is_pending();
            if read.is_pending() {
                client.io.reads_for(ReadFor::TimedRest);
            }
            ready!(read).map_err(|_| Lost::Client)?;
            let piece = buffer.filled();
            if piece.is_empty() {
                return Poll::Ready(Err(Lost::Client));
            }
            self.left -= piece.len() as u64;
            self.got += piece.len() as u64;
            let written = match Pin::new(&mut server.io).poll_write(cx, piece) {
                Poll::Ready(written) => written.map_err(|_| Lost::Server)?,
                Poll::Pending => 0,
            };
            self.must_flush = true;
            self.held.keep(piece, written);
            server.touch();
            Poll::Ready(Ok(()))
        })
    }
}

/// Which side broke off.
enum Lost {
    Client,
    Server,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_too_slowly_is_noticed_once_a_second() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let limits = UploadLimits { time: 60 * second, rate: 240 };
        let mut upload = Upload::new(100_000, begun);
        upload.is_waiting = true;
        assert_eq!(upload.due(&limits), begun + RATE_GRACE);
        upload.got = 5 * 240;
        assert!(!upload.is_late(&limits, begun + 5 * second));
        assert_eq!(upload.due(&limits), begun + 6 * second);
        assert!(upload.is_late(&limits, begun + 6 * second));
        upload.is_waiting = false;
        assert!(
            !upload.is_late(&limits, begun + 6 * second),
            "it is the server that is waited for"
        );
        assert!(upload.is_late(&limits, begun + 60 * second));
        let any = UploadLimits { rate: 0, ..limits };
        assert_eq!(upload.due(&any), begun + 60 * second);
    }
}
