//! Files, read where it may block, and no more of them than there may be.

use std::{
    convert::Infallible,
    fmt, io,
    path::{Path, PathBuf},
};

use staunch_scope::{Cancelled, JoinChildError, Scope};

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFileError {
    /// The system says why.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{}: has more than {limit} bytes: is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes it may have.
        limit: u64,
    },
    /// It is not UTF-8, or has nothing to read.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The task was asked to stop.
    #[error("not read: {0}")]
    Cancelled(#[from] Cancelled),
}

/// What nobody but a registry is told. It is shown nowhere.
#[derive(Clone)]
pub(crate) struct Secret(String);

/// A password or token that has more is none.
const SECRET_MAX: u64 = 4 << 10;

impl Secret {
    /// The first line of a file.
    pub(crate) async fn read(
        scope: &Scope<Infallible>,
        path: &Path,
    ) -> Result<Secret, ReadFileError> {
        Secret::of(path, &read(scope, path, SECRET_MAX).await?)
    }

    /// As [`Secret::read`]; blocks for a moment.
    #[cfg(feature = "discover")]
    pub(crate) fn read_now(path: &Path) -> Result<Secret, ReadFileError> {
        Secret::of(path, &read_now(path, SECRET_MAX)?)
    }

    fn of(path: &Path, text: &str) -> Result<Secret, ReadFileError> {
        match text.lines().next().map(str::trim_end) {
            Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
            _ => {
                let reason = "its first line is to be the secret, and is empty";
                Err(ReadFileError::Content { path: path.to_owned(), reason })
            }
        }
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Secret {
        Secret(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text of a file of at most `limit` bytes.
pub(crate) async fn read(
    scope: &Scope<Infallible>,
    path: &Path,
    limit: u64,
) -> Result<String, ReadFileError> {
    let from = path.to_owned();
    let reading = scope.blocking(move |_| Ok(read_now(&from, limit)));
    match reading.join().await {
        Ok(read) => read,
        Err(JoinChildError::Cancelled(cause)) => Err(cause.into()),
        Err(_) => {
            let source = io::Error::other("the thread that read it has ended");
            Err(ReadFileError::Io { path: path.to_owned(), source })
        }
    }
}

/// As [`read`]; blocks for a moment.
pub(crate) fn read_now(path: &Path, limit: u64) -> Result<String, ReadFileError> {
    let path = || path.to_owned();
    let bytes = staunch_kernel::read_file(&path(), limit)
        .map_err(|source| ReadFileError::Io { path: path(), source })?;
    if bytes.len() as u64 > limit {
        return Err(ReadFileError::TooLarge { path: path(), limit });
    }
    String::from_utf8(bytes)
        .map_err(|_| ReadFileError::Content { path: path(), reason: "it is not UTF-8" })
}
