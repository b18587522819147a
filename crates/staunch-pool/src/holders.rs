//! Who has the connections of a pool.

use std::time::Duration;

use crate::{
    error::Exhausted, manager::Manager, options::PoolOptions, shared::Shared, status::Holder,
};

impl<M: Manager> Shared<M> {
    /// The error of who has waited for so long in vain: it names the holders.
    pub(crate) fn exhausted(&self, waited: Duration) -> Exhausted {
        let PoolOptions { name, max_total, .. } = self.options;
        Exhausted { pool: name, waited, max_total, holders: self.holders() }
    }

    /// Who has leases, those with the most first.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        for record in self.live() {
            let Some(entry) = record.lease().and_then(|lease| self.ledger.entry(lease)) else {
                continue;
            };
            let (oldest, unused_for) = (entry.age(), entry.without_progress());
            match holders.iter_mut().find(|holder| holder.born_at == entry.born_at()) {
                Some(holder) => {
                    holder.count += 1;
                    holder.oldest = holder.oldest.max(oldest);
                    holder.unused_for = holder.unused_for.max(unused_for);
                }
                None => {
                    holders.push(Holder { born_at: entry.born_at(), count: 1, oldest, unused_for });
                }
            }
        }
        holders.sort_by_key(|holder| std::cmp::Reverse((holder.count, holder.oldest)));
        holders
    }
}
