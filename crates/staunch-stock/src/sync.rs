//! The one door to locks, atomics and thread-locals, so that loom can stand in for them.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};

/// A number for each thread that asks, from 0.
#[cfg(not(loom))]
pub(crate) fn thread_number() -> usize {
    use std::{cell::Cell, sync::atomic::AtomicUsize};

    const NONE: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    NUMBER.with(|number| {
        if number.get() == NONE {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// A model's threads have the number that the model gives them.
#[cfg(loom)]
pub(crate) fn thread_number() -> usize {
    NUMBER.with(std::cell::Cell::get)
}

#[cfg(loom)]
loom::thread_local! {
    pub(crate) static NUMBER: std::cell::Cell<usize> = std::cell::Cell::new(0);
}
