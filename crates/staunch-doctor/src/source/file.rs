//! A saved dump: what it is, is told by how it begins.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use staunch_diagnosis::Snapshot;

use super::{
    go::{GoroutineDumpError, GoroutineDumpLimits, read_goroutine_dump},
    ledger::{LedgerSourceError, read_ledger},
};

/// The most that is read of a document which has to be in memory as a whole.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// Why a saved dump could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is larger than is read.
    #[error("{}: larger than {limit} bytes, which is the most that is read of such a file", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is no goroutine dump.
    #[error("{}: it is no goroutine dump", path.display())]
    Dump {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: GoroutineDumpError,
    },
    /// It is no ledger.
    #[error("{}: its ledger cannot be used", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: LedgerSourceError,
    },
}

/// Reads a saved dump: of goroutines (`debug=2`, a panic, SIGQUIT), or of a Staunch ledger. Blocks.
///
/// # Errors
/// [`SavedError`]
pub fn read_file(path: &Path) -> Result<Snapshot, SavedError> {
    let path = path.to_owned();
    let unreadable = |source| SavedError::Read { path: path.clone(), source };
    let mut reader = BufReader::new(File::open(&path).map_err(unreadable)?);
    if reader.fill_buf().map_err(unreadable)?.trim_ascii_start().starts_with(b"{") {
        let mut document = Vec::new();
        reader.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document).map_err(unreadable)?;
        if document.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(SavedError::Large { path, limit: DOCUMENT_BYTES_MAX });
        }
        return read_ledger(&document).map_err(|source| SavedError::Ledger { path, source });
    }
    let tasks = read_goroutine_dump(reader, &GoroutineDumpLimits::default())
        .map_err(|source| SavedError::Dump { path, source })?;
    Ok(Snapshot { tasks: Some(tasks), ..Snapshot::default() })
}
