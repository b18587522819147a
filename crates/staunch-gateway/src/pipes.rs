//! The pipes of a thread, through which long answers go without being copied.
//!
//! There are so many at most: who finds none copies. So clients that stop in the middle of long answers
//! can take no more than these.

use std::{
    cell::Cell,
    io::ErrorKind,
    ops::{Deref, DerefMut},
};

use staunch_net::Pipe;

/// Of each thread; two descriptors each, and at most 256 KiB.
const MOST: usize = 64;

thread_local! {
    /// Those that are lent. Tasks of the gateway stay on their thread.
    static LENT: Cell<usize> = const { Cell::new(0) };
    /// The kernel does without, or has no more descriptors: nobody asks again.
    static ARE_REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// A pipe that counts as long as it is there.
#[derive(Debug)]
pub(crate) struct Lent(Pipe);

/// One for a long answer, if there is any.
pub(crate) fn lend() -> Option<Lent> {
    if ARE_REFUSED.get() || LENT.get() >= MOST {
        return None;
    }
    let pipe = Pipe::new().ok()?; // no descriptors are left
    LENT.set(LENT.get() + 1);
    Some(Lent(pipe))
}

/// Whether the kernel cannot do it, which it says before it takes anything.
pub(crate) fn is_refusal(error: &std::io::Error) -> bool {
    let is_refusal = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
    ARE_REFUSED.set(ARE_REFUSED.get() || is_refusal);
    is_refusal
}

impl Deref for Lent {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Pipe {
        &mut self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT.set(LENT.get() - 1);
    }
}
