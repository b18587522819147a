//! The frame of a task: how the scope reaches the task, and how the task finds itself.
//!
//! While a task is polled its frame is the thread's *current* one. Through it our own awaits
//! (see [`Wait`](crate::Wait)) say on the ledger what they wait for, and learn at every poll
//! whether the task has been asked to stop; no await registers with a cancellation token, which
//! would cost two locked writes each. To ask, a scope raises the frame's signal and wakes the
//! task: its root waker polls everything an ordinary `.await`, `join!` or `select!` holds. Only
//! an await below an executor of its own (`FuturesUnordered` polls just what was woken) has a
//! waker that differs from the root; it is then registered with the frame.
//!
//! **Invariant.** The account of a frame closes before its membership in the scope ends, and
//! that before the scope does: fields drop in the order they are declared.
//!
//! **Invariant.** Whoever raises the signal wakes the task, or the task sees the signal in its
//! first poll: each side writes (signal; root waker), fences, and then reads what the other
//! writes. So a task sets its root waker before anything else. The moment at which an orphan is
//! to be reaped is read and written under the lock of the members, after the one and before
//! the other wakes. Nested wakers need no fence: both sides go through the lock.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
    task::Waker,
    time::Duration,
};

use staunch_ledger::{Account, Entered, EntryId, Ledger, State};

use crate::{
    context::{Cancelled, Context},
    members::{Members, Membership},
    trail::Trail,
};

/// The waker of a first poll that is no task's of the runtime ([`Task::begin`](crate::task::Task::begin)): it wakes
/// nobody, and is no root. One for all crates: whether two are the same is told by their addresses.
pub(crate) static BEGINS: &Waker = Waker::noop();

/// How far a task's stop has come. Only ever rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    Run = 0,
    /// Our own awaits return [`Cancelled`]; the task may still clean up.
    Asked = 1,
    /// The task's future is dropped at its next poll.
    Forced = 2,
}

pub(crate) struct Frame {
    account: Account,
    /// What the task serves, for log lines: the entry of a connection, or 0.
    subject: AtomicU64,
    root: OnceLock<Waker>,
    nested: Mutex<Option<Box<Nested>>>,
    trail: Trail,
    membership: Membership,
}

/// Wakers below an executor of the task's own, by key.
#[derive(Default)]
struct Nested {
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Frame {
    pub(crate) fn new(account: Account, membership: Membership) -> Frame {
        Frame {
            account,
            subject: AtomicU64::new(0),
            root: OnceLock::new(),
            nested: Mutex::new(None),
            trail: Trail::default(),
            membership,
        }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn members(&self) -> &Arc<Members> {
        self.membership.members()
    }

    pub(crate) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// What the task serves, if it said so.
    pub(crate) fn subject(&self) -> Option<EntryId> {
        let number = self.subject.load(Ordering::Relaxed);
        (number != 0).then(|| EntryId::from_number(number))
    }

    pub(crate) fn set_subject(&self, subject: EntryId) {
        self.subject.store(subject.number(), Ordering::Relaxed);
    }

    pub(crate) fn signal(&self) -> Signal {
        match self.membership.told.load(Ordering::Acquire) {
            0 => Signal::Run,
            1 => Signal::Asked,
            _ => Signal::Forced,
        }
    }

    /// Why the task should stop, once it has been asked.
    pub(crate) fn asked(&self) -> Option<Cancelled> {
        (self.signal() >= Signal::Asked).then(|| self.members().cause())
    }

    /// Raises the signal and wakes whatever the task waits in.
    pub(crate) fn raise(&self, signal: Signal) {
        if self.membership.told.fetch_max(signal as u8, Ordering::AcqRel) < signal as u8 {
            fence(Ordering::SeqCst);
            self.wake();
        }
    }

    /// Has the task polled, wherever it waits.
    pub(crate) fn wake(&self) {
        if let Some(root) = self.root.get() {
            root.wake_by_ref();
        }
        let nested = self.nested().as_mut().map(|nested| std::mem::take(&mut nested.wakers));
        for (_, waker) in nested.into_iter().flatten() {
            waker.wake();
        }
    }

    /// One of our own awaits, neither for a channel nor for a child, is pending.
    pub(crate) fn waits_in(&self, state: State) {
        self.account.set_state(state);
        self.trail.waits_elsewhere();
    }

    /// The end of a child, or of a scope that the task runs, is waited for.
    pub(crate) fn waits_to_join(&self, target: EntryId) {
        self.account.set_state(State::Join);
        self.trail.waits_to_join(target);
    }

    /// Sets the waker that reaches the task; to be called before the signal is first read.
    pub(crate) fn set_root(&self, waker: &Waker) {
        if self.root.get().is_none() {
            let _ = self.root.set(waker.clone());
            fence(Ordering::SeqCst);
        }
    }

    /// Whether the task itself is polled with this waker. Before there is a root, that is [`BEGINS`].
    pub(crate) fn is_root(&self, waker: &Waker) -> bool {
        self.root.get().unwrap_or(BEGINS).will_wake(waker)
    }

    fn nested(&self) -> MutexGuard<'_, Option<Box<Nested>>> {
        self.nested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a waker that is not the root, in the place of `key` if that is still there.
    pub(crate) fn register(&self, key: Option<u64>, waker: &Waker) -> u64 {
        let mut nested = self.nested();
        let nested = nested.get_or_insert_default();
        let known = nested.wakers.iter_mut().find(|(known, _)| Some(*known) == key);
        if let Some((key, known)) = known {
            known.clone_from(waker);
            return *key;
        }
        nested.next += 1;
        nested.wakers.push((nested.next, waker.clone()));
        nested.next
    }

    /// How many waits are registered, if all of them with `waker`.
    pub(crate) fn registered(&self, waker: &Waker) -> Option<usize> {
        let nested = self.nested();
        let wakers = nested.as_ref().map_or(&[][..], |nested| &nested.wakers);
        wakers.iter().all(|(_, known)| known.will_wake(waker)).then_some(wakers.len())
    }

    pub(crate) fn unregister(&self, key: u64) {
        if let Some(nested) = self.nested().as_mut() {
            nested.wakers.retain(|(known, _)| *known != key);
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("account", &self.account).finish_non_exhaustive()
    }
}

/// What this thread is polling.
struct Current {
    /// The task's, and before it those of whoever it is polled by: the body of a scope by who runs it.
    frames: RefCell<Vec<Arc<Frame>>>,
    /// Inside how many [`shield`](crate::shield)s: the task does not hear that it was asked.
    shields: Cell<u32>,
    /// The piece of the task's work.
    piece: RefCell<Option<OfPiece>>,
    /// How much of this poll was that of others, who were begun in it.
    lent: Cell<Duration>,
}

/// What a [`Piece`](crate::Piece) is known by while it is polled.
pub(crate) struct OfPiece {
    context: Context,
    entry: EntryId,
    /// The shields around it: they are not its own.
    shields: u32,
}

thread_local! {
    static CURRENT: Current = const {
        Current {
            frames: RefCell::new(Vec::new()),
            shields: Cell::new(0),
            piece: RefCell::new(None),
            lent: Cell::new(Duration::ZERO),
        }
    };
}

/// Makes a frame the current one for the time of a poll; see [`enter`].
pub(crate) struct Polling<'a> {
    home: &'a mut Option<Arc<Frame>>,
    outer_shields: u32,
    outer_piece: Option<OfPiece>,
    outer_lent: Duration,
    _ledger: Entered,
}

/// Moves the frame out of `home` into the thread until the guard is dropped: no reference is
/// counted. `None` when `home` is empty.
pub(crate) fn enter(home: &mut Option<Arc<Frame>>) -> Option<Polling<'_>> {
    let frame = home.take()?;
    let ledger = frame.account.ledger().enter();
    Some(CURRENT.with(|current| {
        current.frames.borrow_mut().push(frame);
        Polling {
            home,
            outer_shields: current.shields.take(),
            outer_piece: current.piece.take(),
            outer_lent: current.lent.take(),
            _ledger: ledger,
        }
    }))
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        CURRENT.with(|current| {
            let mut frames = current.frames.borrow_mut();
            *self.home = frames.pop();
            let is_outermost = frames.is_empty();
            drop(frames);
            current.shields.set(self.outer_shields);
            current.piece.replace(self.outer_piece.take());
            // What it has lent was lent by whoever polls it, too.
            let lent = self.outer_lent + current.lent.take();
            current.lent.set(if is_outermost { Duration::ZERO } else { lent });
        });
    }
}

/// How much of the running poll was that of others so far.
pub(crate) fn lent() -> Duration {
    CURRENT.with(|current| current.lent.get())
}

/// Has somebody begin in the poll of the running task, whose time it is not, nor its fault if that takes long.
pub(crate) fn lend<R>(ledger: Ledger, begin: impl FnOnce() -> R) -> R {
    let lent = |time: Duration| CURRENT.with(|current| current.lent.replace(time));
    let (begun, before) = (ledger.now(), lent(Duration::ZERO));
    each_running(State::Running, |account| account.set_state(State::Waiting));
    let has_begun = begin();
    each_running(State::Waiting, |account| {
        account.set_state(State::Running);
        account.touch(); // its poll goes on from here
    });
    lent(before + ledger.now().since(begun));
    has_begun
}

/// Every task that is polled on this thread, one by the other, and is in `state`.
fn each_running(state: State, f: impl Fn(&Account)) {
    CURRENT.with(|current| {
        let frames = current.frames.borrow();
        let accounts = frames.iter().map(|frame| &frame.account);
        accounts.filter(|account| account.state() == state).for_each(f);
    });
}

/// Shields what is polled until the guard is dropped.
pub(crate) struct Shielded {
    before: u32,
}

pub(crate) fn enter_shield() -> Shielded {
    Shielded { before: CURRENT.with(|current| current.shields.replace(current.shields.get() + 1)) }
}

impl Drop for Shielded {
    fn drop(&mut self) {
        CURRENT.with(|current| current.shields.set(self.before));
    }
}

/// Makes a piece of the task's work the current one until the guard is dropped.
pub(crate) struct InPiece {
    before: Option<OfPiece>,
}

pub(crate) fn enter_piece(context: &Context, entry: EntryId) -> InPiece {
    let before = CURRENT.with(|current| {
        let shields = current.shields.get();
        current.piece.replace(Some(OfPiece { context: context.clone(), entry, shields }))
    });
    InPiece { before }
}

impl Drop for InPiece {
    fn drop(&mut self) {
        let ended = CURRENT.with(|current| current.piece.replace(self.before.take()));
        drop(ended); // not while it is borrowed: a context may hold values that look at it
    }
}

/// Runs `f` on the frame of the running task.
pub(crate) fn with_current<R>(f: impl FnOnce(&Arc<Frame>) -> R) -> Option<R> {
    CURRENT.try_with(|current| current.frames.borrow().last().map(f)).ok().flatten()
}

/// Runs `f` on the frame of the running task, unless the task is shielded.
pub(crate) fn with_current_unshielded<R>(f: impl FnOnce(&Arc<Frame>) -> R) -> Option<R> {
    let found = CURRENT.try_with(|current| {
        if current.shields.get() > 0 {
            return None;
        }
        current.frames.borrow().last().map(f)
    });
    found.ok().flatten()
}

/// The context of the running task, or of the piece of its work; inside a shield, one that nobody
/// cancels.
pub(crate) fn current_context() -> Option<Context> {
    let found = CURRENT.try_with(|current| {
        let shields = current.shields.get();
        if let Some(piece) = &*current.piece.borrow() {
            return Some((piece.context.clone(), shields > piece.shields));
        }
        let frames = current.frames.borrow();
        frames.last().map(|frame| (frame.members().context().clone(), shields > 0))
    });
    let (context, is_shielded) = found.ok().flatten()?;
    Some(if is_shielded { context.without_cancel() } else { context })
}

/// Runs `f` on the running task's account, for instance to label it or to say what the task
/// waits for; outside a scope, not.
pub fn with_current_account<R>(f: impl FnOnce(&Account) -> R) -> Option<R> {
    with_current(|frame| f(&frame.account))
}

/// The ledger entry of the running task, or of the piece of its work: the owner of what is opened.
pub fn current_task() -> Option<EntryId> {
    let piece = CURRENT.try_with(|current| current.piece.borrow().as_ref().map(|it| it.entry));
    piece.ok().flatten().or_else(|| with_current(|frame| frame.account.id()))
}

/// Whether the running task had its grace and is being forced: true in destructors that run because
/// of that, so that they can say why what they close has ended.
///
/// ```
/// assert!(!staunch_scope::is_forced());
/// ```
pub fn is_forced() -> bool {
    with_current(|frame| frame.signal() == Signal::Forced).unwrap_or(false)
}

/// Whether the running daemon was asked to stop because only daemons are left in its scope: nobody
/// whom it serves will come any more ([`Scope::spawn_daemon_at`](crate::Scope::spawn_daemon_at)).
///
/// ```
/// assert!(!staunch_scope::is_dismissed());
/// ```
pub fn is_dismissed() -> bool {
    with_current(|frame| frame.members().is_dismissed()).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counts of its `Arc` it just fits a size of the allocator; every task has one.
    #[test]
    fn a_frame_is_small() {
        assert!(size_of::<Frame>() <= 112, "{} bytes", size_of::<Frame>());
    }
}
