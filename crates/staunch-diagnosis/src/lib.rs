//! From what was seen of a target to what is wrong with it: [`Snapshot`]s go in, [`Finding`]s come
//! out.
//!
//! The crate is pure: no I/O, no clock, no runtime, no randomness. A source (a goroutine dump,
//! `/proc`, a ledger) says what it saw of one target at one instant, as a [`Snapshot`]; several of
//! them, with the time between, are a [`History`]; [`diagnose`] runs every rule over it. The same
//! history always gives the same findings, in the same order, with the same ids.
//!
//! A source fills in the parts it knows and leaves the others `None`; a rule that needs a part
//! which is not there says nothing. So snapshots of several sources may be joined into one
//! ([`Snapshot::join`]), and one leak seen by several of them is one finding.
//!
//! ```
//! use std::time::Duration;
//! use staunch_diagnosis::{History, Options, Snapshot, diagnose};
//!
//! let mut history = History::new();
//! history.add(Duration::ZERO, Snapshot::default());
//! history.add(Duration::from_secs(5), Snapshot::default());
//! assert!(diagnose(&history, &Options::default()).is_empty());
//! ```

mod catalogue;
mod finding;
mod history;
mod names;
mod options;
mod rules;
mod snapshot;
mod stack;
mod trend;

pub use finding::{Cause, Confidence, Finding, Fix, Kind, Place, Severity, Wait};
pub use history::{History, Instant};
pub use names::Names;
pub use options::Options;
pub use rules::{diagnose, suspicions};
pub use snapshot::{
    ClassCount, EntryGroup, FdCount, Frame, Heap, HeapSite, Held, Limits, Member, Monitor,
    Observed, Pointer, Runtime, Sampled, Snapshot, Socket, SocketState, State, TaskGroup, Tasks,
    ThreadCount, Waiting,
};
pub use stack::is_standard;
