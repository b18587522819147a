//! How a run ended: the last line, and the exit code.

use std::{
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
};

use staunch_ledger::{Detector, Entry, Ledger};
use staunch_scope::Forced;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All went well.
    Done = 0,
    /// Something was left, or failed while running.
    Failed = 1,
    /// It could not start.
    CannotStart = 2,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

/// What the listeners served, booked as they drain.
#[derive(Debug, Default)]
pub(crate) struct Books(Mutex<Served>);

#[derive(Debug, Default)]
struct Served {
    connections: u64,
    refused: u64,
    datagrams: u64,
    cut: Vec<(String, Forced)>,
}

/// Those who were cut are named one by one up to here, then counted.
const NAMED: usize = 100;

impl Books {
    fn served(&self) -> MutexGuard<'_, Served> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream listener has drained.
    pub(crate) fn connections(&self, listener: &str, served: staunch_net::Served) {
        let mut books = self.served();
        books.connections += served.accepted;
        books.refused += served.refused;
        books.cut.extend(served.cut.into_iter().map(|cut| (listener.to_owned(), cut)));
    }

    /// A datagram listener has drained.
    pub(crate) fn datagrams(&self, listener: &str, served: staunch_net::UdpServed) {
        let mut books = self.served();
        books.datagrams += served.received;
        books.cut.extend(served.cut.into_iter().map(|cut| (listener.to_owned(), cut)));
    }

    /// Prints what was served, who was cut and what is left; the last line is the sum.
    pub(crate) fn close(&self, ledger: Ledger) -> Outcome {
        let served = self.served();
        for (listener, cut) in served.cut.iter().take(NAMED) {
            println!("cut: {listener}: {cut}");
        }
        if let Some(more) = served.cut.len().checked_sub(NAMED).filter(|more| *more > 0) {
            println!("cut: and {more} more");
        }
        let snapshot = ledger.snapshot();
        let left = snapshot.entries();
        left.iter().take(NAMED).for_each(print_left);
        let (_, detector) = snapshot.overdue();
        if detector == Detector::Broken {
            println!("the leak detector is broken: it missed its own canary; report this");
        }
        println!(
            "served {} connections ({} refused, {} cut) and {} datagrams; {} left",
            served.connections,
            served.refused,
            served.cut.len(),
            served.datagrams,
            left.len(),
        );
        if left.is_empty() && detector == Detector::Awake { Outcome::Done } else { Outcome::Failed }
    }
}

fn print_left(entry: &Entry) {
    println!(
        "left: {} born at {}, {:?} old, {} {}",
        entry.kind(),
        entry.born_at(),
        entry.age(),
        entry.state(),
        entry.label(),
    );
}
