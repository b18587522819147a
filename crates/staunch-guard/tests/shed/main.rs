//! Shedding, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod answers;
mod support;
