//! The server against clients that mean it harm: what it says to them, that it ends them, that others
//! are answered meanwhile, and that nothing of them is left.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod ambiguous;
mod clients;
mod corpus;
mod cut;
mod early;
mod flooding;
mod frames;
mod raw;
mod stalling;
#[path = "../server/support.rs"]
#[allow(dead_code, reason = "the tests of the server use the rest of it")]
mod support;
