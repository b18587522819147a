//! Where snapshots come from.

pub mod file;
pub mod go;
pub mod ledger;
pub mod process;
#[cfg(feature = "watch")]
pub(crate) mod remote;

#[cfg(feature = "watch")]
pub use remote::RemoteError;
