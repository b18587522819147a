//! Who has the connections of a pool.

use std::{
    panic::Location,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use staunch_ledger::{Kind, Ledger, Observation};

use crate::{
    error::Exhausted, manager::Manager, options::PoolOptions, shared::Shared, status::Holder,
};

impl<M: Manager> Shared<M> {
    /// The error of who has waited for so long in vain: it names the holders. It is an observation
    /// too, at most once in each `maintenance_interval`.
    #[cold]
    pub(crate) fn exhausted(&self, waited: Duration) -> Exhausted {
        let PoolOptions { name, max_total, .. } = self.options;
        let exhausted = Exhausted { pool: name, waited, max_total, holders: self.holders() };
        let pause = self.options.maintenance_interval;
        observe(&exhausted, self.ledger, &self.exhausted_at, pause, self.born_at);
        exhausted
    }

    /// Who has leases, those with the most first.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let live = self.live();
        merge(live.iter().filter_map(|record| {
            let entry = self.ledger.entry(record.lease()?)?;
            let (oldest, unused_for) = (entry.age(), entry.without_progress());
            Some(Holder { born_at: entry.born_at(), count: 1, oldest, unused_for })
        }))
    }
}

/// Says on the ledger that a pool is exhausted, at most once in each `pause`: it was said before at
/// `observed_at`, in milliseconds of the ledger's clock.
#[cold]
pub(crate) fn observe(
    exhausted: &Exhausted,
    ledger: Ledger,
    observed_at: &AtomicU64,
    pause: Duration,
    made_at: &'static Location<'static>,
) {
    let at = ledger.now();
    let before = observed_at.load(Ordering::Relaxed);
    let now = at.as_millis().max(1);
    let is_due = before == 0 || u128::from(now.saturating_sub(before)) >= pause.as_millis();
    let (set, seen) = (Ordering::Relaxed, Ordering::Relaxed);
    if is_due && observed_at.compare_exchange(before, now, set, seen).is_ok() {
        // Of those who have most: they decide who else gets any.
        let born_at = exhausted.holders.first().map_or(made_at, |holder| holder.born_at);
        let (rule, kind, text) = ("pool-exhausted", Kind::LEASE, exhausted.to_string());
        ledger.observe(Observation { rule, kind, born_at, text, at });
    }
}

/// Holders of one line together, those with the most first.
pub(crate) fn merge(all: impl Iterator<Item = Holder>) -> Vec<Holder> {
    let mut merged: Vec<Holder> = Vec::new();
    for holder in all {
        match merged.iter_mut().find(|known| known.born_at == holder.born_at) {
            Some(known) => {
                known.count += holder.count;
                known.oldest = known.oldest.max(holder.oldest);
                known.unused_for = known.unused_for.max(holder.unused_for);
            }
            None => merged.push(holder),
        }
    }
    merged.sort_by_key(|holder| std::cmp::Reverse((holder.count, holder.oldest)));
    merged
}
