//! A turn in the line for a connection.

use std::{
    sync::Arc,
    task::{Context as Poller, Poll},
};

use staunch_stock::{Answer, Ask, Grant, Turn};
use tokio::time::Instant;

use crate::{manager::Manager, record::Record, shared::Shared};

/// A turn in the line; leaving it gives back what was granted meanwhile.
pub(crate) struct Waiting<'s, M: Manager> {
    shared: &'s Shared<M>,
    /// `None` until there is a line to stand in, and after the answer.
    turn: Option<Turn<Arc<Record<M>>>>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The line is as long as it may be.
    Full,
    TimedOut,
    Closed,
}

type Granted<M> = Result<Grant<Arc<Record<M>>>, Refused>;

impl<'s, M: Manager> Waiting<'s, M> {
    pub(crate) fn new(shared: &'s Shared<M>) -> Waiting<'s, M> {
        Waiting { shared, turn: None }
    }

    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Poller<'_>) -> Poll<Granted<M>> {
        let stock = &self.shared.stock;
        if let Some(turn) = &self.turn {
            let Some(answer) = stock.collect(turn, cx.waker()) else { return Poll::Pending };
            self.turn = None;
            return Poll::Ready(match answer {
                Answer::Granted(grant) => Ok(grant),
                Answer::TimedOut => Err(Refused::TimedOut),
                Answer::Closed => Err(Refused::Closed),
            });
        }
        match stock.ask(deadline, cx.waker()) {
            Ask::Granted(grant) => Poll::Ready(Ok(grant)),
            Ask::Full => Poll::Ready(Err(Refused::Full)),
            Ask::Closed => Poll::Ready(Err(Refused::Closed)),
            Ask::Wait { turn, begins } => {
                self.turn = Some(turn);
                if begins {
                    self.shared.work.notify_one();
                }
                Poll::Pending
            }
        }
    }
}

impl<M: Manager> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        match self.shared.stock.leave(turn) {
            None => {}
            Some(Grant::Idle(record)) => Shared::give(record, self.shared.ledger.now()),
            Some(Grant::Place) => self.shared.give_place(),
        }
    }
}
