//! Every client of the process, for reports. Holds none of them alive.

use std::{
    panic::Location,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use staunch_ledger::Ledger;

use super::{Client, Inner, status::ClientStatus};

/// A client, as a report sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientReport {
    /// The name of its pool.
    pub name: &'static str,
    /// The line that made it.
    pub born_at: &'static Location<'static>,
    /// What it holds, and has done.
    pub status: ClientStatus,
}

/// The clients whose connections are on `ledger`, in the order they were made.
pub fn clients(ledger: Ledger) -> Vec<ClientReport> {
    let known: Vec<_> = known().iter().filter_map(Weak::upgrade).collect();
    known.into_iter().map(Client).filter(|it| it.0.ledger == ledger).map(|it| it.report()).collect()
}

/// From now on it is among them, until it is gone.
pub(super) fn register(client: Weak<Inner>) {
    let mut known = known();
    known.retain(|known| known.strong_count() > 0); // as many as there are, never more
    known.push(client);
}

impl Client {
    fn report(&self) -> ClientReport {
        let name = self.0.options.pool.per_key.name;
        ClientReport { name, born_at: self.0.born_at, status: self.status() }
    }
}

fn known() -> MutexGuard<'static, Vec<Weak<Inner>>> {
    static KNOWN: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
