//! The search for waits that nobody can end.
//!
//! A wait for a channel ends when somebody does something to the channel's other side, and that
//! takes a handle. So a wait is doomed when every handle of the other side is in the hands of
//! tasks that are themselves *stuck*: that wait for nothing but doomed waits, or for a child or
//! scope that is stuck. The search starts from all tasks that wait for channels only, and takes
//! away again and again those that somebody outside the rest could help, until nobody is taken
//! away any more: the greatest fixed point. What remains is a knot.
//!
//! # What is known, and what is not
//! Who has a handle is known from its last use, not from where the value lies: Rust gives no way
//! to see that. Hence two degrees of [`Confidence`], which differ in the evidence for each
//! handle:
//! - *Certain*: a stuck task used it last, and has since neither spawned a task nor sent a
//!   message with which it could have gone (one whose type has a destructor: a handle has one).
//! - *Likely*: a stuck task made it and never used it; or spawned since, but no task of its scope
//!   is left that is not stuck; or sent such messages since, but only to one channel, whose
//!   receivers are stuck; or its last user has ended without anybody else using it, and nobody
//!   is left of that user's scope. Such a wait is reported only once it has lasted
//!   [`LIKELY_AFTER`].
//!
//! That a task waits for nothing else is proved by a probe (see `trail.rs`): it is woken once.
//!
//! It cannot be seen that a handle was put where others find it: into a `static`, behind an
//! `Arc`, into a channel that is not ours, into a return value. If its last user then waits
//! for an answer through it, a "certain" finding is wrong; a queue of waiters behind a lock,
//! whose handles were made and never used, gives a "likely" one. A task that runs a scope inside
//! a `select!` with a future that is not ours is taken to wait for the scope only. Handles used
//! outside any task, and tasks that wait for anything besides channels and children, are never
//! part of a finding. That a scope may be stopped or has a deadline does not count as an end.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    panic::Location,
    sync::Arc,
    time::Duration,
};

use staunch_ledger::{EntryId, Kind, Ledger, Observation, State};

use super::core::{Core, Holder, Side, Waiting, listed};
use crate::{
    frame::Frame,
    trail::{Handed, Probe},
};

/// How long a wait must have lasted before likely evidence is enough to report it. Longer than
/// an answer should take, shorter than a person's patience.
pub const LIKELY_AFTER: Duration = Duration::from_secs(10);

/// How good the evidence is; see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The handles' last known users cannot help, but somebody else may have them.
    Likely,
    /// The users of the handles cannot help, and nothing says that they have passed them on.
    Certain,
}

/// A wait that nobody can end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DoomedWait {
    /// The task that waits.
    pub task: EntryId,
    /// The line it was spawned on.
    pub task_born_at: &'static Location<'static>,
    /// The channel it waits for.
    pub channel: EntryId,
    /// The line the channel was made on.
    pub channel_born_at: &'static Location<'static>,
    /// Whether it waits to send; otherwise to receive.
    pub is_sending: bool,
    /// How long it has waited.
    pub waited: Duration,
    /// How good the evidence is.
    pub confidence: Confidence,
}

impl fmt::Display for DoomedWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, others) =
            if self.is_sending { ("send into", "receiver") } else { ("receive from", "sender") };
        let doubt = match self.confidence {
            Confidence::Certain => "is held by",
            Confidence::Likely => "is, it seems, held by",
        };
        write!(
            f,
            "waits for {:?} to {verb} the channel born at {}, but every {others} {doubt} \
             a task that is stuck itself",
            self.waited, self.channel_born_at
        )
    }
}

/// The waits on a ledger's channels that nobody can end.
///
/// Call it at intervals, as a console does: a wait is reported at the earliest by the second
/// call, because the first one that suspects a task has it probed. Each wait found is also noted
/// on the ledger, once (`doomed-wait`).
///
/// # Examples
/// ```
/// use staunch_ledger::Ledger;
/// use staunch_scope::channel::doomed_waits;
///
/// for wait in doomed_waits(Ledger::global()) {
///     eprintln!("the task born at {} {wait}", wait.task_born_at);
/// }
/// ```
pub fn doomed_waits(ledger: Ledger) -> Vec<DoomedWait> {
    let search = Search::new(ledger);
    search.probe_suspects();
    let likely = search.stuck(Suspect::is_proved, Confidence::Likely);
    let certain = search.stuck(Suspect::is_proved, Confidence::Certain);
    let mut found = Vec::new();
    for task in likely {
        let is_certain = certain.contains(&task);
        let confidence = if is_certain { Confidence::Certain } else { Confidence::Likely };
        found.extend(search.report(task, confidence));
    }
    found
}

/// Everything a search looks at, collected once.
struct Search {
    ledger: Ledger,
    channels: HashMap<EntryId, Arc<Core>>,
    suspects: HashMap<EntryId, Suspect>,
    /// Live tasks and scopes, with their owners.
    live: HashMap<EntryId, (Kind, Option<EntryId>)>,
}

/// A task that waits for channels only, or for one child, or for a scope it runs.
struct Suspect {
    frame: Arc<Frame>,
    waits: Vec<FoundWait>,
    joins: Option<EntryId>,
    runs_scope: bool,
}

/// A pending wait, and where it was found.
struct FoundWait {
    channel: EntryId,
    key: u64,
    waiting: Waiting,
}

impl Suspect {
    /// Whether it is proved to wait for nothing else. For a task that runs a scope there is no
    /// proof: its waker goes to whatever the scope's body waits for, too.
    fn is_proved(&self) -> bool {
        self.runs_scope || self.frame.trail().probe() == Probe::Alone
    }

    fn is_refuted(&self) -> bool {
        !self.runs_scope && self.frame.trail().probe() == Probe::NotAlone
    }
}

impl Search {
    fn new(ledger: Ledger) -> Search {
        let snapshot = ledger.snapshot();
        let kinds = [Kind::TASK, Kind::SCOPE];
        let live = snapshot.entries().iter().filter(|entry| kinds.contains(&entry.kind()));
        let live = live.map(|entry| (entry.id(), (entry.kind(), entry.parent()))).collect();
        let channels = listed(ledger).into_iter().map(|core| (core.account().id(), core)).collect();
        let mut search = Search { ledger, channels, suspects: HashMap::new(), live };
        search.collect_waiters();
        search.collect_joiners();
        search
    }

    /// The tasks that wait for channels and nothing else.
    fn collect_waiters(&mut self) {
        for (channel, core) in &self.channels {
            for (key, waiting) in core.waiting() {
                // If something has happened meanwhile, the wait may be over. The frame then has
                // more waits than were found, and is no suspect.
                let Some(frame) = waiting.frame.upgrade() else { continue };
                if waiting.events == core.events() {
                    let suspect = self.suspects.entry(frame.account().id());
                    let suspect = suspect.or_insert_with(|| Suspect::new(frame));
                    suspect.waits.push(FoundWait { channel: *channel, key, waiting });
                }
            }
        }
        self.suspects.retain(|_, suspect| {
            let trail = suspect.frame.trail();
            suspect.frame.account().state() == State::Channel
                && trail.waits() as usize == suspect.waits.len()
                && !trail.is_elsewhere()
                && trail.joins().is_none()
        });
    }

    /// The tasks that wait for suspects to end: siblings that join one, and whoever runs the
    /// scope that one belongs to.
    fn collect_joiners(&mut self) {
        let mut unseen: Vec<Arc<Frame>> =
            self.suspects.values().map(|suspect| Arc::clone(&suspect.frame)).collect();
        while let Some(frame) = unseen.pop() {
            let runner = frame.members().runner();
            for frame in frame.members().children().into_iter().chain(runner) {
                let trail = frame.trail();
                let joins = trail.joins();
                let is_joining = joins.is_some() && trail.waits() == 0 && !trail.is_elsewhere();
                let id = frame.account().id();
                if is_joining && !self.suspects.contains_key(&id) {
                    unseen.push(Arc::clone(&frame));
                    let kind = joins.and_then(|joined| self.live.get(&joined)).map(|live| live.0);
                    let runs_scope = kind == Some(Kind::SCOPE);
                    let suspect = Suspect { joins, runs_scope, ..Suspect::new(frame) };
                    self.suspects.insert(id, suspect);
                }
            }
        }
    }

    /// Has every task probed that may turn out to be stuck, unless it was.
    fn probe_suspects(&self) {
        for task in self.stuck(|suspect| !suspect.is_refuted(), Confidence::Likely) {
            let suspect = &self.suspects[&task];
            if !suspect.is_proved() {
                suspect.frame.trail().set_probe(Probe::Wanted);
                suspect.frame.wake();
            }
        }
    }

    /// The largest set of tasks, among those that `admit` admits, of which nobody can be helped
    /// by anybody outside it.
    fn stuck(&self, admit: impl Fn(&Suspect) -> bool, least: Confidence) -> HashSet<EntryId> {
        let admitted = self.suspects.iter().filter(|(_, suspect)| admit(suspect));
        let mut round = Round::new(self, admitted.map(|(task, _)| *task).collect());
        loop {
            let kept = round.stuck.iter().copied().filter(|task| round.holds(*task, least));
            let kept: HashSet<EntryId> = kept.collect();
            if kept.len() == round.stuck.len() {
                return kept;
            }
            round = Round::new(self, kept);
        }
    }

    fn owner(&self, id: EntryId) -> Option<EntryId> {
        self.live.get(&id).and_then(|(_, owner)| *owner)
    }

    /// The waits of a stuck task that are worth telling, each noted on the ledger once.
    fn report(&self, task: EntryId, confidence: Confidence) -> Vec<DoomedWait> {
        let mut told = Vec::new();
        for wait in &self.suspects[&task].waits {
            let (channel, core) = (wait.channel, &self.channels[&wait.channel]);
            let entries = (self.ledger.entry(task), self.ledger.entry(channel));
            let (Some(task_entry), Some(channel_entry)) = entries else { continue };
            let found = DoomedWait {
                task,
                task_born_at: task_entry.born_at(),
                channel,
                channel_born_at: channel_entry.born_at(),
                is_sending: wait.waiting.side == Side::Sender,
                waited: self.ledger.now().since(wait.waiting.since),
                confidence,
            };
            if confidence == Confidence::Likely && found.waited < LIKELY_AFTER {
                continue;
            }
            if core.report(wait.key) {
                self.observe(&found);
            }
            told.push(found);
        }
        told
    }

    fn observe(&self, found: &DoomedWait) {
        tracing::warn!(born_at = %found.task_born_at, "a task {found}");
        self.ledger.observe(Observation {
            rule: "doomed-wait",
            kind: Kind::TASK,
            born_at: found.task_born_at,
            text: found.to_string(),
            at: self.ledger.now(),
        });
    }
}

impl Suspect {
    fn new(frame: Arc<Frame>) -> Suspect {
        Suspect { frame, waits: Vec::new(), joins: None, runs_scope: false }
    }
}

/// One step towards the fixed point: the tasks not yet taken away, and what follows from that.
struct Round<'a> {
    search: &'a Search,
    stuck: HashSet<EntryId>,
    /// The scopes of stuck tasks: they do not end either.
    endless: HashSet<EntryId>,
    /// Scopes and tasks with a task at or below them that is not stuck.
    lively: HashSet<EntryId>,
}

impl<'a> Round<'a> {
    fn new(search: &'a Search, stuck: HashSet<EntryId>) -> Round<'a> {
        let endless = stuck.iter().filter_map(|task| search.owner(*task)).collect();
        let mut lively = HashSet::new();
        for (id, (kind, _)) in &search.live {
            let mut at = Some(*id).filter(|id| *kind == Kind::TASK && !stuck.contains(id));
            while let Some(id) = at.filter(|id| lively.insert(*id)) {
                at = search.owner(id);
            }
        }
        Round { search, stuck, endless, lively }
    }

    /// Whether nobody outside the stuck tasks can help this one.
    fn holds(&self, task: EntryId, least: Confidence) -> bool {
        let suspect = &self.search.suspects[&task];
        let joins_stuck = suspect
            .joins
            .is_none_or(|joined| self.stuck.contains(&joined) || self.endless.contains(&joined));
        joins_stuck
            && suspect.waits.iter().all(|wait| {
                let core = &self.search.channels[&wait.channel];
                let holders = core.holders(wait.waiting.side.other());
                // With nobody on the other side it is closed, and the wait about to end.
                !holders.is_empty()
                    && holders.iter().all(|holder| self.evidence(holder) >= Some(least))
            })
    }

    /// The evidence that a handle is in the hands of stuck tasks only.
    fn evidence(&self, holder: &Holder) -> Option<Confidence> {
        let user = holder.user?;
        let nobody_left = holder.user_scope.is_none_or(|scope| !self.lively.contains(&scope));
        if !self.stuck.contains(&user) {
            let is_gone = !self.search.ledger.is_live(user);
            return (is_gone && nobody_left).then_some(Confidence::Likely);
        }
        let trail = self.search.suspects[&user].frame.trail();
        let earlier = holder.handed;
        let is_likely = match trail.handed().since(earlier) {
            Handed { by_spawn: 0, by_message: 0 } if holder.is_used => {
                return Some(Confidence::Certain);
            }
            Handed { by_spawn: 0, by_message: 0 } => true,
            Handed { by_message: 0, .. } => nobody_left,
            Handed { by_spawn: 0, .. } => trail
                .only_channel_since(earlier)
                .is_some_and(|channel| self.receivers_are_stuck(channel)),
            Handed { .. } => false,
        };
        is_likely.then_some(Confidence::Likely)
    }

    /// Whether the receivers of a channel were all used last by stuck tasks.
    fn receivers_are_stuck(&self, channel: EntryId) -> bool {
        self.search.channels.get(&channel).is_some_and(|core| {
            let receivers = core.holders(Side::Receiver);
            receivers
                .iter()
                .all(|holder| holder.user.is_some_and(|user| self.stuck.contains(&user)))
        })
    }
}
