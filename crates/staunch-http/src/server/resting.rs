//! A connection at rest, of whose next request nothing has come, and how it is woken.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_ledger::State;
use staunch_net::{FIRST_WORDS, ReadFor};
use staunch_scope::{Wait, with_current_account};
use tokio::{
    io::ReadBuf,
    time::{Sleep, sleep},
};

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

    fn poll_hear(&mut self, cx: &mut Poller<'_>) -> Poll<Option<Heard>> {
        let mut bytes = [0; PREFACE.len()];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer));
        let count = buffer.filled().len() as u8; // of 24
        Poll::Ready((read.is_ok() && count > 0).then_some(Heard { bytes, count }))
    }
}

/// Has `work` do what there is to do whenever the client of a connection says something, until nothing
/// of it is in hand: then it gives the connection back. Ends when it does not, or when the client
/// leaves or is cut, or the task is asked to stop, before anything was said. What has been said by then
/// is heard; and of one that has only just connected the first request is waited for, a moment: it
/// would be reset on its way.
///
/// While nothing is in hand the future has 56 bytes: what works is boxed, one at a time.
///
/// # Errors
/// Those of `work`.
///
/// # Cancel safety
/// Dropping it drops what works, and closes the connection.
pub fn take_turns<T, W, F, E>(transport: T, work: W) -> TakeTurns<T, W, F>
where
    T: Transport,
    W: FnMut(Resting<T>, Heard) -> F + Unpin,
    F: Future<Output = Result<Option<Resting<T>>, E>>,
{
    let resting = Some(Resting::new(transport, 0));
    TakeTurns { resting, hearing: Hearing::default(), working: None, work }
}

/// Rests, works, rests; made by [`take_turns`].
#[derive(Debug)]
#[must_use = "nothing is answered until it is awaited"]
pub struct TakeTurns<T, W, F> {
    /// While it does not work.
    resting: Option<Resting<T>>,
    hearing: Hearing,
    working: Option<Pin<Box<F>>>,
    work: W,
}

impl<T, W, F, E> Future for TakeTurns<T, W, F>
where
    T: Transport,
    W: FnMut(Resting<T>, Heard) -> F + Unpin,
    F: Future<Output = Result<Option<Resting<T>>, E>>,
{
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(working) = &mut this.working {
                this.resting = ready!(working.as_mut().poll(cx))?;
                this.working = None;
            }
            let Some(resting) = &mut this.resting else { return Poll::Ready(Ok(())) };
            let heard = ready!(this.hearing.poll(resting, cx));
            this.hearing = Hearing::default();
            let (Some(heard), Some(resting)) = (heard, this.resting.take()) else {
                return Poll::Ready(Ok(()));
            };
            this.working = Some(Box::pin((this.work)(resting, heard)));
        }
    }
}

/// A wait for what a client says.
#[derive(Debug, Default)]
struct Hearing {
    wait: Wait,
    /// In which one may say its first words that is not to go on.
    moment: Option<Pin<Box<Sleep>>>,
}

impl Hearing {
    /// What the client says; `None` at the end.
    fn poll<T: Transport>(
        &mut self,
        resting: &mut Resting<T>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Heard>> {
        let is_asked = self.wait.poll_cancelled(cx).is_ready();
        let heard = resting.poll_hear(cx);
        if heard.is_ready() {
            resting.transport.rests(false);
            return heard;
        }
        if is_asked {
            if resting.begun == 0 {
                let moment = self.moment.get_or_insert_with(|| Box::pin(sleep(FIRST_WORDS)));
                ready!(moment.as_mut().poll(cx));
            }
            // As far as it goes: over TLS the client is told that this is the end.
            let _ = Pin::new(&mut resting.transport).poll_shutdown(cx);
            return Poll::Ready(None);
        }
        resting.transport.reads_for(ReadFor::Message);
        resting.transport.rests(true);
        with_current_account(|task| task.set_state(State::Idle));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Ready, sync::Arc};

    use staunch_net::Connection;

    use super::*;

    /// The task of an idle connection has one, and just fits what tokio takes for it.
    #[test]
    fn what_takes_turns_is_small() {
        type Work =
            fn(Resting<Connection>, Heard) -> Ready<Result<Option<Resting<Connection>>, ()>>;
        let size = size_of::<TakeTurns<Connection, Work, Ready<()>>>();
        assert!(size <= 56, "{size} bytes");
        assert_eq!(size_of::<Work>(), size_of::<Arc<()>>(), "what the servers' have");
    }
}
