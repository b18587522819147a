//! Where snapshots come from.

mod aborts;
pub mod file;
pub mod go;
pub mod jvm;
pub mod ledger;
pub mod process;
#[cfg(feature = "watch")]
pub(crate) mod remote;
pub mod sockets;
mod text;

#[cfg(feature = "watch")]
pub use remote::RemoteError;
pub use text::TextError;

/// Which look of a watch it is: what costs a target more, its heap, is looked at first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The first of several.
    First,
    /// One between them.
    Between,
    /// The last one, or the only one.
    Last,
}
