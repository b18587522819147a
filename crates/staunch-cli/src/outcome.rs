//! How a run ended: what is printed of it, and the exit code.

use std::{
    convert::Infallible,
    io::{self, Write},
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
};

use staunch_ledger::{Detector, Entry, Kind, Ledger, UnaccountedFd};
use staunch_scope::{Forced, ScopeError};

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
#[derive(Debug)]
pub(crate) struct Books {
    ledger: Ledger,
    /// Connections born before anything was served: those that were inherited.
    born_before: u64,
    served: Mutex<Served>,
}

#[derive(Debug, Default)]
struct Served {
    connections: u64,
    refused: u64,
    datagrams: u64,
    cut: Vec<String>,
    /// Those who were cut and are not in there.
    cut_more: u64,
    /// Tasks other than handlers that had to be forced.
    forced: Vec<Forced>,
    failed: bool,
    /// What listeners report from then on is in here already.
    cut_now: bool,
}

/// Those who were cut are named one by one up to here, then counted.
const NAMED: usize = 100;

impl Books {
    /// Empty ones. What is served from now on is born on `ledger`.
    pub(crate) fn new(ledger: Ledger) -> Books {
        let born_before = ledger.births(Kind::CONNECTION);
        Books { ledger, born_before, served: Mutex::default() }
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream listener has drained.
    pub(crate) fn connections(&self, listener: &str, served: staunch_net::Served) {
        let mut books = self.served();
        if books.cut_now {
            return;
        }
        books.connections += served.accepted;
        books.refused += served.refused;
        books.cut_more += served.cut_more;
        books.cut.extend(served.cut.into_iter().map(|cut| format!("{listener}: {cut}")));
    }

    /// A datagram listener has drained.
    pub(crate) fn datagrams(&self, listener: &str, served: staunch_net::UdpServed) {
        let mut books = self.served();
        books.datagrams += served.received;
        books.cut.extend(served.cut.into_iter().map(|cut| format!("{listener}: {cut}")));
    }

    /// A listener could not serve.
    pub(crate) fn failed(&self) {
        self.served().failed = true;
    }

    /// What is handed on has drained.
    pub(crate) fn gateway(&self, done: staunch_gateway::Done) {
        self.served().failed |= done.has_failed;
        for (listener, served) in done.connections {
            self.connections(&listener, served);
        }
        for (listener, served) in done.datagrams {
            self.datagrams(&listener, served);
        }
    }

    /// Everybody who is still served is about to be cut, and the listeners with them: what those
    /// have counted is lost, and taken from the ledger instead. Refusals and datagrams leave
    /// nothing there.
    pub(crate) fn cut_now(&self) {
        let snapshot = self.ledger.snapshot();
        let served = |entry: &&Entry| entry.kind() == Kind::CONNECTION && entry.parent().is_some();
        let cut = snapshot.entries().iter().filter(served).map(|entry| {
            let Forced { born_at, age, state, label, .. } = Forced::from(entry);
            format!("connection born at {born_at}, {age:?} old, {state} ({label})")
        });
        let mut books = self.served();
        books.cut.extend(cut);
        books.cut_now = true;
        books.connections = self.ledger.births(Kind::CONNECTION) - self.born_before;
    }

    /// A scope of listeners has ended.
    pub(crate) fn scope_ended(
        &self,
        result: Result<(), ScopeError<Infallible>>,
        forced: Vec<Forced>,
    ) {
        let mut books = self.served();
        if let Err(error @ ScopeError::Failed { .. }) = result {
            tracing::error!(%error, "stopped");
            books.failed = true;
        }
        books.forced.extend(forced);
    }

    /// Prints what was served, who was cut and what is left, on the ledger or in the kernel only
    /// (`unaccounted`); the last line is the sum.
    pub(crate) fn close(&self, unaccounted: &[UnaccountedFd]) -> Outcome {
        let snapshot = self.ledger.snapshot();
        let (_, detector) = snapshot.overdue();
        let end = End { left: snapshot.entries(), unaccounted, detector };
        let served = self.served();
        // Who has closed standard output does not want to know.
        let _ = served.print(&end, &mut io::stdout().lock());
        let clean = served.forced.is_empty() && !served.failed && end.is_clean();
        if clean { Outcome::Done } else { Outcome::Failed }
    }
}

/// What there is when everything should have ended.
struct End<'a> {
    left: &'a [Entry],
    unaccounted: &'a [UnaccountedFd],
    detector: Detector,
}

impl End<'_> {
    fn is_clean(&self) -> bool {
        self.count() == 0 && self.detector == Detector::Awake
    }

    fn count(&self) -> usize {
        self.left.len() + self.unaccounted.len()
    }
}

impl Served {
    fn print(&self, end: &End<'_>, out: &mut impl Write) -> io::Result<()> {
        for cut in self.cut.iter().take(NAMED) {
            writeln!(out, "cut: {cut}")?;
        }
        let more = self.cut.len().saturating_sub(NAMED) as u64 + self.cut_more;
        if more > 0 {
            writeln!(out, "cut: and {more} more")?;
        }
        for forced in self.forced.iter().take(NAMED) {
            writeln!(out, "forced: {forced}")?;
        }
        end.left.iter().take(NAMED).try_for_each(|entry| print_left(entry, out))?;
        for found in end.unaccounted.iter().take(NAMED) {
            writeln!(out, "left: {found}, which is not on the ledger")?;
        }
        if end.detector == Detector::Broken {
            writeln!(out, "the leak detector is broken: it missed its own canary; report this")?;
        }
        let Served { connections, refused, datagrams, .. } = self;
        let (cut, left) = (self.cut.len() as u64 + self.cut_more, end.count());
        writeln!(
            out,
            "served {connections} connections ({refused} refused, {cut} cut by the drain) and \
             {datagrams} datagrams; {left} left",
        )
    }
}

fn print_left(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "left: {} born at {}, {:?} old, {} {}",
        entry.kind(),
        entry.born_at(),
        entry.age(),
        entry.state(),
        entry.label(),
    )
}

#[cfg(test)]
mod tests;
