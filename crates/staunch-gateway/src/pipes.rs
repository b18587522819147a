//! The pipes through which long answers go without being copied.
//!
//! There are so many at most: who finds none copies. So clients that stop in the middle of long answers
//! can take no more than these.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    ops::{Deref, DerefMut},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use staunch_net::Pipe;
use tokio::time::Instant;

/// Of all threads: a quarter of the pages that the kernel gives a user for pipes (pipe(7)).
const MOST: usize = 64;

/// Of the descriptors that there may be, such a part is for pipes, each of which has two.
const PART: u64 = 16;

/// When there was none to be had, nobody asks again for so long.
const PAUSE: Duration = Duration::from_secs(1);

static LENT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Until then nobody asks.
    static PAUSES: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The kernel does without: nobody asks again.
    static ARE_REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// A pipe that counts as long as it is there.
#[derive(Debug)]
pub(crate) struct Lent {
    pipe: Pipe,
    _counts: Counted,
}

#[derive(Debug)]
struct Counted;

/// One for a long answer, if there is any.
pub(crate) fn lend() -> Option<Lent> {
    if ARE_REFUSED.get() {
        return None;
    }
    let counts = Counted::new()?;
    if PAUSES.get().is_some_and(|until| Instant::now() < until) {
        return None;
    }
    let pipe = Pipe::new().inspect_err(|_| PAUSES.set(Some(Instant::now() + PAUSE))).ok()?;
    Some(Lent { pipe, _counts: counts })
}

/// Whether the kernel, or who guards it, does not do it for anybody. It says so before it moves
/// anything.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    let kinds = [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::PermissionDenied];
    let is_refusal = kinds.contains(&error.kind());
    ARE_REFUSED.set(ARE_REFUSED.get() || is_refusal);
    is_refusal
}

fn most() -> usize {
    static PIPES: OnceLock<usize> = OnceLock::new();
    *PIPES.get_or_init(|| {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(files / PART / 2).unwrap_or(MOST).min(MOST)
    })
}

impl Counted {
    fn new() -> Option<Counted> {
        let one_more = |lent| (lent < most()).then_some(lent + 1);
        LENT.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LENT.fetch_sub(1, Relaxed);
    }
}

impl Deref for Lent {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        &self.pipe
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Pipe {
        &mut self.pipe
    }
}
