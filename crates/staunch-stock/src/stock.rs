//! The stock itself: shelves, a desk, and the sign that says when to go to the desk.

use std::{sync::PoisonError, task::Waker};

use crate::{
    line::{Answer, Line, Turn},
    shelf::Shelf,
    sync::{AtomicU8, Mutex, MutexGuard, Ordering, thread_number},
};

/// A bounded stock of `T`, with deadlines of type `D`; see the [crate](crate).
#[derive(Debug)]
pub struct Stock<T, D> {
    limits: Limits,
    shelves: Box<[Shelf<T>]>,
    sign: Sign,
    desk: Mutex<Desk<T, D>>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Things, idle and lent, and places for them.
    pub most: usize,
    /// Idle things. One that is given back beyond is surplus.
    pub most_idle: usize,
    /// Those who stand in line.
    pub most_waiting: usize,
    /// Which idle thing is taken next.
    pub order: Order,
}

/// Which idle thing is taken next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that came back last: its caches are warm, and the others become idle enough to be
    /// ended. Of those that came back on the same thread, if there is one.
    Lifo,
    /// The one that has been idle for longest: all are used alike. Threads share one shelf then.
    Fifo,
}

/// What one gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Grant<T> {
    /// A thing.
    Idle(T),
    /// A place for a new one: to be filled, and then [given](Stock::give), or
    /// [given back](Stock::give_place).
    Place,
}

/// What became of a wish.
#[derive(Debug)]
pub enum Ask<T> {
    /// Here it is.
    Granted(Grant<T>),
    /// There is nothing: wait for it.
    Wait {
        /// The place in the line.
        turn: Turn<T>,
        /// The line was empty: somebody should [look](Stock::expire) at it now and then.
        begins: bool,
    },
    /// The line is as long as it may be.
    Full,
    /// Nobody gets anything any more.
    Closed,
}

/// What became of a thing that was given back.
#[derive(Debug)]
#[must_use = "somebody may have to be woken, or the thing to be ended"]
pub enum Given<T> {
    /// It is idle.
    Kept,
    /// The first in line has it: wake it.
    Handed(Waker),
    /// There are idle ones enough, or the stock is closed: end it. Its place is free already.
    Surplus(T),
    /// It was kept, and others came for it meanwhile.
    Settled(Settled<T>),
}

/// What is left to do after some things found their way.
#[derive(Debug)]
#[must_use = "somebody may have to be woken, or things to be ended"]
pub struct Settled<T> {
    /// Who must be woken.
    pub woken: Vec<Waker>,
    /// What must be ended. Its places are free already.
    pub surplus: Vec<T>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Things, idle and lent, and places that somebody has.
    pub total: usize,
    /// Idle things.
    pub idle: usize,
    /// Those who stand in line.
    pub waiting: usize,
    /// Things that were [taken](Stock::take), so far.
    pub taken: u64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Desk<T, D> {
    total: usize,
    line: Line<T, D>,
    /// Somebody looks at the line now and then.
    is_watched: bool,
}

/// Says to who takes or gives whether there is a reason to go to the desk. Changed under the
/// desk's lock only.
#[derive(Debug)]
#[repr(align(128))]
struct Sign(AtomicU8);

impl Sign {
    const CLOSED: u8 = 1;
    /// Somebody stands in line.
    const LINE: u8 = 2;
    /// There are more things than may be idle: count before one is kept.
    const CROWDED: u8 = 4;

    #[inline]
    fn shows(&self, what: u8) -> bool {
        self.0.load(Ordering::SeqCst) & what != 0
    }

    fn set(&self, what: u8, on: bool) {
        if on {
            self.0.fetch_or(what, Ordering::SeqCst);
        } else {
            self.0.fetch_and(!what, Ordering::SeqCst);
        }
    }
}

/// More threads than this share shelves.
const MOST_SHELVES: usize = 16;

impl<T, D: Ord> Stock<T, D> {
    /// An empty stock with a shelf for each processor.
    pub fn new(limits: Limits) -> Stock<T, D> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Stock::with_shelves(limits, if cfg!(loom) { 2 } else { processors })
    }

    pub(crate) fn with_shelves(limits: Limits, shelves: usize) -> Stock<T, D> {
        let shelves = if limits.order == Order::Fifo { 1 } else { shelves.min(MOST_SHELVES) };
        Stock {
            limits,
            shelves: (0..shelves).map(|_| Shelf::new()).collect(),
            sign: Sign(AtomicU8::new(0)),
            desk: Mutex::new(Desk { total: 0, line: Line::new(), is_watched: false }),
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk<T, D>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of this thread's shelf.
    #[inline]
    fn own(&self) -> usize {
        thread_number() % self.shelves.len()
    }

    /// An idle thing, if there is one that nobody waits for.
    #[inline]
    pub fn take(&self) -> Option<T> {
        if self.sign.shows(Sign::LINE | Sign::CLOSED) {
            return None;
        }
        let own = self.own();
        self.shelves[own].take(self.limits.order).or_else(|| self.take_elsewhere(own))
    }

    #[cold]
    fn take_elsewhere(&self, own: usize) -> Option<T> {
        let (before, from) = self.shelves.split_at(own);
        from[1..].iter().chain(before).find_map(|shelf| shelf.take(self.limits.order))
    }

    /// A thing, a place for one, or a turn.
    pub fn ask(&self, deadline: D, waker: &Waker) -> Ask<T> {
        let mut desk = self.desk();
        if self.sign.shows(Sign::CLOSED) {
            return Ask::Closed;
        }
        if desk.line.is_empty()
            && let Some(grant) = self.grant(&mut desk)
        {
            return Ask::Granted(grant);
        }
        if desk.line.len() >= self.limits.most_waiting {
            return Ask::Full;
        }
        if desk.line.is_empty() {
            self.sign.set(Sign::LINE, true);
            // Whoever gives from now on sees the sign. Somebody may just have given, and not.
            if let Some(idle) = self.pop() {
                self.sign.set(Sign::LINE, false);
                return Ask::Granted(Grant::Idle(idle));
            }
        }
        let turn = desk.line.join(deadline, waker);
        let begins = !std::mem::replace(&mut desk.is_watched, true);
        Ask::Wait { turn, begins }
    }

    /// What there is for somebody who is first.
    fn grant(&self, desk: &mut Desk<T, D>) -> Option<Grant<T>> {
        let idle = self.pop().map(Grant::Idle);
        idle.or_else(|| self.count_place(desk).then_some(Grant::Place))
    }

    /// Of any shelf.
    fn pop(&self) -> Option<T> {
        self.shelves.iter().find_map(|shelf| shelf.pop(self.limits.order))
    }

    /// The answer to a turn, if there is one; else `waker` will be woken by it.
    pub fn collect(&self, turn: &Turn<T>, waker: &Waker) -> Option<Answer<T>> {
        turn.collect(waker)
    }

    /// Leaves the line. What was granted meanwhile is the caller's, to be given back.
    pub fn leave(&self, turn: Turn<T>) -> Option<Grant<T>> {
        let mut desk = self.desk();
        if desk.line.leave(&turn) {
            self.lower_sign(&desk);
            return None;
        }
        drop(desk);
        match turn.take() {
            Some(Answer::Granted(grant)) => Some(grant),
            Some(Answer::TimedOut | Answer::Closed) | None => None,
        }
    }

    /// Wakes those who have stood in line for too long; `None` when there is no line, and nobody
    /// need look until one begins.
    pub fn expire(&self, now: &D) -> Option<Vec<Waker>> {
        let mut desk = self.desk();
        desk.is_watched = !desk.line.is_empty();
        let woken = desk.line.expire(now);
        self.lower_sign(&desk);
        desk.is_watched.then_some(woken)
    }

    fn lower_sign(&self, desk: &Desk<T, D>) {
        if desk.line.is_empty() && self.sign.shows(Sign::LINE) {
            self.sign.set(Sign::LINE, false);
        }
    }

    /// Gives a thing back.
    #[inline]
    pub fn give(&self, item: T) -> Given<T> {
        const ANY: u8 = Sign::CLOSED | Sign::LINE | Sign::CROWDED;
        if self.sign.shows(ANY) {
            return self.give_at_desk(item);
        }
        self.shelves[self.own()].push(item);
        if self.sign.shows(ANY) { Given::Settled(self.settle()) } else { Given::Kept }
    }

    fn give_at_desk(&self, item: T) -> Given<T> {
        let mut desk = self.desk();
        if !desk.line.is_empty() {
            let waker = desk.line.answer_first(Answer::Granted(Grant::Idle(item)));
            self.lower_sign(&desk);
            return waker.map_or(Given::Kept, Given::Handed);
        }
        if self.sign.shows(Sign::CLOSED) || self.idle() >= self.limits.most_idle {
            self.uncount_place(&mut desk);
            return Given::Surplus(item);
        }
        self.shelves[self.own()].push(item);
        Given::Kept
    }

    /// Something was put on a shelf while the sign went up: sees to those who came for it.
    #[cold]
    fn settle(&self) -> Settled<T> {
        let mut settled = Settled { woken: Vec::new(), surplus: Vec::new() };
        let mut desk = self.desk();
        while !desk.line.is_empty()
            && let Some(idle) = self.pop()
        {
            settled.woken.extend(desk.line.answer_first(Answer::Granted(Grant::Idle(idle))));
        }
        self.lower_sign(&desk);
        let keep = if self.sign.shows(Sign::CLOSED) { 0 } else { self.limits.most_idle };
        while desk.line.is_empty()
            && self.idle() > keep
            && let Some(idle) = self.pop()
        {
            self.uncount_place(&mut desk);
            settled.surplus.push(idle);
        }
        settled
    }

    /// A place for a new thing made ahead of need, if fewer than `wanted` are idle.
    pub fn take_place_ahead(&self, wanted: usize) -> bool {
        let mut desk = self.desk();
        !self.sign.shows(Sign::CLOSED) && self.idle() < wanted && self.count_place(&mut desk)
    }

    /// Gives a place back; whoever is first in line has it, and is to be woken.
    pub fn give_place(&self) -> Option<Waker> {
        let mut desk = self.desk();
        if desk.line.is_empty() {
            self.uncount_place(&mut desk);
            return None;
        }
        self.hand_place(&mut desk)
    }

    /// Gives a place back that cannot be filled now: who stands in line waits on, for what is lent. If
    /// nothing is, nor any other place, the first in line has it all the same: nothing else will come.
    pub fn keep_place_back(&self) -> Option<Waker> {
        let mut desk = self.desk();
        if desk.line.is_empty() || desk.total > 1 {
            self.uncount_place(&mut desk);
            return None;
        }
        self.hand_place(&mut desk)
    }

    /// Gives the first in line a place that was kept back, if there is one.
    pub fn offer_place(&self) -> Option<Waker> {
        let mut desk = self.desk();
        if desk.line.is_empty() || !self.count_place(&mut desk) {
            return None;
        }
        self.hand_place(&mut desk)
    }

    /// To the first in line; it is counted already.
    fn hand_place(&self, desk: &mut Desk<T, D>) -> Option<Waker> {
        let waker = desk.line.answer_first(Answer::Granted(Grant::Place));
        self.lower_sign(desk);
        waker
    }

    fn count_place(&self, desk: &mut Desk<T, D>) -> bool {
        let is_free = desk.total < self.limits.most;
        desk.total += usize::from(is_free);
        self.see_crowd(desk);
        is_free
    }

    fn uncount_place(&self, desk: &mut Desk<T, D>) {
        desk.total -= 1;
        self.see_crowd(desk);
    }

    fn see_crowd(&self, desk: &Desk<T, D>) {
        let is_crowded = desk.total > self.limits.most_idle;
        if is_crowded != self.sign.shows(Sign::CROWDED) {
            self.sign.set(Sign::CROWDED, is_crowded);
        }
    }

    /// Takes the idle things for which `take` says so out, told how many are left of those that
    /// were idle when it began; others may come and go meanwhile. Their places are the caller's.
    pub fn extract(&self, mut take: impl FnMut(&T, usize) -> bool) -> Vec<T> {
        let mut left = self.idle();
        let mut taken = Vec::new();
        for shelf in &self.shelves {
            let mut content = shelf.lock();
            for _ in 0..content.items.len() {
                let Some(item) = content.items.pop_front() else { break };
                if take(&item, left) {
                    taken.push(item);
                    left = left.saturating_sub(1);
                } else {
                    content.items.push_back(item);
                }
            }
        }
        taken
    }

    /// Nobody gets anything any more. What is idle must be ended, who waits must hear of it.
    pub fn close(&self) -> Settled<T> {
        let mut desk = self.desk();
        self.sign.set(Sign::CLOSED, true);
        let woken = desk.line.close();
        self.lower_sign(&desk);
        let mut surplus = Vec::new();
        while let Some(idle) = self.pop() {
            self.uncount_place(&mut desk);
            surplus.push(idle);
        }
        Settled { woken, surplus }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.sign.shows(Sign::CLOSED)
    }

    /// All shelves at once: what is taken from one and put on another meanwhile must not be counted
    /// twice, or one would be ended that is not too many. No memory is asked for under their locks.
    fn idle(&self) -> usize {
        let contents: [_; MOST_SHELVES] =
            std::array::from_fn(|nth| self.shelves.get(nth).map(Shelf::lock));
        contents.iter().flatten().map(|content| content.items.len()).sum()
    }

    /// How much there is of everything. While others take and give it is a glimpse.
    pub fn count(&self) -> Count {
        let desk = self.desk();
        let taken = self.shelves.iter().map(|shelf| shelf.lock().taken).sum();
        let (total, waiting) = (desk.total, desk.line.len());
        Count { total, idle: self.idle(), waiting, taken }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
