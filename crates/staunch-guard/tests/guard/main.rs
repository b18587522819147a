//! The guard: that it sees, reacts, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod admitting;
mod looking;
mod reacting;
mod support;
