//! The admin endpoint of a service, and its log lines.
//!
//! A [`Console`] answers, on a listener of its own, what the process holds right now. What it
//! shows is read from the ledger and the kernel when it is asked; nobody pays for it otherwise.
//!
//! | path | what |
//! | --- | --- |
//! | `/debug/findings` | what leaks, by the rules of `staunch doctor`: the line, the cause, the fix |
//! | `/debug/pprof/goroutine` | the tasks, as goroutines, for `go tool pprof` or as text |
//! | `/debug/pprof/heap`, `allocs` | jemalloc's heap profile (feature `jemalloc`) |
//! | `/debug/pprof/profile` | where CPU time goes |
//! | `/debug/ledger` | everything live, filtered and paged, and what rules saw happen |
//! | `/debug/ledger/sites` | the lines that open entries; switches their backtraces |
//! | `/debug/sockets` | the sockets as the kernel sees them, with their entries |
//! | `/debug/pools`, `/debug/guard` | the connection pools; the guards of memory and fds |
//! | `/debug/http-clients` | what HTTP clients do (feature `http-client`) |
//! | `/metrics` | for Prometheus |
//! | `/healthz`, `/readyz` | for probes |
//!
//! [`log::init`] sets up log lines that carry the trace and connection they belong to. The server
//! below the console is `staunch-http`'s.
//!
//! # Bounds
//! A request's head, headers, body and time are limited
//! ([`HttpLimits`](staunch_http::HttpLimits)), four pages are made or sent at a time, listings are
//! paged or end at 64 MiB, one CPU profile of at most 300 s is taken at a time, and at most 1 MiB of
//! log lines waits to be written.
//!
//! # Heap profiles
//! Build with the feature `jemalloc`, make `tikv_jemallocator::Jemalloc` the global allocator,
//! and switch profiling on: jemalloc reads its options when the process starts, from
//! `_RJEM_MALLOC_CONF` in the environment or, built in, from `JEMALLOC_SYS_WITH_MALLOC_CONF` in
//! the environment of the build. `prof:true` is needed, and `prof_accum:true` for `/debug/pprof/allocs`: then
//! jemalloc keeps each stack that it has ever sampled. Sampling once in 512 KiB, the default, costs next to nothing.

mod access;
#[cfg(feature = "http-client")]
mod clients;
mod console;
mod findings;
mod guards;
mod health;
mod index;
mod ledger;
pub mod log;
mod metrics;
mod owners;
mod pools;
mod profiles;
mod query;
mod readiness;
mod refusal;
mod reply;
mod route;
mod sockets;

pub use crate::{
    access::{Access, OpenAccessError, Secret, SecretError},
    console::{Console, ConsoleOptions},
    profiles::release_sampler_files,
    readiness::{Phase, Readiness},
};
