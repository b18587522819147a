//! The crate on real sockets. Every test runs on a ledger of its own and fails if anything is
//! left there.

mod harness;

mod abuse;
mod admission;
mod buffers;
mod cancel;
mod descriptors;
mod dial;
mod drain;
mod echo;
mod readers;
mod tls;
mod watchdog;
