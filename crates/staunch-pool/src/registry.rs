//! Every pool of the process, for reports. Holds none of them alive.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use staunch_ledger::Ledger;

use crate::{
    manager::Manager,
    shared::Shared,
    status::{Holder, PoolStatus},
};

/// A pool, as a report sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolReport {
    /// What it holds, and has done.
    pub status: PoolStatus,
    /// Who has its connections, those with the most first.
    pub holders: Vec<Holder>,
    /// What the keys hold of a keyed pool, whose status is that of all of them together. Not for
    /// metrics: there may be many, and they come and go.
    pub keys: Vec<KeyReport>,
}

/// A key of a keyed pool, as a report sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyReport {
    /// The key, as it shows itself.
    pub key: String,
    /// What its pool holds, and has done.
    pub status: PoolStatus,
    /// Who has its connections, those with the most first.
    pub holders: Vec<Holder>,
}

/// The pools whose leases are on `ledger`, in the order they were made.
pub fn pools(ledger: Ledger) -> Vec<PoolReport> {
    let watched: Vec<_> = watched().iter().filter_map(Weak::upgrade).collect();
    watched.iter().filter(|pool| pool.ledger() == ledger).map(|pool| pool.report()).collect()
}

/// From now on the pool is among them, until it is gone.
pub(crate) fn register<P: Watched + 'static>(pool: Weak<P>) {
    let mut watched = watched();
    watched.retain(|known| known.strong_count() > 0); // as many as there are, never more
    watched.push(pool);
}

pub(crate) trait Watched: Send + Sync {
    fn ledger(&self) -> Ledger;
    fn report(&self) -> PoolReport;
}

impl<M: Manager> Watched for Shared<M> {
    fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn report(&self) -> PoolReport {
        PoolReport { status: self.status(), holders: self.holders(), keys: Vec::new() }
    }
}

fn watched() -> MutexGuard<'static, Vec<Weak<dyn Watched>>> {
    static WATCHED: Mutex<Vec<Weak<dyn Watched>>> = Mutex::new(Vec::new());
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}
