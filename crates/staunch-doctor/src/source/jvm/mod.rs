//! What a Java virtual machine says of itself: its threads and its classes, saved or asked for by
//! `jcmd`.
//!
//! `threads.rs` reads the text of `jcmd PID Thread.print`, `jstack PID` and `kill -3 PID`; `call.rs`
//! and `waiting.rs` understand a line or a stack of it. `histogram.rs` reads `GC.class_histogram`.
//! `jcmd.rs` finds and runs `jcmd`, and `machine.rs` asks it at every look at a process. `recording.rs` has
//! the JVM record its allocations meanwhile, of which `samples.rs` reads what `jfr` prints.

mod call;
mod histogram;
mod jcmd;
mod machine;
mod recording;
mod samples;
mod threads;
mod waiting;

pub use histogram::read_class_histogram;
pub use samples::read_samples;
pub use threads::{ThreadDump, read_thread_dump};

pub(crate) use histogram::is_class_histogram;
pub(crate) use machine::Machine;
pub(crate) use threads::{is_thread_dump, thread_dump_time, without_digits};
