//! A body to a file, piece by piece.

use std::{
    io,
    os::fd::AsRawFd,
    panic::Location,
    path::{Path, PathBuf},
};

use staunch_ledger::{Account, Kind, Ledger, Obligation};
use staunch_scope::current_task;
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
};

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are written.
    pub bytes: u64,
    /// Bytes that there will be, if the peer has said so and they came as they are.
    pub total: Option<u64>,
}

/// Bytes that are kept until they are written together.
const BUFFER: usize = 64 << 10;

/// A file that is written beside its place, and takes it when it is whole. Dropped before, it is
/// removed.
pub(crate) struct Saving {
    // Dropped from top to bottom.
    file: BufWriter<File>,
    part: Part,
    account: Account,
    at: Progress,
}

impl Saving {
    pub(crate) fn begin(
        path: &Path,
        total: Option<u64>,
        born_at: &'static Location<'static>,
        promise: Obligation,
    ) -> io::Result<Saving> {
        let account = Ledger::current().open_at(born_at, Kind::FILE, promise, current_task());
        account.label("saving");
        let part = Part::of(path);
        // At once: a thread that creates it might do so after it was removed.
        let file = std::fs::File::create(&part.path)?;
        account.set_fd(file.as_raw_fd());
        let file = BufWriter::with_capacity(BUFFER, File::from_std(file));
        Ok(Saving { file, part, account, at: Progress { bytes: 0, total } })
    }

    pub(crate) async fn write(&mut self, piece: &[u8]) -> io::Result<Progress> {
        self.file.write_all(piece).await?;
        self.at.bytes += piece.len() as u64;
        self.account.touch();
        Ok(self.at)
    }

    /// It is whole; how many bytes it has.
    pub(crate) async fn end(mut self, path: &Path) -> io::Result<u64> {
        self.file.flush().await?;
        std::fs::rename(&self.part.path, path)?;
        Ok(self.at.bytes)
    }
}

/// A file that is removed unless it has another name by then.
struct Part {
    path: PathBuf,
}

impl Part {
    fn of(path: &Path) -> Part {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        Part { path: name.into() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // it is gone already when it was whole
    }
}
