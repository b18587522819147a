//! A connection at rest: of the next request nothing has come.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_ledger::State;
use staunch_net::{FIRST_WORDS, ReadFor};
use staunch_scope::{Wait, with_current_account};
use tokio::{io::ReadBuf, time::sleep};

use super::{sniff::PREFACE, socket::Transport};

/// A connection of which nothing is in hand: all that is kept of it until its client says
/// something. There may be thousands of them.
#[derive(Debug)]
pub struct Resting<T> {
    pub(super) transport: T,
    /// Requests that it has had.
    pub(super) begun: u32,
}

/// The first that a client says: no more than tells one protocol from the other.
#[derive(Debug)]
pub struct Heard {
    bytes: [u8; PREFACE.len()],
    count: u8,
}

impl Heard {
    /// What it is; never nothing.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl<T: Transport> Resting<T> {
    /// A connection that has had so many requests.
    pub fn new(transport: T, begun: u32) -> Resting<T> {
        Resting { transport, begun }
    }

    /// The connection, and how many requests it has had.
    pub fn into_parts(self) -> (T, u32) {
        (self.transport, self.begun)
    }

    /// What the client says; `None` when it leaves or is cut, or the task is asked to stop, before.
    /// What it has said by then is heard; and of one that has only just connected the first request
    /// is waited for, a moment: it would be reset on its way.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn hears(&mut self) -> Option<Heard> {
        let (mut wait, mut moment) = (Wait::new(), None);
        poll_fn(|cx| {
            let is_asked = wait.poll_cancelled(cx).is_ready();
            let heard = self.poll_hear(cx);
            if is_asked && heard.is_pending() {
                if self.begun == 0 {
                    let moment = moment.get_or_insert_with(|| Box::pin(sleep(FIRST_WORDS)));
                    ready!(moment.as_mut().poll(cx));
                }
                return Poll::Ready(None);
            }
            if heard.is_pending() {
                self.transport.reads_for(ReadFor::Message);
                self.transport.rests(true);
                with_current_account(|task| task.set_state(State::Idle));
            }
            heard
        })
        .await
    }

    fn poll_hear(&mut self, cx: &mut Poller<'_>) -> Poll<Option<Heard>> {
        let mut bytes = [0; PREFACE.len()];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer));
        let count = buffer.filled().len() as u8; // of 24
        Poll::Ready((read.is_ok() && count > 0).then_some(Heard { bytes, count }))
    }
}
