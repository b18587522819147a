//! What the ledger holds at a moment, for reports, rules and tests.

use std::{collections::HashMap, panic::Location, time::Duration};

use crate::{
    canary,
    clock::Stamp,
    kind::Kind,
    label::{Decoded, Label, RoutedBytes},
    ledger::{EntryId, Inner, Ledger, unpack},
    obligation::Obligation,
    site::{self, Site},
    slot::{Record, Slot},
    state::State,
};

/// Every live entry. Each entry is consistent in itself; entries opened or closed while the
/// snapshot was taken may be in it or not.
#[derive(Debug)]
pub struct Snapshot {
    taken: Stamp,
    entries: Vec<Entry>,
    canaries: Vec<Entry>,
    unrecorded: u64,
}

/// One live entry.
#[derive(Clone, Debug)]
pub struct Entry {
    id: EntryId,
    parent: u64,
    born: Stamp,
    progress: Stamp,
    taken: Stamp,
    amount: u64,
    obligation: u64,
    label: Label,
    site: u32,
    fd: u32,
    kind: Kind,
    state: State,
    orphan: bool,
}

/// Entries of one kind, born on one line, doing the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group {
    /// What they are.
    pub kind: Kind,
    /// Where they were born.
    pub born_at: &'static Location<'static>,
    /// What they are doing.
    pub state: State,
    /// How many.
    pub count: u64,
    /// Bytes they hold together.
    pub bytes: u64,
    /// Age of the oldest.
    pub oldest: Duration,
    /// Longest time without progress.
    pub stalest: Duration,
    /// How many have broken their promise.
    pub overdue: u64,
    /// Age of the oldest of these.
    pub oldest_overdue: Duration,
    /// How many have outlived their owner.
    pub orphans: u64,
    /// What they promised: one that broke it, if any has.
    pub obligation: Obligation,
}

/// Whether a search for leaks can be believed: each ledger hides a leak on purpose for every
/// promise that can be broken, and the search must have found them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Every canary was found.
    Awake,
    /// A canary was missed: that nothing else was found means nothing.
    Broken,
}

impl Ledger {
    /// What is live now. Neither stops nor wakes anybody.
    pub fn snapshot(self) -> Snapshot {
        let taken = self.now();
        let used = self.inner.shards().map(|shard| shard.slots.used() as usize).sum();
        let mut entries = Vec::with_capacity(used);
        let mut canaries = Vec::with_capacity(canary::COUNT);
        self.inner.for_each(|id, record, slot| {
            let Some(entry) = read(self.inner, taken, id, record, slot) else { return };
            if canary::is_hidden(&record) {
                canaries.push(entry);
            } else {
                entries.push(entry);
            }
        });
        Snapshot { taken, entries, canaries, unrecorded: self.unrecorded() }
    }

    /// The live entries of `kind` in `state`, in no order: for who looks often and wants few. About
    /// 1 ns for each entry that is not wanted, and no memory.
    pub fn entries_in(self, kind: Kind, state: State) -> Vec<Entry> {
        let (taken, mut entries) = (self.now(), Vec::new());
        self.inner.for_each(|id, record, slot| {
            let wanted = record.kind == kind && record.state == state;
            if wanted && !canary::is_hidden(&record) {
                entries.extend(read(self.inner, taken, id, record, slot));
            }
        });
        entries
    }

    /// One entry, if it lives.
    pub fn entry(self, id: EntryId) -> Option<Entry> {
        let slot = self.inner.slot(id)?;
        let record = slot.read().filter(|record| record.generation == id.generation())?;
        read(self.inner, self.now(), id, record, slot)
    }
}

/// Completes a record with what lies outside its slot; `None` when it ended meanwhile.
#[inline]
fn read(
    ledger: &'static Inner,
    taken: Stamp,
    id: EntryId,
    record: Record,
    slot: &Slot,
) -> Option<Entry> {
    let label = match record.label.decode() {
        Decoded::None => Label::None,
        Decoded::Peer(peer) => Label::Peer(peer),
        Decoded::Text(_) | Decoded::Routed(_) => read_text(ledger, slot, record.generation)?,
    };
    let orphan = record.parent != 0 && !Ledger { inner: ledger }.is_live(EntryId(record.parent));
    if orphan && !slot.still(record.generation) {
        return None; // it ended before its parent did, after it was read
    }
    Some(Entry {
        id,
        parent: record.parent,
        born: record.born,
        progress: record.progress,
        taken,
        amount: record.amount,
        obligation: record.obligation,
        label,
        site: record.site,
        fd: record.fd.map_or(0, |fd| fd + 1),
        kind: record.kind,
        state: record.state,
        orphan,
    })
}

/// The text of a label; `None` when the entry ended meanwhile. Gives up, with no label, on an
/// entry that is labelled anew each time it is looked at.
fn read_text(ledger: &Inner, slot: &Slot, generation: u32) -> Option<Label> {
    for _ in 0..4 {
        let word = slot.label();
        let decoded = word.decode();
        let is_routed = matches!(decoded, Decoded::Routed(_));
        let Some(at) = decoded.cell() else { break };
        let (shard, index) = unpack(at.cell);
        let Some(shard) = ledger.shard(shard) else { break };
        let bytes = shard.labels.cell(index).read(at.length);
        if !slot.still(generation) {
            return None;
        }
        if slot.label() == word {
            let bytes = &bytes[..at.length];
            if is_routed {
                return Some(RoutedBytes::label(bytes));
            }
            return Some(Label::Text(String::from_utf8_lossy(bytes).into()));
        }
    }
    Some(Label::None)
}

impl Snapshot {
    /// Every live entry, in no order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// When it was taken.
    pub fn taken(&self) -> Stamp {
        self.taken
    }

    /// Births that found no room and so cannot be here; see [`Ledger::unrecorded`].
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded
    }

    /// The entries that have broken their promise, the longest overdue first, and whether the
    /// search was awake.
    pub fn overdue(&self) -> (Vec<&Entry>, Detector) {
        let mut found: Vec<&Entry> = self
            .entries
            .iter()
            .chain(&self.canaries)
            .filter(|entry| entry.overdue_by().is_some())
            .collect();
        let before = found.len();
        found.retain(|entry| !self.canaries.iter().any(|canary| canary.id == entry.id));
        let every = before - found.len() == canary::COUNT;
        let detector = if every { Detector::Awake } else { Detector::Broken };
        found.sort_by_key(|entry| std::cmp::Reverse(entry.overdue_by()));
        (found, detector)
    }

    /// The entries by kind, birth line and state; the largest group first.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: HashMap<(Kind, u32, State), Group> = HashMap::new();
        for entry in &self.entries {
            let like = (entry.kind, entry.site, entry.state);
            groups.entry(like).or_insert_with(|| Group::like(entry)).add(entry);
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by_key(|group| {
            (std::cmp::Reverse(group.count), group.kind, group.born_at.file(), group.born_at.line())
        });
        groups
    }
}

impl Group {
    /// Of entries like this one, and none of them yet.
    fn like(entry: &Entry) -> Group {
        Group {
            kind: entry.kind,
            born_at: entry.born_at(),
            state: entry.state,
            count: 0,
            bytes: 0,
            oldest: Duration::ZERO,
            stalest: Duration::ZERO,
            overdue: 0,
            oldest_overdue: Duration::ZERO,
            orphans: 0,
            obligation: entry.obligation(),
        }
    }

    fn add(&mut self, entry: &Entry) {
        let is_overdue = entry.overdue_by().is_some();
        if is_overdue && self.overdue == 0 {
            self.obligation = entry.obligation();
        }
        self.count += 1;
        self.bytes += entry.bytes();
        self.oldest = self.oldest.max(entry.age());
        self.stalest = self.stalest.max(entry.without_progress());
        if is_overdue {
            self.overdue += 1;
            self.oldest_overdue = self.oldest_overdue.max(entry.age());
        }
        self.orphans += u64::from(entry.orphan);
    }
}

impl Entry {
    /// Its name.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// The line it was born on.
    pub fn born_at(&self) -> &'static Location<'static> {
        self.site().location()
    }

    /// Its birth site.
    pub fn site(&self) -> &'static Site {
        site::site(self.site)
    }

    /// How long it has lived.
    pub fn age(&self) -> Duration {
        self.taken.since(self.born)
    }

    /// How long ago it last made progress.
    pub fn without_progress(&self) -> Duration {
        self.taken.since(self.progress)
    }

    /// Bytes it holds; 0 for tasks.
    pub fn bytes(&self) -> u64 {
        if self.kind == Kind::TASK { 0 } else { self.amount.cast_signed().max(0).cast_unsigned() }
    }

    /// How often a task was polled; 0 for everything else.
    pub fn polls(&self) -> u64 {
        if self.kind == Kind::TASK { self.amount } else { 0 }
    }

    /// What it is about.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Its owner, living or not.
    pub fn parent(&self) -> Option<EntryId> {
        (self.parent != 0).then_some(EntryId(self.parent))
    }

    /// Whether its owner is gone.
    pub fn is_orphan(&self) -> bool {
        self.orphan
    }

    /// Its file descriptor, if it named one.
    pub fn fd(&self) -> Option<std::os::fd::RawFd> {
        self.fd.checked_sub(1).map(u32::cast_signed)
    }

    /// What it promised.
    pub fn obligation(&self) -> Obligation {
        Obligation::decode(self.obligation)
    }

    /// By how much the promise is broken; `None` while it is kept.
    pub fn overdue_by(&self) -> Option<Duration> {
        self.obligation().overdue(self.taken, self.progress, self.orphan)
    }
}
