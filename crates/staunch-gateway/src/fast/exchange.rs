//! One request and its answer, each on its way to the other side.
//!
//! What has come is handed over at once; what the other side does not take is kept until it does,
//! and nothing is read meanwhile.

use std::{
    io::ErrorKind,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_http::{Transport, wire::clear_room};
use staunch_ledger::Account;
use staunch_net::ReadFor;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

use super::{
    answer::{self, Answer, Body, Said},
    asked::Asked,
    client::Client,
    download::{Download, PIECE_MIN},
    edits::Edits,
    server::Leased,
    upload::Upload,
};
use crate::scratch;

/// Bytes of an answer's head, as hyper's client takes them.
const HEAD_MAX: usize = 64 << 10;
const LONG_HEAD: &str = "its head has more than 64 KiB, which is the most that is taken";

/// Why there is no answer, or no more of it.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client has gone.
    Client,
    /// The server broke off, before a byte of an answer or after.
    Server { is_unanswered: bool },
    /// The server took nothing of the request for as long as it may, and was cut for it.
    Stalled,
    /// What it said is no answer, and why not.
    Nonsense(&'static str),
}

/// A server, and what is between it and its client.
pub(crate) struct Exchange {
    server: Leased,
    pub(crate) upload: Upload,
    /// A head of the server that has not come whole.
    part: Vec<u8>,
    download: Download,
    /// The server has said something.
    has_begun: bool,
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

/// What is known of an answer once its head has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The client was told to say no more.
    pub(crate) is_last: bool,
}

impl Exchange {
    pub(crate) fn new(server: Leased, asked: &Asked, now: Instant) -> Exchange {
        Exchange {
            server,
            upload: Upload::new(asked.body, now),
            part: Vec::new(),
            download: Download::new(),
            has_begun: false,
            is_head: asked.is_head,
            shown: (0, 0),
        }
    }

    /// Sends the request, until the head of an answer has come, of which the client has been told.
    pub(crate) fn poll_answer<T: Transport>(
        &mut self,
        client: &mut Client<'_, T>,
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<Answered, Broken>> {
        self.upload.poll(&mut self.server, client, cx)?;
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
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), Broken>> {
        self.upload.poll(&mut self.server, client, cx)?;
        if self.download.poll_body(&mut self.server, client, cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_leaving(client, cx)
    }

    /// Whether the end of the connection is that of the answer, so that one that was cut must look
    /// like a failure. Others say how long they are.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.download.ends_with_connection()
    }

    /// Bytes of the answer's body that are with the client, or kept for it.
    pub(crate) fn handed(&self) -> u64 {
        self.download.handed()
    }

    /// Has the request's account show what is held of it and its answer, and that something moves.
    pub(crate) fn show(&mut self, account: &Account) {
        let held = (self.upload.held() + self.download.held()) as u64;
        let moved = self.upload.got() + self.download.handed();
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
    pub(crate) fn end<T>(&mut self, client: &Client<'_, T>) {
        if self.upload.is_whole(&client.asking) && !self.download.is_last() {
            self.server.complete();
        }
    }

    /// Notices when the client leaves, while it can only wait; never ready otherwise.
    fn poll_leaving<T: Transport, R>(
        &self,
        client: &mut Client<'_, T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<R, Broken>> {
        if self.upload.is_heard() {
            return Poll::Pending; // its body is read, and that sees it
        }
        client.poll_leaving(cx).map(|()| Err(Broken::Client))
    }

    /// Reads what the server says; ready with nothing when it has only said that it will say more.
    fn poll_head<T: Transport>(
        &mut self,
        client: &mut Client<'_, T>,
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<Option<Answered>, Broken>> {
        scratch::with_scratch(|scratch| {
            let before = self.part.len();
            scratch[..before].copy_from_slice(&self.part);
            let mut buffer = ReadBuf::new(&mut scratch[..before + PIECE_MIN]);
            buffer.set_filled(before);
            let read = Pin::new(&mut self.server.io).poll_read(cx, &mut buffer);
            let is_unanswered = !self.has_begun;
            // Before an answer nothing else of the watchdog's rings.
            ready!(read).map_err(|error| match error.kind() {
                ErrorKind::TimedOut => Broken::Stalled,
                _ => Broken::Server { is_unanswered },
            })?;
            if buffer.filled().len() == before {
                return Poll::Ready(Err(Broken::Server { is_unanswered }));
            }
            self.has_begun = true;
            Poll::Ready(self.heard(client, buffer.filled(), telling, cx))
        })
    }

    fn heard<T: Transport>(
        &mut self,
        client: &mut Client<'_, T>,
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
                    self.part = bytes.to_vec();
                    return Ok(None);
                }
                Said::Interim(head) => bytes = &bytes[head..],
                Said::Part => return Err(Broken::Nonsense(LONG_HEAD)),
                Said::Nonsense(why) => return Err(Broken::Nonsense(why)),
            }
        }
    }

    /// Hands over the head, with what has come of the body.
    fn answer<T: Transport>(
        &mut self,
        client: &mut Client<'_, T>,
        mut answer: Answer<'_, '_>,
        body: &[u8],
        telling: Telling<'_>,
        cx: &mut Poller<'_>,
    ) -> Result<Answered, Broken> {
        // The end of such a body is that of the connection; so it is if the client may not go on.
        let is_last =
            telling.is_last || matches!(answer.body, Body::Rest) || self.upload.is_unfinished();
        self.part = Vec::new();
        clear_room(&mut client.out);
        answer.write(&mut client.out, telling.edits, is_last);
        let status = answer.status;
        let length = std::mem::replace(&mut answer.body, Body::Length(0));
        self.download.begin(client, length, answer.is_last, body, cx)?;
        Ok(Answered { status, is_last })
    }
}
