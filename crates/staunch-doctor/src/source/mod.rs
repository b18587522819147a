//! Where snapshots come from.

pub mod file;
pub mod go;
pub mod ledger;
pub mod process;
pub(crate) mod remote;

pub use remote::RemoteError;
