//! What is idle on one thread's shelf.

use std::{collections::VecDeque, sync::PoisonError};

use crate::{
    stock::Order,
    sync::{Mutex, MutexGuard},
};

/// On cache lines of its own, of which processors fetch two at a time.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shelf<T>(Mutex<Content<T>>);

#[derive(Debug)]
pub(crate) struct Content<T> {
    pub(crate) items: VecDeque<T>,
    /// How many were taken at once.
    pub(crate) taken: u64,
}

impl<T> Shelf<T> {
    pub(crate) fn new() -> Shelf<T> {
        Shelf(Mutex::new(Content { items: VecDeque::new(), taken: 0 }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Content<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn push(&self, item: T) {
        self.lock().items.push_back(item);
    }

    #[inline]
    pub(crate) fn pop(&self, order: Order) -> Option<T> {
        self.lock().pop(order)
    }

    /// As [`pop`](Shelf::pop), and counts.
    #[inline]
    pub(crate) fn take(&self, order: Order) -> Option<T> {
        let mut content = self.lock();
        let item = content.pop(order);
        content.taken += u64::from(item.is_some());
        item
    }
}

impl<T> Content<T> {
    fn pop(&mut self, order: Order) -> Option<T> {
        match order {
            Order::Lifo => self.items.pop_back(),
            Order::Fifo => self.items.pop_front(),
        }
    }
}
