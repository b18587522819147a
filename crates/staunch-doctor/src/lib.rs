//! Finds leaks in running services and saved dumps.
//!
//! [`watch`] looks at [`Target`]s: what a leaking service shows of itself is read into
//! [`Snapshot`](staunch_diagnosis::Snapshot)s. [`Report::of`] diagnoses them, leaves out what is
//! [`Known`], and writes what remains as text, JSON, HTML or SARIF.
//!
//! A source reads what anybody may hand it: a file that was cut off, a page that is no dump, a
//! gigabyte without end. Every source has limits, reads as it goes, and says where it gave up and
//! why.

mod canary;
mod known;
mod report;
pub mod source;
mod target;
mod watch;

pub use known::{Known, KnownError};
pub use report::{Detector, Format, Report};
pub use target::{Target, TargetError};
pub use watch::{ExamineError, Plan, Progress, Seen, watch};
