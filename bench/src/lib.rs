//! What the benchmark programs of this package share.
//!
//! The package holds two kinds of programs, all of them started by `cargo xtask bench`:
//!
//! - **peers**, the servers Staunch is compared with: `tokio_echo` here and the Go program in
//!   `peers/go-echo`;
//! - **load generators**: `echo_load` measures requests, `idle_load` holds connections, `pool_load`
//!   and `postgres_load` lease them.
//!
//! Peers and generators are separate processes because a file descriptor limit, a CPU account and
//! a resident set belong to a process. A generator shares the machine's cores with the server it
//! measures, so it is built to be cheap: one thread, no runtime, no allocation per request.

pub mod cpu;
pub mod fd_limit;
pub mod latency;
pub mod tasks;
pub mod through;
