use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use staunch_ledger::{Entered, Ledger, OwnedLedger};

use super::*;

/// Somebody who wants a buffer.
#[derive(Default)]
struct Customer {
    ticket: Option<Ticket>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Customer {
    fn take(&mut self, pool: &Arc<BufferPool>) -> Option<Buffer> {
        let waker = Waker::from(Arc::clone(&self.woken));
        match pool.poll_take(&mut self.ticket, &mut Poller::from_waker(&waker)) {
            Poll::Ready(buffer) => Some(buffer),
            Poll::Pending => None,
        }
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }
}

/// A pool of `most` buffers of 10 bytes, on a ledger of its own, which is the current one.
fn pool(most: usize) -> (OwnedLedger, Entered, Arc<BufferPool>) {
    let ledger = Ledger::new();
    let entered = ledger.enter();
    (ledger, entered, Arc::new(BufferPool::new(10, most * 10)))
}

fn bytes(ledger: Ledger) -> u64 {
    ledger.snapshot().entries().iter().map(staunch_ledger::Entry::bytes).sum()
}

#[test]
fn there_are_never_more_than_the_most_and_always_at_least_one() {
    let (ledger, _entered, pool) = pool(3);
    let taken: Vec<Buffer> = (0..3).filter_map(|_| Customer::default().take(&pool)).collect();
    assert_eq!((taken.len(), bytes(*ledger)), (3, 30));
    assert!(Customer::default().take(&pool).is_none());
    drop(taken);
    assert_eq!(bytes(*ledger), 30, "kept for the next");

    let (_ledger, _entered, tiny) = super::tests::pool(0);
    assert!(Customer::default().take(&tiny).is_some());
}

#[test]
fn a_buffer_given_back_wakes_the_first_in_line() {
    let (_ledger, _entered, pool) = pool(1);
    let buffer = Customer::default().take(&pool);
    let (mut first, mut second) = (Customer::default(), Customer::default());
    assert!(first.take(&pool).is_none() && second.take(&pool).is_none());
    assert!(first.take(&pool).is_none(), "polled again, it keeps its place");
    drop(buffer);
    assert_eq!((first.woken(), second.woken()), (1, 0));
    let buffer = first.take(&pool);
    assert!(buffer.is_some() && second.take(&pool).is_none());
    drop(buffer);
    assert_eq!((first.woken(), second.woken()), (1, 1));
    assert!(second.take(&pool).is_some());
}

#[test]
fn who_is_overtaken_goes_to_the_front() {
    let (_ledger, _entered, pool) = pool(1);
    let buffer = Customer::default().take(&pool);
    let (mut first, mut second) = (Customer::default(), Customer::default());
    assert!(first.take(&pool).is_none() && second.take(&pool).is_none());
    drop(buffer);
    let overtaking = Customer::default().take(&pool);
    assert!(overtaking.is_some() && first.take(&pool).is_none());
    drop(overtaking);
    assert_eq!((first.woken(), second.woken()), (2, 0));
}

#[test]
fn who_leaves_the_line_passes_its_turn_on() {
    let (_ledger, _entered, pool) = pool(1);
    let buffer = Customer::default().take(&pool);
    let (mut first, mut second, mut third) = Default::default();
    for customer in [&mut first, &mut second, &mut third] {
        assert!(Customer::take(customer, &pool).is_none());
    }
    drop(second.ticket.take()); // not its turn: nobody is woken
    assert_eq!((first.woken(), third.woken()), (0, 0));
    drop(buffer);
    assert_eq!((first.woken(), third.woken()), (1, 0));
    drop(first.ticket.take()); // its turn
    assert_eq!(third.woken(), 1);
    assert!(third.take(&pool).is_some());
    assert!(!pool.is_short());
}

#[test]
fn who_is_served_without_being_woken_leaves_the_line() {
    let (_ledger, _entered, pool) = pool(1);
    let buffer = Customer::default().take(&pool);
    let (mut first, mut second) = (Customer::default(), Customer::default());
    assert!(first.take(&pool).is_none() && second.take(&pool).is_none());
    drop(buffer);
    let buffer = second.take(&pool); // polled for another reason
    assert!(buffer.is_some() && second.ticket.is_none());
    drop(buffer);
    assert!(first.take(&pool).is_some());
    assert!(!pool.is_short());
}

#[test]
fn trimming_frees_what_was_not_needed_since_the_last_time() {
    let (ledger, _entered, pool) = pool(10);
    let taken: Vec<Buffer> = (0..4).filter_map(|_| Customer::default().take(&pool)).collect();
    pool.trim();
    drop(taken);
    pool.trim();
    assert_eq!(bytes(*ledger), 40, "all four were in use since the last trim");
    let one = Customer::default().take(&pool);
    pool.trim();
    assert_eq!(bytes(*ledger), 10, "three were not");
    drop(one);
    pool.trim();
    pool.trim();
    assert_eq!(bytes(*ledger), 0);
    assert!(Customer::default().take(&pool).is_some());
}
