//! A client's connection while something of it is in hand.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_http::{
    Resting, Transport,
    wire::{self, Alarm, BODY_FORGOTTEN, Looked},
};
use staunch_net::ReadFor;
use tokio::{io::ReadBuf, time::Instant};

use super::outgoing::Introduction;
use crate::{
    access::{End, Entry},
    scratch,
};

/// A client's connection, and what its requests have in common.
#[derive(Debug)]
pub(crate) struct Client<'a, T> {
    pub(crate) io: T,
    /// What it has said and nobody has read.
    pub(crate) said: Vec<u8>,
    /// Bytes of its request's body that are not on their way to a server.
    pub(crate) unread: u64,
    /// How far it was looked at, if it is a part of a head.
    pub(crate) looked: Looked,
    /// What it is told next, and what its server is.
    pub(crate) out: Vec<u8>,
    pub(crate) asking: Vec<u8>,
    pub(crate) alarm: Pin<&'a mut Alarm>,
    /// Since when nothing is in hand, while that is so.
    pub(crate) idle_since: Instant,
    pub(crate) introduction: Introduction,
    pub(crate) ip: Option<IpAddr>,
    /// What will be logged of its request.
    pub(crate) entry: Option<Box<Entry>>,
    /// Requests that it has made.
    pub(crate) begun: u32,
}

impl<'a, T: Transport> Client<'a, T> {
    /// One that has begun to speak.
    pub(crate) fn new(
        resting: Resting<T>,
        heard: &[u8],
        is_secure: bool,
        alarm: Pin<&'a mut Alarm>,
    ) -> Client<'a, T> {
        let (io, begun) = resting.into_parts();
        let ip = io.peer().map(|peer| peer.ip());
        Client {
            io,
            said: heard.to_vec(),
            unread: 0,
            looked: Looked::default(),
            out: Vec::new(),
            asking: Vec::new(),
            alarm,
            idle_since: Instant::now(),
            introduction: Introduction::new(ip, is_secure),
            ip,
            entry: None,
            begun,
        }
    }

    /// Gives memory back that is of no use before its next request.
    pub(crate) fn gives_room(&mut self) {
        wire::give_room(std::mem::take(&mut self.out));
        wire::give_room(std::mem::take(&mut self.asking));
    }

    /// Notes something of its request, if that is logged.
    pub(crate) fn note(&mut self, note: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            note(entry);
        }
    }

    /// All that is logged of its request is known.
    pub(crate) fn noted(&mut self, end: End) {
        if let Some(mut entry) = self.entry.take() {
            entry.ends(end);
        }
    }

    /// Forgets what has come of its request's body, which nobody reads; whether that is all of it. If not,
    /// the connection must end: what comes next is no request.
    pub(crate) async fn forgets_body(&mut self) -> bool {
        if self.unread > BODY_FORGOTTEN as u64 {
            return false;
        }
        let there = self.said.len().min(self.unread as usize);
        self.said.drain(..there);
        self.unread -= there as u64;
        poll_fn(|cx| Poll::Ready(self.poll_forget(cx) == Poll::Ready(true))).await
    }

    fn poll_forget(&mut self, cx: &mut Poller<'_>) -> Poll<bool> {
        scratch::with_scratch(|scratch| {
            while self.unread > 0 {
                let most = scratch::LENGTH.min(self.unread as usize);
                let mut buffer = ReadBuf::new(&mut scratch[..most]);
                let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(false);
                }
                self.unread -= buffer.filled().len() as u64;
            }
            Poll::Ready(true)
        })
    }

    /// Ready when it has left, or cannot be heard any more. What it says meanwhile is kept.
    pub(crate) fn poll_leaving(&mut self, cx: &mut Poller<'_>) -> Poll<()> {
        let left = wire::poll_leaving(&mut self.io, &mut self.said, cx);
        if left.is_pending() {
            self.io.reads_for(ReadFor::Leaving);
        }
        left.map(drop)
    }
}
