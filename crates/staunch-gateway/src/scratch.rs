//! The buffer of a thread: what is read goes into it first, and most of it leaves it at once. So a
//! connection that is idle, or whose other side takes what comes, holds none.

use std::cell::RefCell;

/// The most that is read at a time.
pub(crate) const LENGTH: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; LENGTH].into_boxed_slice());
}

/// Lends the buffer. It must not be asked for again meanwhile, so `work` polls sockets and nothing that
/// could do so.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}
