//! A connection at rest, of whose next request nothing has come, and how it is woken.

use std::{
    future::Future,
    mem,
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
}

/// Has `work` do what there is to do whenever the client of a connection says something, until nothing
/// of it is in hand: then it gives the connection back. Ends when it does not, or when the client
/// leaves or is cut, or the task is asked to stop, before anything was said. What has been said by then
/// is heard; and of one that has only just connected the first request is waited for, a moment: it
/// would be reset on its way.
///
/// The future has 40 bytes: what works is boxed, one at a time.
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
    TakeTurns { turn: Turn::of(Resting::new(transport, 0)), work }
}

/// Rests, works, rests; made by [`take_turns`].
#[derive(Debug)]
#[must_use = "nothing is answered until it is awaited"]
pub struct TakeTurns<T, W, F> {
    turn: Turn<T, F>,
    work: W,
}

/// What a connection does. It is not a [`Resting`] here, whose last bytes would be room for nothing else.
#[derive(Debug)]
enum Turn<T, F> {
    Rests { transport: T, begun: u32, hearing: Hearing },
    Works(Pin<Box<F>>),
    Ended,
}

impl<T, F> Turn<T, F> {
    fn of(resting: Resting<T>) -> Turn<T, F> {
        let Resting { transport, begun } = resting;
        Turn::Rests { transport, begun, hearing: Hearing::default() }
    }

    /// The connection, if it rests; then this is the end, unless it goes on with something else.
    fn take(&mut self) -> Option<Resting<T>> {
        match mem::replace(self, Turn::Ended) {
            Turn::Rests { transport, begun, .. } => Some(Resting { transport, begun }),
            Turn::Works(_) | Turn::Ended => None,
        }
    }
}

impl<T, W, F, E> Future for TakeTurns<T, W, F>
where
    T: Transport,
    W: FnMut(Resting<T>, Heard) -> F + Unpin,
    F: Future<Output = Result<Option<Resting<T>>, E>>,
{
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let TakeTurns { turn, work } = &mut *self;
        loop {
            *turn = match turn {
                Turn::Rests { transport, begun, hearing } => {
                    let heard = ready!(hearing.poll(transport, *begun, cx));
                    turn.take().zip(heard).map_or(Turn::Ended, |(resting, heard)| {
                        Turn::Works(Box::pin(work(resting, heard)))
                    })
                }
                Turn::Works(working) => {
                    let worked = ready!(working.as_mut().poll(cx));
                    *turn = Turn::Ended;
                    worked?.map_or(Turn::Ended, Turn::of)
                }
                Turn::Ended => return Poll::Ready(Ok(())),
            }
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
        transport: &mut T,
        begun: u32,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Heard>> {
        let is_asked = self.wait.poll_cancelled(cx).is_ready();
        let heard = poll_hear(transport, cx);
        if heard.is_ready() {
            transport.rests(false);
            return heard;
        }
        if is_asked {
            if begun == 0 {
                let moment = self.moment.get_or_insert_with(|| Box::pin(sleep(FIRST_WORDS)));
                ready!(moment.as_mut().poll(cx));
            }
            // As far as it goes: over TLS the client is told that this is the end.
            let _ = Pin::new(transport).poll_shutdown(cx);
            return Poll::Ready(None);
        }
        transport.reads_for(ReadFor::Message);
        transport.rests(true);
        with_current_account(|task| task.set_state(State::Idle));
        Poll::Pending
    }
}

fn poll_hear<T: Transport>(transport: &mut T, cx: &mut Poller<'_>) -> Poll<Option<Heard>> {
    let mut bytes = [0; PREFACE.len()];
    let mut buffer = ReadBuf::new(&mut bytes);
    let read = ready!(Pin::new(transport).poll_read(cx, &mut buffer));
    let count = buffer.filled().len() as u8; // of 24
    Poll::Ready((read.is_ok() && count > 0).then_some(Heard { bytes, count }))
}

#[cfg(test)]
mod tests {
    use std::{future::Ready, sync::Arc};

    use staunch_net::Connection;

    use super::*;

    /// The task of an idle connection has one, and just fits a size of the allocator.
    #[test]
    fn what_takes_turns_is_small() {
        type Work =
            fn(Resting<Connection>, Heard) -> Ready<Result<Option<Resting<Connection>>, ()>>;
        let size = size_of::<TakeTurns<Connection, Work, Ready<()>>>();
        assert!(size <= 40, "{size} bytes");
        assert_eq!(size_of::<Work>(), size_of::<Arc<()>>(), "what the servers' have");
    }
}
