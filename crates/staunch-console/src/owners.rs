//! Who owns whom, within one snapshot.

use std::collections::HashMap;

use staunch_ledger::{Entry, EntryId, Snapshot};

/// Owners that are followed upwards, so that a deep nest of scopes does not make every line of
/// a report long.
const OWNERS_MAX: usize = 16;

/// Finds the owners of entries.
pub(crate) struct Owners<'s> {
    by_id: HashMap<EntryId, &'s Entry>,
}

impl<'s> Owners<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot) -> Owners<'s> {
        Owners { by_id: snapshot.entries().iter().map(|entry| (entry.id(), entry)).collect() }
    }

    /// The living owners of an entry, the nearest first.
    pub(crate) fn of(&self, entry: &Entry) -> impl Iterator<Item = &'s Entry> + use<'s, '_> {
        let owner = |entry: &Entry| self.by_id.get(&entry.parent()?).copied();
        std::iter::successors(owner(entry), move |entry| owner(entry)).take(OWNERS_MAX)
    }
}
