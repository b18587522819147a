//! One request and its answer, each on its way to the other side.
//!
//! What has come is handed over at once; what the other side does not take is kept until it does,
//! and nothing is read meanwhile.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use staunch_http::Transport;
use staunch_ledger::Account;
use staunch_net::ReadFor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    answer::{self, Answer, Body, Said},
    asked::Asked,
    client::Client,
    edits::Edits,
    server::Leased,
};
use crate::{
    held::Held,
    pipes::{self, Lent},
    scratch,
};

/// Bytes of an answer's head, as hyper's client takes them.
const HEAD_MAX: usize = 64 << 10;

/// Read at a time from a server, at first and whenever its client falls behind.
const PIECE_MIN: usize = 16 << 10;

/// Once the client has taken so much without falling behind, the rest goes through a pipe, if that is
/// so long, too.
const PIPED_MIN: u64 = 48 << 10;

/// Together with the head up to so many bytes of a body are copied: one `send` costs the kernel
/// less than a `writev` of two parts.
const COPIED: usize = 4 << 10;

/// The body of a request on its way to the server.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Bytes that the client has not sent yet.
    pub(crate) left: u64,
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

/// Why there is no answer, or no more of it.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client has gone.
    Client,
    /// The server broke off, before a byte of an answer or after.
    Server { is_unanswered: bool },
    /// What it said is no answer.
    Nonsense,
}

/// A server, and what is between it and its client.
pub(crate) struct Exchange {
    server: Leased,
    /// Bytes of the head that the server has been sent.
    asked: usize,
    pub(crate) upload: Upload,
    download: Download,
    is_head: bool,
    /// What its account shows: bytes that are held, and that have moved.
    shown: (u64, u64),
}

/// What a client is told beside what the server says.
#[derive(Clone, Copy)]
pub(crate) struct Telling<'a> {
    /// It is to say no more.
    pub(crate) is_last: bool,
    /// What a policy changes in the head of the answer.
    pub(crate) edits: &'a Edits,
}

/// The answer on its way to the client.
struct Download {
    /// A head that has not come whole.
    part: Vec<u8>,
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
    /// The server has said something.
    has_begun: bool,
}

/// How an answer's body gets from one socket to the other.
enum Way {
    /// Through the thread's buffer; a pipe may be found for it.
    Copied,
    Piped(Lent),
    /// Through the thread's buffer: the kernel does not move it.
    MustBeCopied,
}

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

/// What is known of an answer once its head has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The client was told to say no more.
    pub(crate) is_last: bool,
}

impl Upload {
    pub(crate) fn new(left: u64, now: Instant) -> Upload {
        let over = (left == 0).then_some(now);
        let held = Held::default();
        let look_at = now + RATE_GRACE;
        let [must_flush, is_broken, is_waiting] = [false; 3];
        Upload { left, got: 0, begun: now, over, held, must_flush, is_broken, is_waiting, look_at }
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

    /// Whether some of it has been taken from the client.
    pub(crate) fn has_begun(&self) -> bool {
        self.got > 0
    }

    /// Bytes that the client has sent.
    pub(crate) fn got(&self) -> u64 {
        self.got
    }

    /// So many bytes of what the client had said already are on their way.
    fn took<T>(&mut self, client: &mut Client<T>, count: usize) {
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
}

impl Exchange {
    pub(crate) fn new(server: Leased, asked: &Asked, now: Instant) -> Exchange {
        let download = Download {
            part: Vec::new(),
            body: Body::Length(0),
            held: Held::default(),
            way: Way::Copied,
            piece: PIECE_MIN,
            taken: 0,
            passed: 0,
            handed: 0,
            is_last: true,
            must_flush: false,
            has_begun: false,
        };
        let upload = Upload::new(asked.body, now);
        Exchange { server, asked: 0, upload, download, is_head: asked.is_head, shown: (0, 0) }
    }

    /// Sends the request, until the head of an answer has come, of which the client has been told.
    pub(crate) fn poll_answer<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<Answered, Broken>> {
        if !self.upload.is_broken {
            self.poll_upload(client, cx)?;
        }
        loop {
            let answered = self.poll_head(client, telling, cx)?;
            if let Poll::Ready(Some(answered)) = answered {
                return Poll::Ready(Ok(answered));
            }
            if answered.is_pending() {
                break;
            }
        }
        self.server.io.reads_for(ReadFor::Leaving); // it has the time of its request
        self.poll_leaving(client, cx)
    }

    /// Hands over the body of the answer; whether both sides are at the end of what they said.
    pub(crate) fn poll_rest<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        if !self.upload.is_broken {
            self.poll_upload(client, cx)?;
        }
        if self.poll_body(client, cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_leaving(client, cx)
    }

    /// Whether the end of the connection is that of the answer, so that one that was cut must look
    /// like a failure. Others say how long they are.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.download.body, Body::Rest)
    }

    /// Bytes of the answer's body that are with the client, or kept for it.
    pub(crate) fn handed(&self) -> u64 {
        self.download.handed
    }

    /// Has the request's account show what is held of it and its answer, and that something moves.
    pub(crate) fn show(&mut self, account: &Account) {
        let piped = self.download.way.piped();
        let held = (self.upload.held.len() + self.download.held.len() + piped) as u64;
        let moved = self.upload.got + self.download.handed;
        let (shown, moved_before) = std::mem::replace(&mut self.shown, (held, moved));
        if held > shown {
            account.add_bytes(held - shown);
        } else if held < shown {
            account.sub_bytes(shown - held);
        }
        if moved != moved_before {
            account.touch();
        }
    }

    /// The server has nothing more to say, and nothing is left of what it was told.
    pub(crate) fn end<T>(mut self, client: &Client<T>) {
        let is_asked = self.asked == client.asking.len();
        // What TLS still holds of the request would be the beginning of the next one.
        let is_sent = self.upload.over.is_some() && !self.upload.must_flush;
        let is_whole = is_asked && is_sent && !self.upload.is_broken;
        if is_whole && !self.download.is_last {
            self.server.complete();
        }
    }

    /// Notices when the client leaves, while it can only wait; never ready otherwise.
    fn poll_leaving<T: Transport, R>(
        &self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<R, Broken>> {
        if self.upload.left > 0 && !self.upload.is_broken {
            return Poll::Pending; // its body is read, and that sees it
        }
        client.poll_leaving(cx).map(|()| Err(Broken::Client))
    }

    fn poll_upload<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Result<(), Broken> {
        let is_sent = self.upload.over.is_some() && self.asked == client.asking.len();
        if is_sent && !self.upload.must_flush {
            return Ok(());
        }
        let mut sent = self.poll_sent(client, cx);
        if !matches!(sent, Poll::Ready(Err(_))) && self.upload.must_flush {
            let flushed = Pin::new(&mut self.server.io).poll_flush(cx);
            self.upload.must_flush = flushed.is_pending();
            match flushed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => sent = Poll::Ready(Err(Lost::Server)),
                Poll::Pending => sent = Poll::Pending,
            }
        }
        match sent {
            Poll::Ready(Ok(())) => {
                self.upload.over.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Err(Lost::Client)) => return Err(Broken::Client),
            // Perhaps it has said why, and closed.
            Poll::Ready(Err(Lost::Server)) => self.upload.is_broken = true,
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Ready when all of the request is sent.
    fn poll_sent<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Lost>> {
        loop {
            while let Some(head) = client.asking.get(self.asked..).filter(|it| !it.is_empty()) {
                let there = client.said.len().min(self.upload.left as usize);
                let parts = [IoSlice::new(head), IoSlice::new(&client.said[..there])];
                let parts = if there == 0 { &parts[..1] } else { &parts[..] };
                let io = Pin::new(&mut self.server.io);
                let sent = ready!(io.poll_write_vectored(cx, parts)).map_err(|_| Lost::Server)?;
                self.upload.must_flush = true;
                let of_head = sent.min(head.len());
                self.asked += of_head;
                self.upload.took(client, sent - of_head);
            }
            self.upload.must_flush |= self.upload.held.len() > 0;
            ready!(self.upload.held.poll_write(cx, &mut self.server.io))
                .map_err(|_| Lost::Server)?;
            if self.upload.left == 0 {
                return Poll::Ready(Ok(()));
            }
            if client.said.is_empty() {
                ready!(self.poll_piece_up(client, cx))?;
            } else {
                let there = client.said.len().min(self.upload.left as usize);
                self.upload.held.keep(&client.said[..there]);
                self.upload.took(client, there);
            }
        }
    }

    /// Reads some of the request's body, and writes what the server takes of it at once.
    fn poll_piece_up<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Lost>> {
        scratch::with_scratch(|scratch| {
            let most = (PIECE_MIN * 4).min(self.upload.held.most());
            let most = self.upload.left.min(most as u64) as usize;
            let mut buffer = ReadBuf::new(&mut scratch[..most]);
            let read = Pin::new(&mut client.io).poll_read(cx, &mut buffer);
            self.upload.is_waiting = read.is_pending();
            if read.is_pending() {
                client.io.reads_for(ReadFor::Rest);
            }
            ready!(read).map_err(|_| Lost::Client)?;
            let piece = buffer.filled();
            if piece.is_empty() {
                return Poll::Ready(Err(Lost::Client));
            }
            self.upload.left -= piece.len() as u64;
            self.upload.got += piece.len() as u64;
            let written = match Pin::new(&mut self.server.io).poll_write(cx, piece) {
                Poll::Ready(written) => written.map_err(|_| Lost::Server)?,
                Poll::Pending => 0,
            };
            self.upload.must_flush = true;
            self.upload.held.keep(&piece[written..]);
            self.server.touch();
            Poll::Ready(Ok(()))
        })
    }

    /// Reads what the server says; ready with nothing when it has only said that it will say more.
    fn poll_head<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<Option<Answered>, Broken>> {
        scratch::with_scratch(|scratch| {
            let before = self.download.part.len();
            scratch[..before].copy_from_slice(&self.download.part);
            let mut buffer = ReadBuf::new(&mut scratch[..before + PIECE_MIN]);
            buffer.set_filled(before);
            let read = Pin::new(&mut self.server.io).poll_read(cx, &mut buffer);
            let is_unanswered = !self.download.has_begun;
            ready!(read).map_err(|_| Broken::Server { is_unanswered })?;
            if buffer.filled().len() == before {
                return Poll::Ready(Err(Broken::Server { is_unanswered }));
            }
            self.download.has_begun = true;
            Poll::Ready(self.heard(client, buffer.filled(), telling, cx))
        })
    }

    fn heard<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        mut bytes: &[u8],
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Result<Option<Answered>, Broken> {
        loop {
            let mut room = answer::room();
            match Answer::read(bytes, &mut room, self.is_head) {
                Said::Answer(answer) => {
                    let body = &bytes[answer.lines.head.len()..];
                    return self.answer(client, answer, body, telling, cx).map(Some);
                }
                Said::Part if bytes.len() < HEAD_MAX => {
                    self.download.part = bytes.to_vec();
                    return Ok(None);
                }
                Said::Interim(head) => bytes = &bytes[head..],
                Said::Part | Said::Nonsense => return Err(Broken::Nonsense),
            }
        }
    }

    /// Hands over the head, with what has come of the body.
    fn answer<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        mut answer: Answer<'_, '_>,
        body: &[u8],
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Result<Answered, Broken> {
        // The end of such a body is that of the connection; so it is if the client may not go on.
        let is_last =
            telling.is_last || matches!(answer.body, Body::Rest) || self.upload.is_unfinished();
        let status = answer.status;
        self.download.part = Vec::new();
        self.download.is_last = answer.is_last;
        let out = &mut client.out;
        out.clear();
        answer.write(out, telling.edits, is_last);
        self.download.body = std::mem::replace(&mut answer.body, Body::Length(0));
        let there = self.download.walk(body)?;
        let body = &body[..there];
        let written = if body.len() <= COPIED {
            out.extend_from_slice(body);
            Pin::new(&mut client.io).poll_write(cx, out)
        } else {
            let parts = [IoSlice::new(out), IoSlice::new(body)];
            Pin::new(&mut client.io).poll_write_vectored(cx, &parts)
        };
        let written = match written {
            Poll::Ready(written) => written.map_err(|_| Broken::Client)?,
            Poll::Pending => 0,
        };
        self.download.must_flush = true;
        let out = &client.out;
        self.download.held.keep(out.get(written..).unwrap_or_default());
        if body.len() > COPIED {
            self.download.held.keep(&body[written.saturating_sub(out.len())..]);
        }
        Ok(Answered { status, is_last })
    }

    /// Ready when all of the answer's body is with the client.
    fn poll_body<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let held = self.download.held.poll_write(cx, &mut client.io);
            ready!(held).map_err(|_| Broken::Client)?;
            ready!(self.download.poll_pipe_emptied(client, cx))?;
            if self.download.held.len() > 0 {
                continue; // it was taken out of the pipe
            }
            if self.download.has_ended() {
                ready!(self.download.poll_flush(client, cx))?;
                return Poll::Ready(Ok(()));
            }
            let is_piped = self.finds_pipe(client);
            let piece =
                if is_piped { self.poll_pipe_filled(cx) } else { self.poll_piece_down(client, cx) };
            if piece.is_pending() {
                self.download.rests();
                self.server.io.reads_for(ReadFor::Rest);
                let _ = self.download.poll_flush(client, cx)?;
            }
            ready!(piece)?;
        }
    }

    /// Whether the rest of the answer's body goes through a pipe: if it is long, is taken as fast as it
    /// comes, and there is one.
    fn finds_pipe<T: Transport>(&mut self, client: &Client<T>) -> bool {
        let (taken, left) = (self.download.taken, self.download.left());
        match self.download.way {
            Way::Piped(_) => return true,
            Way::MustBeCopied => return false,
            Way::Copied if taken < PIPED_MIN || left < PIPED_MIN => return false,
            Way::Copied => {}
        }
        if self.server.io.plain().is_none() || client.io.plain().is_none() {
            return false;
        }
        let lent = pipes::lend();
        let is_lent = lent.is_some();
        self.download.way = lent.map_or(Way::Copied, Way::Piped);
        self.download.passed = PIECE_MIN; // so far its server had much to say
        is_lent
    }

    /// Moves some of the answer's body into the pipe.
    fn poll_pipe_filled(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), Broken>> {
        let most = usize::try_from(self.download.left()).unwrap_or(usize::MAX);
        let pipe = self.download.way.pipe();
        let Some((server, pipe)) = self.server.io.plain().zip(pipe) else {
            return Poll::Ready(Ok(()));
        };
        match ready!(server.poll_fill_pipe(pipe, most, cx)) {
            // The end, or what cannot be moved (TCP's urgent data): who reads sees which.
            Ok(0) => self.download.way = Way::MustBeCopied,
            Ok(count) => self.download.passes(count),
            Err(error) if pipes::is_refusal(&error) => self.download.way = Way::MustBeCopied,
            Err(_) => return Poll::Ready(Err(Broken::Server { is_unanswered: false })),
        }
        self.server.touch();
        Poll::Ready(Ok(()))
    }

    /// Reads some of the answer's body, and writes what the client takes of it at once. As long as
    /// that is all of it, the next piece may be larger.
    fn poll_piece_down<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        scratch::with_scratch(|scratch| {
            let most = self.download.piece.min(self.download.held.most());
            let mut buffer = ReadBuf::new(&mut scratch[..most]);
            let read = Pin::new(&mut self.server.io).poll_read(cx, &mut buffer);
            ready!(read).map_err(|_| Broken::Server { is_unanswered: false })?;
            let piece = buffer.filled();
            if piece.is_empty() {
                return Poll::Ready(self.download.closed());
            }
            let is_full = piece.len() == most;
            let there = self.download.walk(piece)?;
            let piece = &piece[..there];
            let written = match Pin::new(&mut client.io).poll_write(cx, piece) {
                Poll::Ready(written) => written.map_err(|_| Broken::Client)?,
                Poll::Pending => 0,
            };
            self.download.must_flush = true;
            if written < piece.len() {
                (self.download.piece, self.download.taken) = (PIECE_MIN, 0);
            } else if is_full {
                self.download.piece = (self.download.piece * 2).min(scratch::LENGTH);
                self.download.taken += piece.len() as u64;
            }
            self.download.held.keep(&piece[written..]);
            self.server.touch();
            Poll::Ready(Ok(()))
        })
    }
}

/// Which side broke off.
enum Lost {
    Client,
    Server,
}

impl Download {
    fn poll_flush<T: Transport>(
        &mut self,
        client: &mut Client<T>,
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
        client: &Client<T>,
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
                    self.held.keep(&bytes);
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
        let there = match &mut self.body {
            Body::Length(left) => {
                let there = (*left).min(bytes.len() as u64);
                *left -= there;
                there as usize
            }
            Body::Chunked(chunked) => chunked.walk(bytes).map_err(|_| Broken::Nonsense)?,
            Body::Rest => bytes.len(),
        };
        self.is_last |= there < bytes.len();
        self.handed += there as u64;
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
