//! What a Go service shows: text dumps of its goroutines, and profiles of goroutines and heap.
//!
//! `dump.rs` reads a dump line by line and groups goroutines as it goes; `header.rs`, `call.rs` and
//! `waiting.rs` understand one line each. `profile.rs` reads pprof's protobuf, `text_profile.rs` what
//! `debug=1` writes.

mod call;
mod dump;
mod header;
mod profile;
mod text_profile;
mod waiting;

pub use dump::{GoroutineDumpError, GoroutineDumpLimits, read_goroutine_dump};
pub use profile::{PROFILE_BYTES_MAX, ProfileError, read_goroutine_profile, read_heap_profile};
pub use text_profile::{TextProfileError, read_goroutine_text, read_heap_text};

pub(super) use profile::{is_profile, read_profile};
pub(super) use text_profile::{is_goroutine_text, is_heap_text};
