//! Where snapshots come from.

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
