//! What every channel keeps beside its messages: its entry on the ledger, who has its handles,
//! and who waits.
//!
//! The cost is kept off the fast path. Using a handle stores the user's id in the handle's
//! [`End`] and counts an event: four plain stores and one atomic addition. Only a wait that is
//! pending, and a clone, takes a lock, and only the first wait of a channel puts the channel on
//! the process's list for [`doomed_waits`](super::doomed_waits).
//!
//! **Events.** `events` counts everything that could end somebody's wait: messages sent,
//! messages taken, handles dropped. A wait notes the count *before* it polls; if the count has
//! moved on since, the wait may be over although its task has not been polled yet.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    panic::Location,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use staunch_ledger::{Account, EntryId, Kind, Ledger, Obligation, Stamp, State};

use crate::{
    context::Cancelled,
    frame::{self, Frame},
    trail::Handed,
    wait::Wait,
};

/// Which end of a channel a handle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Sender = 0,
    Receiver = 1,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Sender => Side::Receiver,
            Side::Receiver => Side::Sender,
        }
    }
}

pub(super) struct Core {
    account: Account,
    events: AtomicU64,
    is_listed: AtomicBool,
    /// What is known of the two handles that the channel was made with, by [`Side`]. They are
    /// most channels' only ones, so they cost no allocation.
    first: [End; 2],
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// Handles beyond the first two.
    more: BTreeMap<u64, (Side, Arc<End>)>,
    waiting: BTreeMap<u64, Waiting>,
}

/// What is known of one handle. Written by whoever uses it; words may be of different uses when
/// several tasks share one handle.
#[derive(Default)]
struct End {
    /// The task that made or used it last, and that task's scope; 0 for code outside any task.
    user: AtomicU64,
    user_scope: AtomicU64,
    /// What the user had handed on by then.
    handed: AtomicU64,
    /// Whether it was used since it was made.
    is_used: AtomicBool,
    is_gone: AtomicBool,
}

/// Who has a handle, for all we know: what [`End`] said at a moment.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) user: Option<EntryId>,
    pub(super) user_scope: Option<EntryId>,
    pub(super) handed: Handed,
    pub(super) is_used: bool,
}

/// One pending wait.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) side: Side,
    pub(super) frame: Weak<Frame>,
    pub(super) since: Stamp,
    pub(super) events: u64,
    pub(super) is_reported: bool,
}

impl Core {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Something happened that may end a wait.
    fn happened(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
    }

    /// Who has the handles of one side.
    pub(super) fn holders(&self, side: Side) -> Vec<Holder> {
        let first = &self.first[side as usize];
        let first = (!first.is_gone.load(Ordering::Acquire)).then(|| first.holder());
        let table = self.table();
        let more = table.more.values().filter(|(of, _)| *of == side).map(|(_, end)| end.holder());
        first.into_iter().chain(more).collect()
    }

    /// The pending waits, by key.
    pub(super) fn waiting(&self) -> Vec<(u64, Waiting)> {
        self.table().waiting.iter().map(|(key, waiting)| (*key, waiting.clone())).collect()
    }

    /// Notes that a wait was reported; whether it was not yet.
    pub(super) fn report(&self, key: u64) -> bool {
        let mut table = self.table();
        let waiting = table.waiting.get_mut(&key);
        waiting.is_some_and(|waiting| !std::mem::replace(&mut waiting.is_reported, true))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if *self.is_listed.get_mut() {
            list(self).remove(&address(self));
        }
    }
}

impl End {
    /// The task of `frame` has the handle, for all we know.
    fn note(&self, frame: Option<&Arc<Frame>>, is_used: bool) {
        let user = frame.map_or(0, |frame| frame.account().id().number());
        let scope = frame.and_then(|frame| frame.members().scope());
        let handed = frame.map_or(Handed::default(), |frame| frame.trail().handed());
        self.user.store(user, Ordering::Relaxed);
        self.user_scope.store(scope.map_or(0, EntryId::number), Ordering::Relaxed);
        self.handed.store(handed.to_number(), Ordering::Relaxed);
        self.is_used.store(is_used, Ordering::Release);
    }

    fn holder(&self) -> Holder {
        let entry = |number: u64| (number != 0).then(|| EntryId::from_number(number));
        Holder {
            is_used: self.is_used.load(Ordering::Acquire),
            user: entry(self.user.load(Ordering::Relaxed)),
            user_scope: entry(self.user_scope.load(Ordering::Relaxed)),
            handed: Handed::from_number(self.handed.load(Ordering::Relaxed)),
        }
    }
}

/// The part of a channel's handle that all channels have in common. Must be dropped after the
/// handle proper, so that whoever sees its event finds the handle gone.
pub(super) struct Handle {
    core: Arc<Core>,
    side: Side,
    place: Place,
}

/// Where a handle's [`End`] is.
enum Place {
    First,
    More { key: u64, end: Arc<End> },
}

impl Handle {
    /// The handles of a new channel.
    pub(super) fn pair(born_at: &'static Location<'static>) -> (Handle, Handle) {
        let account =
            Ledger::current().open_at(born_at, Kind::CHANNEL, Obligation::EndsWithParent, None);
        let core = Arc::new(Core {
            account,
            events: AtomicU64::new(0),
            is_listed: AtomicBool::new(false),
            first: Default::default(),
            table: Mutex::default(),
        });
        let first = |side| Handle { core: Arc::clone(&core), side, place: Place::First };
        let (sender, receiver) = (first(Side::Sender), first(Side::Receiver));
        sender.note(false);
        receiver.note(false);
        (sender, receiver)
    }

    /// Another handle of the same channel.
    pub(super) fn sibling(&self, side: Side) -> Handle {
        self.used();
        let end = Arc::new(End::default());
        let mut table = self.core.table();
        let key = table.next_key();
        table.more.insert(key, (side, Arc::clone(&end)));
        drop(table);
        let place = Place::More { key, end };
        let sibling = Handle { core: Arc::clone(&self.core), side, place };
        sibling.note(false);
        sibling
    }

    fn end(&self) -> &End {
        match &self.place {
            Place::First => &self.core.first[self.side as usize],
            Place::More { end, .. } => end,
        }
    }

    fn note(&self, is_used: bool) {
        let noted = frame::with_current(|frame| self.end().note(Some(frame), is_used));
        if noted.is_none() {
            self.end().note(None, is_used);
        }
    }

    /// The handle is being used.
    pub(super) fn used(&self) {
        self.note(true);
    }

    /// A `T` was sent through the handle. A type without destructor has no handle in it;
    /// anything else may have taken one along.
    pub(super) fn sent<T>(&self) {
        self.core.happened();
        self.core.account.touch();
        if std::mem::needs_drop::<T>() {
            frame::with_current(|frame| frame.trail().hand_on_by_message(self.id()));
        }
        self.used();
    }

    /// A message was taken through the handle.
    pub(super) fn taken(&self) {
        self.core.happened();
        self.used();
    }

    pub(super) fn id(&self) -> EntryId {
        self.core.account.id()
    }

    /// Waits for `operation`, as an await of ours, and says so to the channel while it is
    /// pending.
    pub(super) async fn wait<F: Future>(&self, operation: F) -> Result<F::Output, Cancelled> {
        let mut wait = Wait::new();
        let mut operation = pin!(operation);
        let mut listing = Listing { handle: self, key: None };
        poll_fn(|cx| {
            let events = self.core.events();
            if let Poll::Ready(cause) = wait.poll_cancelled(cx) {
                return Poll::Ready(Err(cause));
            }
            let polled = operation.as_mut().poll(cx);
            if polled.is_pending() {
                frame::with_current(|frame| {
                    frame.account().set_state(State::Channel);
                    self.end().note(Some(frame), true);
                    listing.note(frame, events);
                });
            }
            polled.map(Ok)
        })
        .await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        match &self.place {
            Place::First => self.end().is_gone.store(true, Ordering::Release),
            Place::More { key, .. } => _ = self.core.table().more.remove(key),
        }
        self.core.happened();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("channel", &self.id()).finish_non_exhaustive()
    }
}

impl Table {
    fn next_key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The place of a pending wait in its channel's table.
struct Listing<'a> {
    handle: &'a Handle,
    key: Option<u64>,
}

impl Listing<'_> {
    /// Pending again; `events` were counted before the poll.
    fn note(&mut self, frame: &Arc<Frame>, events: u64) {
        let core = &self.handle.core;
        let mut table = core.table();
        if let Some(waiting) = self.key.and_then(|key| table.waiting.get_mut(&key)) {
            if std::ptr::eq(waiting.frame.as_ptr(), Arc::as_ptr(frame)) {
                waiting.events = events;
                return;
            }
            drop(table);
            self.end(); // the future was moved to another task
            table = core.table();
        }
        let key = table.next_key();
        let waiting = Waiting {
            side: self.handle.side,
            frame: Arc::downgrade(frame),
            since: core.account.ledger().now(),
            events,
            is_reported: false,
        };
        table.waiting.insert(key, waiting);
        self.key = Some(key);
        frame.trail().begin_wait();
        drop(table);
        put_on_list(core);
    }

    fn end(&mut self) {
        let Some(key) = self.key.take() else { return };
        let ended = self.handle.core.table().waiting.remove(&key);
        if let Some(frame) = ended.and_then(|waiting| waiting.frame.upgrade()) {
            frame.trail().end_wait();
        }
    }
}

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Channels that somebody has waited on, by address. Sharded, because oneshot channels come and
/// go with every request.
static LISTS: [Mutex<BTreeMap<usize, Weak<Core>>>; 16] =
    [const { Mutex::new(BTreeMap::new()) }; 16];

fn address(core: &Core) -> usize {
    std::ptr::from_ref(core) as usize
}

fn list(core: &Core) -> MutexGuard<'static, BTreeMap<usize, Weak<Core>>> {
    let shard = address(core) / 64 % LISTS.len();
    LISTS[shard].lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_on_list(core: &Arc<Core>) {
    if !core.is_listed.swap(true, Ordering::Relaxed) {
        list(core).insert(address(core), Arc::downgrade(core));
    }
}

/// The channels of a ledger that somebody has waited on.
pub(super) fn listed(ledger: Ledger) -> Vec<Arc<Core>> {
    let mut found = Vec::new();
    for list in &LISTS {
        let list = list.lock().unwrap_or_else(PoisonError::into_inner);
        let cores: Vec<Arc<Core>> = list.values().filter_map(Weak::upgrade).collect();
        drop(list); // the last reference may go below, and takes the lock
        found.extend(cores.into_iter().filter(|core| core.account.ledger() == ledger));
    }
    found
}
