//! The accounts of a pool: who is idle, how many there are, who waits in line.
//!
//! Pure: no connections are made or ended here, no clock is read, and wakers are handed to the
//! caller, to be woken after the lock is released. Everything that frees a connection or a place
//! goes through [`Core::give`] or [`Core::give_place`], which serve the line first; so a waiter
//! is granted what it waits for in its turn, and nobody who comes later can take it.
//!
//! **Invariant.** `total` counts idle connections, granted ones, and every place that somebody
//! holds; it never exceeds `most`.
//!
//! **Invariant.** While somebody stands in line, nothing is idle and no place is free.
//!
//! Everybody in line has the same patience, so the line is in the order of its deadlines too. It is
//! looked at now and then ([`Core::expire`]) by the keeper, which is told when the line begins: no
//! timer for each wait.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use tokio::time::Instant;

use crate::options::Order;

pub(crate) struct Core<T> {
    most: usize,
    most_idle: usize,
    most_waiting: usize,
    order: Order,
    idle: VecDeque<T>,
    total: usize,
    line: BTreeMap<u64, Waiter>,
    /// Granted and not yet collected: never more than connections.
    granted: Vec<(u64, Grant<T>)>,
    timed_out: Vec<u64>,
    next_ticket: u64,
    /// Somebody looks at the line now and then.
    is_watched: bool,
    closed: bool,
}

struct Waiter {
    waker: Waker,
    deadline: Instant,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    /// Nobody looks at the line yet: tell the keeper.
    pub(crate) begins: bool,
}

/// What a waiter gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Grant<T> {
    /// A connection.
    Idle(T),
    /// A place for a new one.
    Place,
}

/// What became of a wish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask<T> {
    Granted(Grant<T>),
    /// There is nothing: stand in line.
    Full,
    /// It has stood in line for as long as it may.
    TimedOut,
    Closed,
}

/// What became of a connection that was given back.
#[derive(Debug)]
pub(crate) enum Given<T> {
    /// The first in line has it: wake it.
    Handed(Waker),
    /// It is idle.
    Kept,
    /// There are idle ones enough, or the pool is closed: end it. Its place is free already;
    /// whoever waits for one is to be woken.
    Surplus(T, Option<Waker>),
}

impl<T> Core<T> {
    pub(crate) fn new(most: usize, most_idle: usize, most_waiting: usize, order: Order) -> Core<T> {
        Core {
            most,
            most_idle,
            most_waiting,
            order,
            idle: VecDeque::new(),
            total: 0,
            line: BTreeMap::new(),
            granted: Vec::new(),
            timed_out: Vec::new(),
            next_ticket: 0,
            is_watched: false,
            closed: false,
        }
    }

    /// An idle connection, if there is one that nobody waits for.
    #[inline]
    pub(crate) fn take_idle(&mut self) -> Option<T> {
        match self.order {
            Order::Lifo => self.idle.pop_back(),
            Order::Fifo => self.idle.pop_front(),
        }
    }

    /// A connection, or a place for one.
    pub(crate) fn ask(&mut self) -> Ask<T> {
        if self.closed {
            return Ask::Closed;
        }
        match self.take_idle() {
            Some(idle) => Ask::Granted(Grant::Idle(idle)),
            None if self.take_place() => Ask::Granted(Grant::Place),
            None => Ask::Full,
        }
    }

    /// A place for a new connection, if there is one.
    pub(crate) fn take_place(&mut self) -> bool {
        let free = !self.closed && self.total < self.most;
        self.total += usize::from(free);
        free
    }

    /// Stands in line; `None` when it is too long.
    pub(crate) fn stand_in_line(&mut self, waker: &Waker, deadline: Instant) -> Option<Ticket> {
        if self.line.len() >= self.most_waiting {
            return None;
        }
        self.next_ticket += 1;
        self.line.insert(self.next_ticket, Waiter { waker: waker.clone(), deadline });
        let begins = !std::mem::replace(&mut self.is_watched, true);
        Some(Ticket { number: self.next_ticket, begins })
    }

    /// Those who have stood in line for too long, to be woken; `None` when there is no line, and
    /// nobody need look until one begins.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Vec<Waker>> {
        self.is_watched = !self.line.is_empty();
        let mut expired = Vec::new();
        while let Some(first) = self.line.first_entry().filter(|it| it.get().deadline <= now) {
            let (ticket, waiter) = first.remove_entry();
            self.timed_out.push(ticket);
            expired.push(waiter.waker);
        }
        self.is_watched.then_some(expired)
    }

    /// What was granted to a ticket: `Err` while it is still in line.
    pub(crate) fn collect(&mut self, ticket: u64, waker: &Waker) -> Result<Ask<T>, ()> {
        if let Some(grant) = self.take_grant(ticket) {
            return Ok(Ask::Granted(grant));
        }
        if let Some(waiter) = self.line.get_mut(&ticket) {
            waiter.waker.clone_from(waker);
            return Err(());
        }
        Ok(if self.forget_timeout(ticket) { Ask::TimedOut } else { Ask::Closed })
    }

    /// Leaves the line. What was granted meanwhile must be given back by the caller.
    pub(crate) fn leave_line(&mut self, ticket: u64) -> Option<Grant<T>> {
        if self.line.remove(&ticket).is_some() {
            return None;
        }
        self.forget_timeout(ticket);
        self.take_grant(ticket)
    }

    fn forget_timeout(&mut self, ticket: u64) -> bool {
        let at = self.timed_out.iter().position(|timed_out| *timed_out == ticket);
        at.map(|at| self.timed_out.swap_remove(at)).is_some()
    }

    fn take_grant(&mut self, ticket: u64) -> Option<Grant<T>> {
        let at = self.granted.iter().position(|(granted, _)| *granted == ticket)?;
        Some(self.granted.swap_remove(at).1)
    }

    /// Gives a connection back.
    #[inline]
    pub(crate) fn give(&mut self, connection: T) -> Given<T> {
        if let Some((ticket, waiter)) = self.line.pop_first() {
            self.granted.push((ticket, Grant::Idle(connection)));
            return Given::Handed(waiter.waker);
        }
        if self.closed || self.idle.len() >= self.most_idle {
            return Given::Surplus(connection, self.give_place());
        }
        self.idle.push_back(connection);
        Given::Kept
    }

    /// Gives a place back; whoever is first in line has it, and is to be woken.
    pub(crate) fn give_place(&mut self) -> Option<Waker> {
        if let Some((ticket, waiter)) = self.line.pop_first() {
            self.granted.push((ticket, Grant::Place));
            return Some(waiter.waker);
        }
        self.total -= 1;
        None
    }

    /// Takes the idle connections for which `take` says so out, with their places.
    pub(crate) fn extract(&mut self, mut take: impl FnMut(&T, usize) -> bool) -> Vec<T> {
        let mut left = self.idle.len();
        let mut taken = Vec::new();
        for _ in 0..self.idle.len() {
            let Some(connection) = self.idle.pop_front() else { break };
            if take(&connection, left) {
                taken.push(connection);
                left -= 1;
            } else {
                self.idle.push_back(connection);
            }
        }
        taken
    }

    /// Nobody gets anything any more: the idle connections, and who must hear of it.
    pub(crate) fn close(&mut self) -> (Vec<T>, Vec<Waker>) {
        self.closed = true;
        let idle: Vec<T> = self.idle.drain(..).collect();
        self.total -= idle.len();
        let line = std::mem::take(&mut self.line);
        (idle, line.into_values().map(|waiter| waiter.waker).collect())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(most: usize, most_idle: usize) -> Core<u32> {
        Core::new(most, most_idle, 2, Order::Lifo)
    }

    fn stand(core: &mut Core<u32>) -> u64 {
        core.stand_in_line(Waker::noop(), Instant::now()).expect("the line is short").number
    }

    fn collect(core: &mut Core<u32>, ticket: u64) -> Option<Grant<u32>> {
        match core.collect(ticket, Waker::noop()) {
            Ok(Ask::Granted(grant)) => Some(grant),
            _ => None,
        }
    }

    #[test]
    fn a_place_for_each_up_to_the_most() {
        let mut core = core(2, 2);
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        assert_eq!(core.ask(), Ask::Full);
        assert!(matches!(core.give(7), Given::Kept));
        assert_eq!(core.ask(), Ask::Granted(Grant::Idle(7)));
        assert_eq!((core.total(), core.idle()), (2, 0));
    }

    #[test]
    fn the_longest_waiter_is_served_first_and_nobody_overtakes() {
        let mut core = core(1, 1);
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        let (first, second) = (stand(&mut core), stand(&mut core));
        let third = core.stand_in_line(Waker::noop(), Instant::now());
        assert_eq!(third, None, "the line is full");
        assert!(matches!(core.give(7), Given::Handed(_)));
        assert_eq!(core.ask(), Ask::Full, "what is granted is not to be had");
        assert_eq!(collect(&mut core, second), None);
        assert_eq!(collect(&mut core, first), Some(Grant::Idle(7)));
        assert!(core.give_place().is_some(), "it broke: its place goes to the next");
        assert_eq!(collect(&mut core, second), Some(Grant::Place));
        assert!(core.give_place().is_none());
        assert_eq!(core.total(), 0);
    }

    #[test]
    fn who_leaves_the_line_gives_back_what_was_granted() {
        let mut core = core(1, 1);
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        let (first, second) = (stand(&mut core), stand(&mut core));
        assert!(matches!(core.give(7), Given::Handed(_)));
        assert_eq!(core.leave_line(first), Some(Grant::Idle(7)));
        assert!(matches!(core.give(7), Given::Handed(_)));
        assert_eq!(collect(&mut core, second), Some(Grant::Idle(7)));
    }

    #[test]
    fn more_idle_than_wanted_are_surplus_and_their_place_is_free() {
        let mut core = core(2, 1);
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        assert!(matches!(core.give(1), Given::Kept));
        assert!(matches!(core.give(2), Given::Surplus(2, None)));
        assert_eq!((core.total(), core.idle()), (1, 1));
    }

    #[test]
    fn who_stands_in_line_for_too_long_hears_of_it_and_the_others_move_up() {
        let mut core = core(1, 1);
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        let (now, second) = (Instant::now(), std::time::Duration::from_secs(1));
        let first = core.stand_in_line(Waker::noop(), now + second).unwrap();
        let last = core.stand_in_line(Waker::noop(), now + 2 * second).unwrap();
        assert_eq!((first.begins, last.begins), (true, false), "the keeper is told once");
        assert_eq!(core.expire(now).map(|expired| expired.len()), Some(0));
        assert_eq!(core.expire(now + second).map(|expired| expired.len()), Some(1));
        assert_eq!(core.collect(first.number, Waker::noop()), Ok(Ask::TimedOut));
        assert!(matches!(core.give(7), Given::Handed(_)));
        assert_eq!(core.expire(now + 9 * second).map(|it| it.len()), None, "granted in time");
        assert_eq!(collect(&mut core, last.number), Some(Grant::Idle(7)));
        let next = core.stand_in_line(Waker::noop(), now).unwrap();
        assert!(next.begins && core.timed_out.is_empty());
    }

    #[test]
    fn closed_everybody_hears_of_it() {
        let mut core = core(2, 2);
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        assert_eq!(core.ask(), Ask::Granted(Grant::Place));
        assert!(matches!(core.give(1), Given::Kept));
        assert_eq!(core.ask(), Ask::Granted(Grant::Idle(1)));
        let ticket = stand(&mut core);
        let (idle, woken) = core.close();
        assert_eq!((idle.len(), woken.len()), (0, 1));
        assert_eq!(core.collect(ticket, Waker::noop()), Ok(Ask::Closed));
        assert!(matches!(core.give(1), Given::Surplus(1, None)));
        assert!(core.give_place().is_none());
        assert_eq!((core.ask(), core.total()), (Ask::Closed, 0));
    }
}
