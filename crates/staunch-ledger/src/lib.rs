//! The ledger of everything live.
//!
//! Every connection, task, lease, body, buffer, stream, timer and file that a service opens an
//! account for has an entry here: what it is, the line it was born on, who owns it, what it is
//! doing, when it last made progress, how many bytes it holds, and how it has promised to end.
//! Opening and closing an entry together cost about as much as one allocation, so the ledger is
//! always on; a [`Snapshot`] neither stops nor wakes anybody. What nobody opened an account for
//! is not here: [`Ledger::reconcile`] finds such sockets and files.
//!
//! ```
//! use staunch_ledger::{Kind, Ledger, Obligation};
//!
//! let ledger = Ledger::global();
//! let account = ledger.open(Kind::FILE, Obligation::EndsWithParent);
//! account.label("/var/lib/service/state");
//! println!("{:#?}", ledger.snapshot().groups());
//! # drop(account);
//! ```
//!
//! # The parts
//! [`Ledger`] hands out [`Account`]s; an account is kept with its resource and closes its entry
//! when dropped. An [`Obligation`] tells slow from leaked. [`Snapshot::overdue`] lists what
//! broke its promise and says whether the search was awake ([`Detector`]). A [`Patrol`] looks
//! again and again and has the [`Site`]s it suspects record full backtraces. [`Snapshot::holdings`] says for which
//! routes, clients and servers it is held.
//! [`Ledger::reconcile`] asks the kernel whether it agrees. There is no asynchronous runtime in here and no `unsafe`.
//!
//! # Verified
//! By loom models of each concurrent step (`tests/loom.rs`), a property test against a plain
//! map, and a run of 10^8 births in flat memory (`tests/flat_memory.rs`, optimized; a hundredth of
//! that otherwise). Without `unsafe` there is nothing in here for Miri to find.
//!
//! # Bounds
//! 64 bytes an entry (and 136 for a text label), one million live entries a thread, 1024
//! threads at once; births beyond that work but are only counted ([`Ledger::unrecorded`]). A
//! process has at most 64 kinds, 4096 reasons and a million birth lines.
//! Memory follows the most entries ever live at once, never the number of births.

mod account;
mod addresses;
mod arena;
mod canary;
mod clock;
mod holding;
mod kind;
mod label;
mod ledger;
mod obligation;
mod observation;
mod patrol;
mod reconcile;
mod seldom;
mod shard;
mod site;
mod slot;
mod snapshot;
mod state;
mod sync;

pub use crate::{
    account::Account,
    clock::Stamp,
    holding::{Holding, MAX_NAMED, STILL_AFTER},
    kind::{Kind, RegisterKindError},
    label::{Label, MAX_LABEL_BYTES, Routed},
    ledger::{Entered, EntryId, Ledger, OwnedLedger},
    obligation::{Deadline, Obligation},
    observation::{MAX_OBSERVATIONS, Observation},
    patrol::{Look, MAX_ESCALATED, Patrol, Suspicion},
    reconcile::{ReconcileError, Reconciliation, UnaccountedFd},
    seldom::Seldom,
    site::{MAX_BACKTRACES_PER_SITE, Site, sites},
    snapshot::{Detector, Entry, Group, Snapshot},
    state::State,
};
