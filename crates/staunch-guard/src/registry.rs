//! Every guard of the process, for reports. Holds none of them alive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use staunch_ledger::Ledger;

use crate::{shared::Shared, status::GuardStatus};

/// The guards that were started on `ledger`, in that order.
pub fn guards(ledger: Ledger) -> Vec<GuardStatus> {
    let watched: Vec<_> = watched().iter().filter_map(Weak::upgrade).collect();
    watched.iter().filter(|guard| guard.ledger == ledger).map(|guard| guard.status()).collect()
}

/// From now on the guard is among them, until it is gone.
pub(crate) fn register(guard: &Arc<Shared>) {
    let mut watched = watched();
    watched.retain(|known| known.strong_count() > 0); // as many as there are, never more
    watched.push(Arc::downgrade(guard));
}

fn watched() -> MutexGuard<'static, Vec<Weak<Shared>>> {
    static WATCHED: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}
