//! A body to a file, piece by piece.

use std::{
    ffi::OsString,
    fs::{FileType, OpenOptions},
    hash::{BuildHasher, RandomState},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::FileTypeExt,
        },
    },
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
    place: PathBuf,
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
        let place = place_of(path)?;
        // At once: a thread that creates it might do so after it was removed.
        let (part, file) = Part::beside(&place)?;
        account.set_fd(file.as_raw_fd());
        let file = BufWriter::with_capacity(BUFFER, File::from_std(file));
        Ok(Saving { file, part, place, account, at: Progress { bytes: 0, total } })
    }

    pub(crate) async fn write(&mut self, piece: &[u8]) -> io::Result<Progress> {
        self.file.write_all(piece).await?;
        self.at.bytes += piece.len() as u64;
        self.account.touch();
        Ok(self.at)
    }

    /// It is whole; how many bytes it has.
    pub(crate) async fn end(mut self) -> io::Result<u64> {
        self.file.flush().await?;
        self.part.takes(&self.place)?;
        Ok(self.at.bytes)
    }
}

/// Where a file of this path is, or will be: a symbolic link is followed. What else is there must
/// not be replaced.
fn place_of(path: &Path) -> io::Result<PathBuf> {
    let refused = |what: &str| {
        let text = format!("{what}, which is not replaced by a file: name a regular file, or none");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    };
    let place = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(error),
        Ok(found) if !found.is_symlink() => path.to_owned(),
        Ok(_) => match std::fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return refused("it is a symbolic link to nothing");
            }
            place => place?,
        },
    };
    let kind = std::fs::metadata(&place)?.file_type();
    if kind.is_file() { Ok(place) } else { refused(&format!("it is {}", name_of(kind))) }
}

/// What is no regular file.
fn name_of(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// A file that is removed unless it has taken its place by then.
struct Part(Option<PathBuf>);

impl Part {
    /// A new file beside `place`, of a name that nobody else has.
    fn beside(place: &Path) -> io::Result<(Part, std::fs::File)> {
        const TRIES: u32 = 16; // the names are random: a second one is hardly ever wanted
        let mut tried = 0;
        loop {
            let path = place.with_file_name(part_name(place, tried));
            tried += 1;
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Part(Some(path)), file)),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(error) if tried == TRIES => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn takes(mut self, place: &Path) -> io::Result<()> {
        if let Some(path) = &self.0 {
            std::fs::rename(path, place)?;
        }
        self.0 = None;
        Ok(())
    }
}

/// The name of `place`, cut where it would be too long with what follows.
fn part_name(place: &Path, tried: u32) -> OsString {
    const MOST: usize = 240; // of 255
    let random = RandomState::new().hash_one(tried) as u32;
    let name = place.file_name().unwrap_or_default().as_bytes();
    let mut part = name[..name.len().min(MOST)].to_vec();
    part.extend_from_slice(format!(".{random:08x}.part").as_bytes());
    OsString::from_vec(part)
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path); // somebody else may have done so
        }
    }
}
