//! The crate on real sockets. Every test runs on a ledger of its own and fails if anything is
//! left there.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod harness;

mod abuse;
mod admission;
mod buffers;
mod cancel;
mod descriptors;
mod dial;
mod drain;
mod echo;
mod handshakes;
mod inherit;
mod pipe;
mod proxied;
mod racing;
mod readers;
mod states;
mod tls;
mod tunnel;
mod udp;
mod watchdog;
