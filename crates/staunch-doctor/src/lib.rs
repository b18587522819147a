//! Finds leaks in running services and saved dumps.
//!
//! `watch` looks at `Target`s: what a leaking service shows of itself is read into
//! [`Snapshot`](staunch_diagnosis::Snapshot)s. A `Report` diagnoses them, leaves out what is
//! `Known`, and writes what remains as text, JSON, HTML or SARIF.
//!
//! A source reads what anybody may hand it: a file that was cut off, a page that is no dump, a
//! gigabyte without end. Every source has limits, reads as it goes, and says where it gave up and
//! why.

#[cfg(feature = "watch")]
mod canary;
#[cfg(feature = "code")]
mod code;
#[cfg(feature = "watch")]
mod known;
#[cfg(feature = "watch")]
mod report;
pub mod source;
#[cfg(feature = "watch")]
mod target;
#[cfg(feature = "watch")]
mod watch;

#[cfg(feature = "code")]
pub use code::{Checkout, CheckoutError};
#[cfg(feature = "watch")]
pub use known::{Known, KnownError};
#[cfg(feature = "watch")]
pub use report::{Detector, Format, Report};
#[cfg(feature = "watch")]
pub use target::{Target, TargetError};
#[cfg(feature = "watch")]
pub use watch::{ExamineError, Plan, Progress, Seen, chain, watch};
