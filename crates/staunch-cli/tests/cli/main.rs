//! The `staunch` binary from outside: a child process, real sockets, `/proc` and its ledger.
//!
//! Each test has a server of its own on ports of its own, and ends by asking that nothing is
//! left: on the ledger, in `/proc/PID/fd`, and in the last line of the run.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod abuse;
mod access_log;
mod bodies;
mod check_files;
mod client;
mod demo;
mod discovery;
mod doctor;
mod drain;
mod ending;
mod faults;
mod gateway;
mod gateway_http1;
mod guard;
mod holders;
mod holdings;
mod listeners;
mod policy;
mod process;
mod programs;
mod proxy_protocol;
mod relays;
mod routes;
mod run;
mod server;
mod tls;
mod tls_upstream;
mod traces;
mod udp;
mod udp_sessions;
mod unread_bodies;
mod upgrade;
mod uploads;

use std::{
    thread,
    time::{Duration, Instant},
};

/// Nothing takes longer; a test that hangs fails with this instead.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `look` finds what it looks for; it says what it found instead until then.
fn eventually<T>(awaited: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => {
                assert!(Instant::now() < deadline, "in {PATIENCE:?} never {awaited}: {instead}");
            }
        }
        thread::sleep(PAUSE);
    }
}
