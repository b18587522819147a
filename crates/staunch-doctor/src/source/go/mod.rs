//! What a Go service shows: text dumps of its goroutines.
//!
//! `dump.rs` reads a dump line by line and groups goroutines as it goes; `header.rs`, `call.rs` and
//! `waiting.rs` understand one line each.

mod call;
mod dump;
mod header;
mod waiting;

pub use dump::{GoroutineDumpError, GoroutineDumpLimits, read_goroutine_dump};
