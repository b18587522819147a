//! Bounded channels that are on the ledger, and know who could end a wait.
//!
//! [`mpsc`], [`oneshot`] and [`watch`] are tokio's channels with three things added:
//! - Each channel has an entry (kind `channel`) with the line it was made on; its progress is
//!   the last message. The entry closes with the last handle. It has no owner: handles travel.
//! - Waiting is an await of ours: the task shows the state `channel`, and the wait ends with an
//!   error when the task is asked to stop.
//! - Each handle remembers the task that made or used it last, and each wait the task that
//!   waits. From this [`doomed_waits`] finds waits that nobody can end.
//!
//! There is no unbounded channel. Errors are small enums: closed, cancelled, full.

mod core;
mod doomed;
mod error;
pub mod mpsc;
pub mod oneshot;
pub mod watch;

pub use self::{
    doomed::{Confidence, DoomedWait, LIKELY_AFTER, doomed_waits},
    error::{RecvError, SendError, TryRecvError, TrySendError},
};
