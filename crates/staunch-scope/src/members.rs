//! Who belongs to a scope, and what the scope has learned of those who left.
//!
//! A place among the members is held by a child, or by the *remains* of a scope that a child ran
//! and dropped: what is left of it ends before the child's own scope does, too.
//!
//! **Invariant.** A member joins before its task can run and leaves after its future, its
//! frame and its account are gone. `live` is zero only when no destructor of a child is still
//! to run. A scope closes its table in the same critical section in which it finds it empty, so
//! nobody can join a scope that has ended. An orphaned scope is closed to children at once, but
//! takes in the remains of scopes that its members still drop: a member lives, so it has not
//! ended.
//!
//! **Invariant.** `daemons` is how many of the `live` are daemons. Whoever makes the two equal has
//! the scope's future look: there is nobody left whom they could serve.
//!
//! **Lock order.** One table at a time: what is dropped or raised because of a table is dropped
//! or raised after its lock is released.

use std::{
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicU8},
    time::Duration,
};

use staunch_ledger::{Account, Entry, EntryId, Kind, Label, Ledger, Observation, State};
use tokio::{sync::Notify, time::Instant};

use crate::{
    context::{Cancelled, Context},
    frame::{self, Frame, Signal},
    sleep,
};

pub(crate) struct Members {
    context: Context,
    ledger: Ledger,
    /// The scope's entry; a detached task has none.
    scope: Option<EntryId>,
    /// Places there are at a time, the body's included.
    most: usize,
    /// The task that runs the scope.
    runner: Option<Weak<Frame>>,
    changed: Notify,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    places: Vec<Place>,
    free: Option<Key>,
    live: usize,
    daemons: usize,
    /// The members were asked to stop because only daemons were left.
    dismissed: bool,
    signal: Option<(Signal, Cancelled)>,
    /// The scope has ended, or is an orphan: no child may join any more.
    closed: bool,
    orphaned: Option<Orphaned>,
}

enum Place {
    Free { next: Option<Key> },
    Joining,
    Child(Weak<Frame>),
    Daemon(Weak<Frame>),
    Remains(Weak<Members>),
}

/// What the members keep of a scope whose future was dropped, until the last of them has left.
struct Orphaned {
    _account: Account,
    /// When the members are forced.
    reap_at: Instant,
    /// Their place in the scope of the task that dropped them.
    _place: Option<Membership>,
}

/// Whether the scope ends by itself as long as a child lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The scope waits for it.
    Child,
    /// It serves others, and is asked to stop once they have ended.
    Daemon,
}

/// Why a child is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    TooLate,
    TooMany,
}

/// A place among the members of a scope. For a child, leaving it is the last thing its frame
/// does.
pub(crate) struct Membership {
    members: Arc<Members>,
    key: Key,
    /// What the member was told, as a [`Signal`]: the frame's. Here, where there is room for it.
    pub(crate) told: AtomicU8,
}

/// Which place it is. Small, since every task has one.
type Key = u32;

/// As many as there are keys.
const MOST_MEMBERS: usize = Key::MAX as usize;

impl Membership {
    fn new(members: &Arc<Members>, key: Key) -> Membership {
        let told = AtomicU8::new(Signal::Run as u8);
        Membership { members: Arc::clone(members), key, told }
    }

    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.members
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.members.leave(self.key);
    }
}

/// A child that did not end when asked and was forced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Forced {
    /// Its entry on the ledger.
    pub id: EntryId,
    /// The line it was spawned on.
    pub born_at: &'static Location<'static>,
    /// How long it had lived.
    pub age: Duration,
    /// What it was doing.
    pub state: State,
    /// Its label on the ledger.
    pub label: Label,
}

impl Forced {
    fn remedy(&self) -> &'static str {
        match self.state {
            State::Blocking => "it cannot be forced, since it blocks its thread",
            _ => "it was forced",
        }
    }

    fn shortcoming(&self) -> String {
        format!("did not end within the grace, in state {}: {}", self.state, self.remedy())
    }
}

impl std::fmt::Display for Forced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "task born at {}, {:?} old, {}", self.born_at, self.age, self.state)?;
        match &self.label {
            Label::None => Ok(()),
            label => write!(f, " ({label})"),
        }
    }
}

impl Members {
    /// The members of a scope that the current task is about to run.
    pub(crate) fn new(context: Context, account: &Account, max_children: usize) -> Members {
        let runner = frame::with_current(Arc::downgrade);
        let (changed, table) = (Notify::new(), Mutex::default());
        let (ledger, scope) = (account.ledger(), Some(account.id()));
        let most = max_children.saturating_add(1).min(MOST_MEMBERS);
        Members { context, ledger, scope, most, runner, changed, table }
    }

    /// The members of no scope.
    pub(crate) fn detached(context: &Context, ledger: Ledger) -> Members {
        let (changed, table) = (Notify::new(), Mutex::default());
        Members {
            context: context.for_scope(),
            ledger,
            scope: None,
            most: 1,
            runner: None,
            changed,
            table,
        }
    }

    pub(crate) fn scope(&self) -> Option<EntryId> {
        self.scope
    }

    /// The task that runs the scope, if it is one of ours and lives.
    pub(crate) fn runner(&self) -> Option<Arc<Frame>> {
        self.runner.as_ref().and_then(Weak::upgrade)
    }

    /// The children now, and the body.
    pub(crate) fn children(&self) -> Vec<Arc<Frame>> {
        self.table().seated().children
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a child, which counts from now on.
    fn join(self: &Arc<Self>) -> Result<Membership, Refused> {
        let mut table = self.table();
        if table.closed {
            return Err(Refused::TooLate);
        }
        if table.live >= self.most {
            return Err(Refused::TooMany);
        }
        let key = table.take_place();
        Ok(Membership::new(self, key))
    }

    /// A new child with its frame. It hears at once what the others were told already.
    pub(crate) fn admit(
        self: &Arc<Self>,
        role: Role,
        open: impl FnOnce() -> Account,
    ) -> Result<Arc<Frame>, Refused> {
        let place = self.join()?;
        let key = place.key;
        let frame = Arc::new(Frame::new(open(), place));
        let mut table = self.table();
        table.places[key as usize] = match role {
            Role::Child => Place::Child(Arc::downgrade(&frame)),
            Role::Daemon => Place::Daemon(Arc::downgrade(&frame)),
        };
        table.daemons += usize::from(role == Role::Daemon);
        let (signal, is_alone) = (table.signal, table.has_daemons_only());
        drop(table);
        if is_alone {
            self.changed.notify_one();
        }
        if let Some((signal, _)) = signal {
            frame.raise(signal);
        }
        Ok(frame)
    }

    /// A place for what is left of a scope that one of the members ran, and what the members
    /// have been told. Never refused: that member lives, so these members have not ended.
    fn take_in(self: &Arc<Self>, remains: &Arc<Members>) -> (Membership, Signal) {
        let mut table = self.table();
        let key = table.take_place();
        table.places[key as usize] = Place::Remains(Arc::downgrade(remains));
        let told = table.signal.map_or(Signal::Run, |(signal, _)| signal);
        (Membership::new(self, key), told)
    }

    fn leave(&self, key: Key) {
        let mut table = self.table();
        let next = table.free.replace(key);
        let left = std::mem::replace(&mut table.places[key as usize], Place::Free { next });
        table.daemons -= usize::from(matches!(left, Place::Daemon(_)));
        table.live -= 1;
        if table.live == 0 {
            // Gives the table's memory back, and closes the entry of an orphaned scope.
            let Table { dismissed, signal, closed, .. } = *table;
            let ended = Table { dismissed, signal, closed, ..Table::default() };
            let before = std::mem::replace(&mut *table, ended);
            drop(table);
            drop(before);
            self.changed.notify_one();
        } else if table.has_daemons_only() {
            drop(table);
            self.changed.notify_one();
        }
    }

    /// Somebody failed, or the last one left: the scope's future should look.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn live(&self) -> usize {
        self.table().live
    }

    /// Ends the membership for good if everybody has left.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut table = self.table();
        table.closed |= table.live == 0;
        table.closed
    }

    /// Whether nobody is left whom the members could serve. From then on they are dismissed.
    pub(crate) fn dismiss(&self) -> bool {
        let mut table = self.table();
        table.dismissed |= table.has_daemons_only();
        table.dismissed
    }

    pub(crate) fn is_dismissed(&self) -> bool {
        self.table().dismissed
    }

    /// Why the members were told to stop.
    pub(crate) fn cause(&self) -> Cancelled {
        self.table().signal.map_or(Cancelled::Requested, |(_, cause)| cause)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.table().signal.is_some()
    }

    /// Tells every member, and whoever joins later.
    pub(crate) fn raise(&self, signal: Signal, cause: Cancelled) {
        let seated = {
            let mut table = self.table();
            table.signal = match table.signal {
                Some((before, cause)) => Some((before.max(signal), cause)),
                None => Some((signal, cause)),
            };
            table.seated()
        };
        self.context.cancel();
        for frame in seated.children {
            frame.raise(signal);
        }
        for remains in seated.remains {
            remains.raise(signal, cause);
        }
    }

    /// The members now, as the ledger knows them: those who would be forced.
    pub(crate) fn describe(&self) -> Vec<Forced> {
        let seated = self.table().seated();
        let entries = seated
            .children
            .iter()
            .filter_map(|frame| self.ledger.entry(frame.account().id()).as_ref().map(Forced::from));
        let remains = seated.remains.iter().flat_map(|remains| remains.describe());
        entries.chain(remains).collect()
    }

    /// Forces every member and says whom.
    pub(crate) fn force(&self, cause: Cancelled) -> Vec<Forced> {
        let forced = self.describe();
        for task in &forced {
            self.report(task);
        }
        self.raise(Signal::Forced, cause);
        forced
    }

    /// Forces one member of an orphaned scope and says whom.
    pub(crate) fn force_one(&self, frame: &Frame) {
        if let Some(entry) = self.ledger.entry(frame.account().id()) {
            self.report(&Forced::from(&entry));
        }
        frame.raise(Signal::Forced);
    }

    fn report(&self, task: &Forced) {
        tracing::warn!(
            born_at = %task.born_at, age = ?task.age, state = %task.state, label = %task.label,
            "a task did not end when asked: {}", task.remedy()
        );
        self.ledger.observe(Observation {
            rule: "forced-task",
            kind: Kind::TASK,
            born_at: task.born_at,
            text: task.shortcoming(),
            at: self.ledger.now(),
        });
    }

    /// The scope's future was dropped. Asks the members to stop: each of them forces itself when
    /// the grace is over, and the last one to leave closes the scope's entry. If the task that
    /// ran the scope is itself being forced, they had their grace already.
    pub(crate) fn orphan(self: &Arc<Self>, account: Account, grace: Duration) {
        let runner = self.runner();
        let (place, told) = match &runner {
            None => (None, Signal::Run),
            Some(runner) => {
                let (place, told) = runner.members().take_in(self);
                (Some(place), told.max(runner.signal()))
            }
        };
        let mut table = self.table();
        table.closed = true;
        if table.live == 0 {
            return;
        }
        account.set_state(State::Reaping);
        let reap_at = sleep::after(grace);
        table.orphaned = Some(Orphaned { _account: account, reap_at, _place: place });
        drop(table);
        if told == Signal::Forced {
            self.force(Cancelled::Requested);
            return;
        }
        self.raise(Signal::Asked, Cancelled::Requested);
        // Those who had been asked before must hear that they now end by themselves.
        let seated = self.table().seated();
        seated.children.iter().for_each(|frame| frame.wake());
    }

    /// When the members of an orphaned scope are forced.
    pub(crate) fn reap_at(&self) -> Option<Instant> {
        self.table().orphaned.as_ref().map(|orphaned| orphaned.reap_at)
    }

    /// A child was dropped without running.
    pub(crate) fn report_refused(&self, born_at: &'static Location<'static>, why: Refused) {
        let (rule, text) = match why {
            Refused::TooLate => ("late-spawn", "spawned on a scope that has ended".to_owned()),
            Refused::TooMany => {
                let most = self.most - 1;
                ("too-many-children", format!("spawned on a scope that has {most} children"))
            }
        };
        tracing::warn!(%born_at, "a task was {text}: it was dropped");
        let (kind, text) = (Kind::TASK, format!("{text}; dropped without running"));
        self.ledger.observe(Observation { rule, kind, born_at, text, at: self.ledger.now() });
    }
}

impl From<&Entry> for Forced {
    fn from(entry: &Entry) -> Forced {
        Forced {
            id: entry.id(),
            born_at: entry.born_at(),
            age: entry.age(),
            state: entry.state(),
            label: entry.label().clone(),
        }
    }
}

/// Who holds a place, at a moment.
struct Seated {
    children: Vec<Arc<Frame>>,
    remains: Vec<Arc<Members>>,
}

impl Table {
    fn take_place(&mut self) -> Key {
        self.live += 1;
        let Some(key) = self.free else {
            if self.places.len() == self.places.capacity() {
                self.places.reserve_exact(self.places.len() / 8 + 4); // twice would be 16 bytes for each
            }
            self.places.push(Place::Joining);
            return (self.places.len() - 1) as Key;
        };
        let Place::Free { next } = self.places[key as usize] else {
            unreachable!("the free list leads through free places only")
        };
        self.free = next;
        self.places[key as usize] = Place::Joining;
        key
    }

    fn has_daemons_only(&self) -> bool {
        self.live > 0 && self.live == self.daemons
    }

    fn seated(&self) -> Seated {
        let mut seated = Seated { children: Vec::new(), remains: Vec::new() };
        for place in &self.places {
            match place {
                Place::Child(frame) | Place::Daemon(frame) => {
                    seated.children.extend(frame.upgrade());
                }
                Place::Remains(members) => seated.remains.extend(members.upgrade()),
                Place::Free { .. } | Place::Joining => {}
            }
        }
        seated
    }
}
