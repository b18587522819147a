//! Structured concurrency: tasks that cannot outlive their owner.
//!
//! A [`scope`] owns the tasks spawned in it and ends after them, their destructors included. A
//! [`Context`] carries deadline, cancellation, trace id and values. Every task is on the ledger
//! with the line that spawned it, its last poll, and what it waits for.
//!
//! # What holds
//! 1. Children end before the scope. If the scope's future is dropped, they are asked to stop,
//!    and each ends itself within the grace; a scope further out still waits for them. Blocking
//!    work cannot be forced: it ends when it heeds the ask, and is named if it does not.
//! 2. The first error or panic stops the siblings (other [`Policy`]s can be chosen).
//! 3. A child's deadline is the minimum of its own and its parent's.
//! 4. Cancellation is level-triggered: once asked, every await of ours returns [`Cancelled`],
//!    at every poll, except within [`shield`], and if what it waits for is there already.
//! 5. Stopping has two stages: ask, wait for the grace, force; who was forced is named.
//! 6. Detaching needs a reason and is on the ledger.
//! 7. A scope has a limit of children ([`ScopeBuilder::max_children`]).
//! 8. It is not kept from ending by daemons ([`Scope::spawn_daemon_at`]): they serve the others, and
//!    are asked to stop once only daemons are left.
//!
//! # The parts
//! | | |
//! | --- | --- |
//! | [`scope`], [`ScopeBuilder`], [`Scope`] | run work, and children of it |
//! | [`FailFast`], [`CollectAll`], [`FirstSuccess`], [`Isolate`], [`Policy`] | what a child's end means for the others |
//! | [`Scope::supervise`] | a child that is started again when it fails |
//! | [`Scope::blocking`] | work that blocks its thread |
//! | [`Context`], [`sleep()`], [`timeout`], [`shield`] | deadlines and cancellation |
//! | [`channel`] | bounded channels, and the search for waits that nobody can end |
//! | [`patrol`](patrol()) | a search for leaks that nobody has to ask for |
//! | [`WorkerWatch`] | a thread that reports polls which do not return |
//! | [`detach`](detach()) | the way out, for a stated reason |
//! | [`Wait`] | for crates with awaits of their own |
//! | `testing` (feature `testing`) | tests that fail when anything is left |
//!
//! # Compared
//! `tokio::task::JoinSet` aborts when dropped but does not wait, and keeps the results of
//! finished tasks until they are taken; `TaskTracker` waits but neither cancels nor sees
//! errors. A scope does both, and knows the birth line of everybody.

mod blocking;
mod book;
pub mod channel;
mod context;
mod detach;
mod error;
mod frame;
mod log;
mod members;
mod patrol;
mod piece;
mod policy;
mod run;
mod scope;
mod sleep;
mod spawn;
mod supervise;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod trail;
mod wait;
mod worker_watch;

pub use staunch_ledger::State;

pub use crate::{
    blocking::Blocking,
    channel::{mpsc, oneshot, watch},
    context::{Cancelled, Canceller, Context},
    detach::{Detached, detach, detached},
    error::{BoxError, Failure, FailureCause, JoinChildError, MAX_FAILURES, ScopeError, TaskPanic},
    frame::{current_task, is_dismissed, is_forced, with_current_account},
    log::{LogFields, log_fields, serve_subject},
    members::Forced,
    patrol::patrol,
    piece::Piece,
    policy::{ChildEnd, CollectAll, FailFast, FirstSuccess, Isolate, Policy, Verdict},
    scope::{DEFAULT_GRACE, DEFAULT_MAX_CHILDREN, Ended, Scope, ScopeBuilder, scope},
    sleep::{sleep, sleep_until, timeout},
    spawn::Child,
    supervise::Restart,
    task::BLOCKED_WORKER,
    trace::{SpanId, TraceId, TraceParent},
    wait::{Shield, Wait, shield},
    worker_watch::WorkerWatch,
};
