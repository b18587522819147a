//! The console over real sockets. Each test runs on a ledger of its own and fails if anything
//! is left at its end.

mod access;
mod go;
#[cfg(feature = "jemalloc")]
mod heap;
mod ledger;
mod limits;
mod pages;
mod profiles;
mod support;
