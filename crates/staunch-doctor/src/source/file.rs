//! A saved dump: what it is, is told by how it begins.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use staunch_diagnosis::Snapshot;

use super::{
    go::{
        GoroutineDumpError, GoroutineDumpLimits, PROFILE_BYTES_MAX, ProfileError,
        read_goroutine_dump, read_goroutine_profile, read_heap_profile,
    },
    jvm::{is_class_histogram, is_thread_dump, read_class_histogram, read_thread_dump},
    ledger::{LedgerSourceError, read_ledger},
    sockets::{is_socket_list, read_sockets},
    text::TextError,
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
    /// It is no profile.
    #[error("{}: its profile cannot be used", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ProfileError,
    },
    /// It is no ledger.
    #[error("{}: its ledger cannot be used", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: LedgerSourceError,
    },
    /// It begins as a text of a JVM or a list of sockets, and is none.
    #[error("{}: it cannot be read to its end", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TextError,
    },
}

/// The first bytes of a gzip file (RFC 1952, 2.3.1), as which Go writes profiles.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Reads a saved dump: of goroutines (`debug=2`, a panic, SIGQUIT), a profile of goroutines or of the
/// heap (protobuf, as Go writes it), a Staunch ledger, threads of a JVM (`jstack`, `jcmd Thread.print`),
/// its class histogram, or a list of sockets (`ss -tan`, `netstat -tan`). Blocks.
///
/// # Errors
/// [`SavedError`]
pub fn read_file(path: &Path) -> Result<Snapshot, SavedError> {
    let path = path.to_owned();
    let unreadable = |source| SavedError::Read { path: path.clone(), source };
    let mut reader = BufReader::new(File::open(&path).map_err(unreadable)?);
    let beginning = reader.fill_buf().map_err(unreadable)?;
    if beginning.starts_with(GZIP) {
        return profile(reader).map_err(|source| SavedError::Profile { path, source });
    }
    if beginning.trim_ascii_start().starts_with(b"{") {
        let mut document = Vec::new();
        reader.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document).map_err(unreadable)?;
        if document.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(SavedError::Large { path, limit: DOCUMENT_BYTES_MAX });
        }
        return read_ledger(&document).map_err(|source| SavedError::Ledger { path, source });
    }
    if let Some(read) = text_reader(beginning) {
        return read(&mut reader).map_err(|source| SavedError::Text { path, source });
    }
    let tasks = read_goroutine_dump(reader, &GoroutineDumpLimits::default())
        .map_err(|source| SavedError::Dump { path, source })?;
    Ok(Snapshot { tasks: Some(tasks), ..Snapshot::default() })
}

type TextReader = fn(&mut BufReader<File>) -> Result<Snapshot, TextError>;

/// Who reads a text that begins so, if it is of a JVM or a list of sockets.
fn text_reader(beginning: &[u8]) -> Option<TextReader> {
    if is_thread_dump(beginning) {
        Some(|reader| Ok(read_thread_dump(reader)?.into()))
    } else if is_class_histogram(beginning) {
        Some(|reader| {
            Ok(Snapshot { heap: Some(read_class_histogram(reader)?), ..Snapshot::default() })
        })
    } else if is_socket_list(beginning) {
        Some(|reader| Ok(Snapshot { sockets: Some(read_sockets(reader)?), ..Snapshot::default() }))
    } else {
        None
    }
}

/// What it is a profile of, it says itself.
fn profile(mut reader: impl Read) -> Result<Snapshot, ProfileError> {
    let mut bytes = Vec::new();
    let limit = PROFILE_BYTES_MAX;
    reader.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(ProfileError::Read)?;
    match read_heap_profile(&bytes[..], limit) {
        Ok(heap) => Ok(Snapshot { heap: Some(heap), ..Snapshot::default() }),
        Err(ProfileError::OtherKind { .. }) => {
            let tasks = read_goroutine_profile(&bytes[..], limit)?;
            Ok(Snapshot { tasks: Some(tasks), ..Snapshot::default() })
        }
        Err(error) => Err(error),
    }
}
