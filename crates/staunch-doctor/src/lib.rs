//! What a leaking service shows of itself, read into [`Snapshot`](staunch_diagnosis::Snapshot)s
//! for [`diagnose`](staunch_diagnosis::diagnose).
//!
//! A source reads what anybody may hand it: a file that was cut off, a page that is no dump, a
//! gigabyte without end. Every source has limits, reads as it goes, and says in which line it gave
//! up and why.

pub mod source;
