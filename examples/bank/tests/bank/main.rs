//! The bank as its clients see it, with both stores; each test ends by checking that nothing is
//! left on its ledger.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod api;
mod article;
mod client;
mod conservation;
mod harness;
mod money;
mod streams;
mod transfers;
