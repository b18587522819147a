//! HTTP pools against nginx, and against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod cancelling;
mod misbehaving;
mod multiplexing;
mod nginx;
mod raw;
mod refusing;
mod support;
mod uploading;
