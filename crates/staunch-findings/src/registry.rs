//! Every watch of the process, for reports. Holds none of them alive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use staunch_ledger::Ledger;

use crate::{
    look::Lookout,
    report::{Report, Told},
};

/// What a watch has found; written at each look.
#[derive(Debug)]
pub(crate) struct Found {
    ledger: Ledger,
    last: Mutex<Option<(Report, Told)>>,
}

impl Found {
    /// Nothing yet, of a watch of `ledger`; from now on it is in the registry until it is dropped.
    pub(crate) fn register(ledger: Ledger) -> Arc<Found> {
        let found = Arc::new(Found { ledger, last: Mutex::new(None) });
        let mut watches = watches();
        watches.retain(|known| known.strong_count() > 0); // as many as there are, never more
        watches.push(Arc::downgrade(&found));
        found
    }

    pub(crate) fn set(&self, report: Report, told: Told) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((report, told));
    }

    fn get(&self) -> Option<(Report, Told)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the watch of `ledger` found last, and how often it found something new; if there is none, or
/// it has not looked yet, what can be seen at once.
///
/// # Examples
/// ```
/// use staunch_findings::{Detector, report};
/// use staunch_ledger::Ledger;
///
/// let (report, _) = report(Ledger::current());
/// assert!(report.findings.is_empty() && report.detector == Detector::Awake);
/// ```
pub fn report(ledger: Ledger) -> (Report, Told) {
    let watched: Vec<_> = watches().iter().filter_map(Weak::upgrade).collect();
    let found = watched.iter().rev().find(|found| found.ledger == ledger);
    let last = found.and_then(|found| found.get());
    last.unwrap_or_else(|| (at_once(ledger), Told::new()))
}

/// Two looks, one after the other: what is about to end has ended at the second.
fn at_once(ledger: Ledger) -> Report {
    let mut lookout = Lookout::new(ledger);
    lookout.look();
    lookout.look()
}

fn watches() -> MutexGuard<'static, Vec<Weak<Found>>> {
    static WATCHES: Mutex<Vec<Weak<Found>>> = Mutex::new(Vec::new());
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner)
}
