//! The console over real sockets. Each test runs on a ledger of its own and fails if anything
//! is left at its end.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod access;
#[cfg(feature = "http-client")]
mod clients;
mod findings;
mod go;
mod guards;
#[cfg(feature = "jemalloc")]
mod heap;
mod ledger;
mod limits;
mod listeners;
mod pages;
mod profiles;
mod streams;
mod support;
