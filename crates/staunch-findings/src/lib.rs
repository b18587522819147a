//! What is wrong in this process: the rules of `staunch doctor`, on its own ledger.
//!
//! [`watch`] looks every few seconds, as a child of a scope, and logs each finding once: the line
//! what leaks was born on, the cause, the fix. [`report`] is what it found last, for pages, metrics
//! and tests.
//!
//! A look takes a snapshot of the ledger, groups it by birth line (`canary.rs`, `look.rs`), adds it to
//! a [`History`](staunch_diagnosis::History) of at most [`LOOKS_MAX`] looks with at most
//! [`GROUPS_MAX`] groups each, and runs the rules. It stops nobody; beside 10,000 entries it takes a
//! millisecond of a thread that may block (`cargo run --release -p staunch-findings --example cost`).
//!
//! **Invariant.** Each look must find the leaks that were put there for it, by the same path as any
//! other; a report whose look did not says that its detector is blind.

mod brief;
mod canary;
mod look;
mod registry;
mod report;
mod watch;

pub use crate::{
    brief::Brief,
    look::{GROUPS_MAX, LOOKS_MAX, Lookout},
    registry::report,
    report::{Report, Told},
    watch::watch,
};
pub use staunch_diagnosis::{Finding, Severity};
pub use staunch_ledger::Detector;
