//! One instant of one target: what a source saw.
//!
//! Everything is optional, and everything that may be numerous is grouped by what rules compare:
//! tasks by stack and state, heap by allocation site, ledger entries by birth line. Sockets are
//! kept one by one, because which of them is still the same one a minute later is the question.

mod entries;
mod heap;
mod monitor;
mod sockets;
mod tasks;

pub use entries::{EntryGroup, Held, Observed};
pub use heap::{ClassCount, Heap, HeapSite, Sampled};
pub use monitor::Monitor;
pub use sockets::{FdCount, Socket, SocketState};
pub use tasks::{Frame, Member, Pointer, Runtime, State, TaskGroup, Tasks, Waiting};

/// What a source saw of a target at one instant. `None` is "the source does not know", which is
/// not the same as an empty list: "there is none".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Goroutines, threads with stacks, or tasks.
    pub tasks: Option<Tasks>,
    /// Open sockets.
    pub sockets: Option<Vec<Socket>>,
    /// TCP connections that were closed with data that nobody had read, in the target's whole network
    /// namespace, since it began.
    pub aborts: Option<u64>,
    /// Open file descriptors by kind.
    pub fds: Option<Vec<FdCount>>,
    /// Threads by name.
    pub threads: Option<Vec<ThreadCount>>,
    /// What is live on the heap.
    pub heap: Option<Heap>,
    /// Entries of a Staunch ledger.
    pub entries: Option<Vec<EntryGroup>>,
    /// What is held for the routes of a Staunch service.
    pub held: Option<Vec<Held>>,
    /// What a Staunch service has seen happen lately.
    pub observed: Option<Vec<Observed>>,
    /// Memory resident, in bytes.
    pub resident: Option<u64>,
    /// The limits that the target lives under.
    pub limits: Limits,
}

/// The limits that a target lives under; `None` is unknown or unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many descriptors may be open at once.
    pub fds: Option<u64>,
    /// How many bytes of memory it may have.
    pub memory: Option<u64>,
    /// How many threads it may have.
    pub threads: Option<u64>,
    /// How many local ports there are for connections that it opens.
    pub ephemeral_ports: Option<u64>,
}

/// Threads of one name, digits in it left out: `worker-17` and `worker-18` are `worker-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadCount {
    /// The name, without its digits.
    pub name: String,
    /// How many there are.
    pub count: u64,
}

impl Snapshot {
    /// Takes over every part that `other` knows and this one does not: what several sources saw of
    /// one target at about one instant.
    #[must_use]
    pub fn join(mut self, other: Snapshot) -> Snapshot {
        self.tasks = self.tasks.or(other.tasks);
        self.sockets = self.sockets.or(other.sockets);
        self.aborts = self.aborts.or(other.aborts);
        self.fds = self.fds.or(other.fds);
        self.threads = self.threads.or(other.threads);
        self.heap = self.heap.or(other.heap);
        self.entries = self.entries.or(other.entries);
        self.held = self.held.or(other.held);
        self.observed = self.observed.or(other.observed);
        self.resident = self.resident.or(other.resident);
        self.limits = Limits {
            fds: self.limits.fds.or(other.limits.fds),
            memory: self.limits.memory.or(other.limits.memory),
            threads: self.limits.threads.or(other.limits.threads),
            ephemeral_ports: self.limits.ephemeral_ports.or(other.limits.ephemeral_ports),
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_fills_in_what_is_unknown_and_keeps_what_is_known() {
        let limits = Limits { fds: Some(1024), ..Limits::default() };
        let ours = Snapshot { resident: Some(1), ..Snapshot::default() };
        let theirs = Snapshot {
            resident: Some(2),
            sockets: Some(Vec::new()),
            limits,
            ..Snapshot::default()
        };
        let joined = ours.join(theirs);
        assert_eq!(joined.resident, Some(1));
        assert_eq!(joined.sockets, Some(Vec::new()));
        assert_eq!(joined.limits.fds, Some(1024));
    }
}
