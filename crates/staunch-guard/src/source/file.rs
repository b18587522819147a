//! A small file of the kernel's that is read again and again.

use std::{fs::File, io, os::fd::AsRawFd, os::unix::fs::FileExt, panic::Location, path::Path};

use staunch_ledger::{Account, EntryId, Kind, Ledger, Obligation};

/// Open for as long as it is watched, so that a look is one system call.
pub(crate) struct KernelFile {
    file: File,
    _account: Account,
}

/// Opens files on behalf of a guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opener {
    pub(crate) ledger: Ledger,
    /// The line and the scope of the guard.
    pub(crate) born_at: &'static Location<'static>,
    pub(crate) owner: EntryId,
}

impl Opener {
    pub(crate) fn open(&self, path: &Path) -> io::Result<KernelFile> {
        let file = File::open(path)?;
        let promise = Obligation::EndsWithParent;
        let account = self.ledger.open_at(self.born_at, Kind::FILE, promise, Some(self.owner));
        account.set_fd(file.as_raw_fd());
        account.label(&path.to_string_lossy());
        Ok(KernelFile { file, _account: account })
    }
}

impl KernelFile {
    /// What it says now, as much as there is room for.
    pub(crate) fn read<'b>(&self, room: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = self.file.read_at(room, 0)?;
        Ok(&room[..length])
    }

    /// The number that it says; `None` if it says something else, `max` for instance.
    pub(crate) fn number(&self) -> io::Result<Option<u64>> {
        self.read(&mut [0; 32]).map(number)
    }
}

/// The number that `text` begins with.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    str::from_utf8(&text[..end]).ok()?.parse().ok()
}
