//! A client's connection while something of it is in hand.

use std::{
    net::IpAddr,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_http::{Resting, Transport};
use staunch_net::ReadFor;
use tokio::io::ReadBuf;

use super::{alarm::Alarm, outgoing::Introduction};
use crate::{
    access::{End, Entry},
    scratch,
};

/// Bytes that a client may say before it has its answer: then it is not listened to until it has.
const AHEAD_MAX: usize = 8 << 10;

/// A client's connection, and what its requests have in common.
#[derive(Debug)]
pub(crate) struct Client<T> {
    pub(crate) io: T,
    /// What it has said and nobody has read.
    pub(crate) said: Vec<u8>,
    /// What it is told next, and what its server is: kept for the memory.
    pub(crate) out: Vec<u8>,
    pub(crate) asking: Vec<u8>,
    pub(crate) alarm: Alarm,
    pub(crate) introduction: Introduction,
    pub(crate) ip: Option<IpAddr>,
    /// What will be logged of its request.
    pub(crate) entry: Option<Entry>,
    /// Requests that it has made.
    pub(crate) begun: u32,
}

impl<T: Transport> Client<T> {
    /// One that has begun to speak.
    pub(crate) fn new(resting: Resting<T>, heard: &[u8], is_secure: bool) -> Client<T> {
        let (io, begun) = resting.into_parts();
        let ip = io.peer().map(|peer| peer.ip());
        Client {
            io,
            said: heard.to_vec(),
            out: Vec::new(),
            asking: Vec::new(),
            alarm: Alarm::default(),
            introduction: Introduction::new(ip, is_secure),
            ip,
            entry: None,
            begun,
        }
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

    /// Ready when it has left, or cannot be heard any more. What it says meanwhile is kept.
    pub(crate) fn poll_leaving(&mut self, cx: &mut Poller<'_>) -> Poll<()> {
        while self.said.len() < AHEAD_MAX {
            let read = scratch::with_scratch(|scratch| {
                let mut buffer = ReadBuf::new(&mut scratch[..AHEAD_MAX - self.said.len()]);
                let read = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
                self.said.extend_from_slice(buffer.filled());
                read.map(|read| read.is_ok() && !buffer.filled().is_empty())
            });
            if read.is_pending() {
                self.io.reads_for(ReadFor::Leaving);
            }
            if !ready!(read) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
