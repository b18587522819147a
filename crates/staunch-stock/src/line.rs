//! The line of those who wait, longest first.
//!
//! What is granted lies in the waiter's own slot, so that collecting it takes no lock that others
//! want. A slot is written by whoever takes it out of the line, under the desk's lock, once.

use std::{collections::VecDeque, fmt, sync::PoisonError, task::Waker};

use crate::{
    stock::Grant,
    sync::{Arc, Mutex, MutexGuard},
};

#[derive(Debug)]
pub(crate) struct Line<T, D> {
    /// By number, and by deadline too: everybody has the same patience.
    waiting: VecDeque<(D, Arc<Slot<T>>)>,
    next: u64,
}

/// A place in the line. To be given up by [`Stock::leave`](crate::Stock::leave), unless it was
/// answered.
#[must_use = "who leaves the line must say so"]
pub struct Turn<T>(Arc<Slot<T>>);

pub(crate) struct Slot<T> {
    number: u64,
    state: Mutex<State<T>>,
}

enum State<T> {
    Waits(Waker),
    Answered(Answer<T>),
    /// The answer was collected.
    Over,
}

/// What became of a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It was worth it.
    Granted(Grant<T>),
    /// It took too long.
    TimedOut,
    /// Nobody gets anything any more.
    Closed,
}

impl<T, D: Ord> Line<T, D> {
    pub(crate) fn new() -> Line<T, D> {
        Line { waiting: VecDeque::new(), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn join(&mut self, deadline: D, waker: &Waker) -> Turn<T> {
        self.next += 1;
        let state = Mutex::new(State::Waits(waker.clone()));
        let slot = Arc::new(Slot { number: self.next, state });
        self.waiting.push_back((deadline, Arc::clone(&slot)));
        Turn(slot)
    }

    /// Answers the first in line; whoever it is must be woken. The line is not empty.
    pub(crate) fn answer_first(&mut self, answer: Answer<T>) -> Option<Waker> {
        let (_, slot) = self.waiting.pop_front()?;
        slot.answer(answer)
    }

    /// Takes those whose deadline has come out of the line.
    pub(crate) fn expire(&mut self, now: &D) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self.waiting.front().is_some_and(|(deadline, _)| deadline <= now) {
            woken.extend(self.answer_first(Answer::TimedOut));
        }
        woken
    }

    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.waiting.drain(..).filter_map(|(_, slot)| slot.answer(Answer::Closed)).collect()
    }

    /// Whether it was still in line.
    pub(crate) fn leave(&mut self, turn: &Turn<T>) -> bool {
        let number = turn.0.number;
        let at = self.waiting.binary_search_by_key(&number, |(_, slot)| slot.number);
        at.is_ok_and(|at| self.waiting.remove(at).is_some())
    }
}

impl<T> Turn<T> {
    /// The answer, if there is one; else `waker` is woken by it.
    pub(crate) fn collect(&self, waker: &Waker) -> Option<Answer<T>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Answered(answer) => Some(answer),
            State::Waits(mut known) => {
                known.clone_from(waker);
                *state = State::Waits(known);
                None
            }
            State::Over => None,
        }
    }

    /// The answer, if there is one.
    pub(crate) fn take(self) -> Option<Answer<T>> {
        match std::mem::replace(&mut *self.0.lock(), State::Over) {
            State::Answered(answer) => Some(answer),
            State::Waits(_) | State::Over => None,
        }
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Answer<T>) -> Option<Waker> {
        match std::mem::replace(&mut *self.lock(), State::Answered(answer)) {
            State::Waits(waker) => Some(waker),
            State::Answered(_) | State::Over => None,
        }
    }
}

impl<T> fmt::Debug for Turn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("number", &self.number).finish_non_exhaustive()
    }
}
