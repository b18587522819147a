//! The client, against our own server, nginx, and servers that say nothing.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod bodies;
mod cancelling;
mod counting;
mod events;
mod events_tls;
mod following;
mod kept;
mod nginx;
mod proxies;
mod saving;
mod support;
mod tracing;
