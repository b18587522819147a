//! The server: what it answers, and that nothing of it is left.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod abuse;
mod draining;
#[cfg(feature = "files")]
mod files;
mod leaving;
mod parking;
mod plain;
#[cfg(feature = "files")]
mod ranges;
mod requests;
mod streams;
mod support;
mod unread;
mod upgrading;
mod versions;
#[cfg(feature = "websocket")]
mod websockets;
