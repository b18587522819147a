//! Pieces on their way from whoever makes them to the connection: a queue bounded in bytes.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Poller, Poll, Waker},
};

use bytes::Bytes;
use staunch_ledger::State;
use staunch_scope::{Cancelled, Wait};

/// The end that makes pieces.
///
/// As long as it lives the stream goes on, wherever it is. It may be moved to a task of its own.
#[derive(Debug)]
pub struct Sender {
    queue: Arc<Mutex<Queue>>,
}

/// The end that takes them.
#[derive(Debug)]
pub(super) struct Receiver {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    room: usize,
    sends: Option<Waker>,
    takes: Option<Waker>,
    is_made: bool,
    is_wanted: bool,
}

/// A piece cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stream has ended: its client has left, or it was told to end.
    #[error("the stream has ended: nobody takes what is made")]
    Ended,
    /// The sending task is asked to stop.
    #[error("the task that sends is to stop: {0}")]
    Cancelled(#[from] Cancelled),
}

pub(super) fn channel(room: usize) -> (Sender, Receiver) {
    let queue = Arc::new(Mutex::new(Queue {
        pieces: VecDeque::new(),
        bytes: 0,
        room,
        sends: None,
        takes: None,
        is_made: false,
        is_wanted: true,
    }));
    (Sender { queue: Arc::clone(&queue) }, Receiver { queue })
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    /// Sends `piece` when there is room for it ([`buffer`](crate::StreamLimits::buffer)).
    ///
    /// # Errors
    /// [`SendError`]
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing of `piece` is sent.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> Result<(), SendError> {
        let mut piece = piece.into();
        let mut wait = Wait::new();
        poll_fn(|cx| wait.poll(cx, State::Write, |cx| self.poll_push(cx, &mut piece))).await?
    }

    /// Waits until there is room for a piece: for whoever would rather not make it before.
    ///
    /// # Errors
    /// [`SendError`]
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&mut self) -> Result<(), SendError> {
        let mut wait = Wait::new();
        poll_fn(|cx| wait.poll(cx, State::Write, |cx| self.poll_ready(cx))).await?
    }

    fn poll_ready(&mut self, cx: &Poller<'_>) -> Poll<Result<(), SendError>> {
        let mut queue = lock(&self.queue);
        if !queue.is_wanted {
            return Poll::Ready(Err(SendError::Ended));
        }
        if queue.bytes < queue.room {
            return Poll::Ready(Ok(()));
        }
        queue.sends = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_push(&mut self, cx: &Poller<'_>, piece: &mut Bytes) -> Poll<Result<(), SendError>> {
        let mut queue = lock(&self.queue);
        if !queue.is_wanted {
            return Poll::Ready(Err(SendError::Ended));
        }
        if piece.is_empty() {
            return Poll::Ready(Ok(())); // it would end a chunked body
        }
        if queue.bytes > 0 && queue.bytes + piece.len() > queue.room {
            queue.sends = Some(cx.waker().clone());
            return Poll::Pending;
        }
        queue.bytes += piece.len();
        queue.pieces.push_back(std::mem::take(piece));
        let takes = queue.takes.take();
        drop(queue);
        if let Some(takes) = takes {
            takes.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the stream has ended: nobody takes what is made.
    pub fn is_ended(&self) -> bool {
        !lock(&self.queue).is_wanted
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let takes = {
            let mut queue = lock(&self.queue);
            queue.is_made = true;
            queue.takes.take()
        };
        if let Some(takes) = takes {
            takes.wake();
        }
    }
}

impl Receiver {
    /// Takes the next piece, if there is one. Until [`poll_take`](Self::poll_take) nobody is woken for
    /// more: it is made by the task that takes it.
    pub(super) fn take(&mut self, cx: &Poller<'_>) -> Option<Bytes> {
        let mut queue = lock(&self.queue);
        queue.takes = None;
        pop(queue, cx)
    }

    /// Takes the next piece when there is one; `None` when there will be none.
    pub(super) fn poll_take(&mut self, cx: &Poller<'_>) -> Poll<Option<Bytes>> {
        let mut queue = lock(&self.queue);
        if queue.pieces.is_empty() && !queue.is_made {
            queue.takes = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(pop(queue, cx))
    }

    /// Whether there will be no more than there is.
    pub(super) fn is_made(&self) -> bool {
        lock(&self.queue).is_made
    }

    /// Takes no more than there is.
    pub(super) fn close(&self) {
        let sends = {
            let mut queue = lock(&self.queue);
            queue.is_wanted = false;
            queue.sends.take()
        };
        if let Some(sends) = sends {
            sends.wake();
        }
    }
}

/// The next piece, for which there is room again.
fn pop(mut queue: MutexGuard<'_, Queue>, cx: &Poller<'_>) -> Option<Bytes> {
    let piece = queue.pieces.pop_front()?;
    queue.bytes -= piece.len();
    // Whoever sends within the same task is polled again without being woken.
    let sends = queue.sends.take().filter(|sends| !sends.will_wake(cx.waker()));
    drop(queue);
    if let Some(sends) = sends {
        sends.wake();
    }
    Some(piece)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let (sends, pieces) = {
            let mut queue = lock(&self.queue);
            queue.is_wanted = false;
            queue.bytes = 0;
            (queue.sends.take(), std::mem::take(&mut queue.pieces))
        };
        drop(pieces);
        if let Some(sends) = sends {
            sends.wake();
        }
    }
}
