//! The body of an answer that is made while it is sent.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use staunch_ledger::{Account, Observation, State};
use staunch_scope::{BoxError, Piece, shield};

use super::{
    admission::{Ending, Held},
    pace::{Due, Pace},
    sender::Receiver,
};

/// The body of a stream's answer; or of one that says why there is none.
#[derive(Debug)]
#[must_use = "a body that is dropped is not sent"]
pub struct StreamBody(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    Made(Box<Making>),
}

/// What is made within the request's task: its future is a part of the body's.
pub(super) type Made = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A stream does not end as it should. Its client sees the connection break, or the stream reset:
/// what has come is not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Whoever makes it failed.
    #[error("what makes the stream failed: {0}")]
    Failed(#[source] BoxError),
    /// Nothing was made for too long.
    #[error("nothing was made for {limit:?} (`idle`)")]
    Idle {
        /// The limit that was passed.
        limit: Duration,
    },
    /// It took too long.
    #[error("it was not whole after {limit:?} (`lifetime`)")]
    Lifetime {
        /// The limit that was passed.
        limit: Duration,
    },
}

/// What is sent when there is nothing to send, and last: of a stream that has no end of its own.
#[derive(Clone, Copy)]
pub(super) struct Signs {
    pub(super) heartbeat: &'static [u8],
    pub(super) farewell: fn(Ending) -> Bytes,
}

pub(super) struct Making {
    // Dropped from top to bottom: what is made may use what it is on the ledger as.
    made: Option<Made>,
    receiver: Receiver,
    pace: Pace,
    /// Ready when the server is to stop.
    draining: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// It ends before whoever makes it does, with what waits to be taken.
    is_draining: bool,
    signs: Option<Signs>,
    is_over: bool,
    piece: Piece,
    held: Held,
}

impl StreamBody {
    /// A body that is there already.
    pub fn whole(bytes: impl Into<Bytes>) -> StreamBody {
        StreamBody(Inner::Whole(bytes.into()))
    }

    pub(super) fn made(
        made: Made,
        receiver: Receiver,
        signs: Option<Signs>,
        piece: Piece,
        held: Held,
    ) -> StreamBody {
        let pace = Pace::new(held.limits(), signs.is_some());
        let draining = signs.is_some().then(|| {
            let draining = crate::draining();
            Box::pin(async move { _ = draining.cancelled().await }) as Pin<Box<_>>
        });
        let made = Some(made);
        let making = Making {
            made,
            receiver,
            pace,
            draining,
            is_draining: false,
            signs,
            is_over: false,
            piece,
            held,
        };
        StreamBody(Inner::Made(Box::new(making)))
    }
}

impl Making {
    /// The next piece, if there is one; made now, if need be.
    fn poll_made(&mut self, cx: &mut Poller<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        if let Some(piece) = self.receiver.take(cx) {
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Err(failed) = self.make(cx) {
            return Poll::Ready(Some(Err(failed)));
        }
        match self.receiver.poll_take(cx) {
            Poll::Ready(None) if self.made.is_some() => Poll::Pending, // it does more, but sends no more
            taken => taken.map(|piece| piece.map(Ok)),
        }
    }

    /// Has it go on where it is made here, as far as there is room.
    fn make(&mut self, cx: &mut Poller<'_>) -> Result<(), StreamError> {
        let Some(made) = &mut self.made else { return Ok(()) };
        // Shielded as a handler is: what is begun is finished, whoever is to stop.
        let polling = shield(poll_fn(|cx| self.piece.poll(|| made.as_mut().poll(cx))));
        match pin!(polling).poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(ended) => {
                self.made = None;
                ended.map_err(StreamError::Failed)
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Poller<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // Before more is made: there may always be something.
        if let Some(draining) = &mut self.draining
            && draining.as_mut().poll(cx).is_ready()
            && let Err(failed) = self.drains(cx)
        {
            return Poll::Ready(self.take(Some(Err(failed))));
        }
        if self.is_draining {
            return Poll::Ready(match self.receiver.take(cx) {
                Some(piece) => self.take(Some(Ok(piece))),
                None => Some(self.end(Ending::Draining)),
            });
        }
        if let Poll::Ready(made) = self.poll_made(cx) {
            return Poll::Ready(self.take(made));
        }
        let due = self.pace.poll(cx);
        self.piece.account().set_state(State::Sleep);
        let ending = match ready!(due) {
            Due::Idle => Ending::Idle,
            Due::Lifetime => Ending::Lifetime,
            Due::Heartbeat => {
                self.pace.beaten();
                self.piece.account().touch();
                let beat = self.signs.map(|signs| Ok(Bytes::from_static(signs.heartbeat)));
                return Poll::Ready(beat);
            }
        };
        Poll::Ready(Some(self.end(ending)))
    }

    /// The server is to stop: no more is made, wherever that is, but for the last word of whoever has been told
    /// so, too ([`draining`](crate::draining)).
    fn drains(&mut self, cx: &mut Poller<'_>) -> Result<(), StreamError> {
        self.draining = None;
        self.make(cx)?;
        self.is_draining = self.made.is_some() || !self.receiver.is_made();
        self.made = None;
        self.receiver.close();
        Ok(())
    }

    /// A piece is on its way to the client.
    fn take(
        &mut self,
        made: Option<Result<Bytes, StreamError>>,
    ) -> Option<Result<Bytes, StreamError>> {
        match &made {
            Some(Ok(_)) if !self.pace.made() => return Some(self.end(Ending::Lifetime)),
            Some(Ok(_)) => {
                self.piece.account().touch();
                self.piece.account().set_state(State::Write);
            }
            Some(Err(_)) => self.over(Ending::Failed),
            None => self.over(Ending::Whole),
        }
        made
    }

    /// It is to end before whoever makes it does.
    fn end(&mut self, ending: Ending) -> Result<Bytes, StreamError> {
        self.over(ending);
        if let Some(signs) = self.signs {
            return Ok((signs.farewell)(ending));
        }
        let limits = self.held.limits();
        let error = match ending {
            Ending::Lifetime => StreamError::Lifetime { limit: limits.lifetime },
            _ => StreamError::Idle { limit: limits.idle },
        };
        observe(self.piece.account(), ending.rule(), &error);
        Err(error)
    }

    fn over(&mut self, ending: Ending) {
        self.is_over = true;
        self.made = None;
        self.piece.account().set_state(State::Stopping);
        self.held.ends(ending);
    }
}

/// Notes on the ledger that what was to be whole is not.
fn observe(stream: &Account, rule: &'static str, error: &StreamError) {
    let ledger = stream.ledger();
    if let Some(entry) = ledger.entry(stream.id()) {
        let text = format!("{}: {error}", entry.label());
        let (kind, born_at) = (entry.kind(), entry.born_at());
        ledger.observe(Observation { rule, kind, born_at, text, at: ledger.now() });
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let piece = match &mut self.0 {
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Inner::Made(making) => ready!(making.poll_next(cx)),
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Made(making) => making.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Made(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Making {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Making")
            .field("piece", &self.piece)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
