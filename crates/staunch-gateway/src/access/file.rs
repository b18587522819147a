//! Where lines are written to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Access, AtFlags},
};
use staunch_config::AccessLogTarget;
use staunch_ledger::{Account, Kind, Ledger, Obligation};
use staunch_scope::current_task;

use super::AccessLogError;

/// An open file, or standard output.
#[derive(Debug)]
pub(super) enum Out {
    Stdout,
    /// Not open as long as it is a pipe that nobody reads from: whoever does may start later.
    File {
        path: PathBuf,
        open: Option<Open>,
    },
}

#[derive(Debug)]
pub(super) struct Open {
    file: File,
    _account: Account,
    /// By what the file is known, whatever it is called: device and number.
    id: (u64, u64),
    /// Somebody reads from its other end.
    is_pipe: bool,
}

/// So much can be written to a pipe that says it has room: it does not block.
const PIPE_PIECE: usize = rustix::pipe::PIPE_BUF;

/// What whoever reads a pipe may take to make room, before it is somebody else's turn.
const PIPE_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Out {
    pub(super) fn open(to: &AccessLogTarget) -> Result<Out, AccessLogError> {
        match to {
            AccessLogTarget::Stdout => Ok(Out::Stdout),
            AccessLogTarget::File(path) => match Open::at(path) {
                Ok(open) => Ok(Out::File { path: path.clone(), open }),
                Err(error) => Err(AccessLogError { path: path.clone(), error }),
            },
        }
    }

    /// Whether there is such a file to write to, or a folder to make it in. Opens none: to whoever reads a pipe
    /// it would be the end.
    pub(super) fn check(to: &AccessLogTarget) -> Result<(), AccessLogError> {
        let AccessLogTarget::File(path) = to else { return Ok(()) };
        may_be_written(path).map_err(|error| AccessLogError { path: path.clone(), error })
    }

    /// Opens the file anew if its path leads to another one by now, or to none.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        if let Out::File { path, open } = self {
            let is_it = |open: &Open| fs::metadata(&*path).is_ok_and(|it| id(&it) == open.id);
            if !open.as_ref().is_some_and(is_it) {
                let opened = Open::at(path)?;
                let unread = || io::Error::other("nobody reads from the pipe that it is");
                *open = Some(opened.ok_or_else(unread)?);
            }
        }
        Ok(())
    }

    /// Writes as much as can be without waiting for long; how many bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Stdout => write_ready(io::stdout().as_fd(), bytes),
            Out::File { open: Some(open), .. } if open.is_pipe => {
                write_ready(open.file.as_fd(), bytes)
            }
            Out::File { open: Some(open), .. } => open.file.write(bytes),
            Out::File { open: None, .. } => Ok(0),
        }
    }
}

impl Open {
    /// `None` if it is a pipe that nobody reads from.
    #[track_caller]
    fn at(path: &Path) -> io::Result<Option<Open>> {
        if let Ok(found) = fs::metadata(path) {
            takes_lines(&found)?;
        }
        // A pipe without a reader is an error (ENXIO), and nothing to wait for.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(nonblocking)
            .open(path);
        let file = match file {
            Err(error) if is_unread(&error, path) => return Ok(None),
            opened => opened?,
        };
        let found = file.metadata()?;
        takes_lines(&found)?;
        let promise = Obligation::Perpetual("the access log");
        let account = Ledger::current().open_at(
            std::panic::Location::caller(),
            Kind::FILE,
            promise,
            current_task(),
        );
        account.set_fd(file.as_raw_fd());
        account.label(&path.to_string_lossy());
        let open = Open { id: id(&found), is_pipe: !found.is_file(), file, _account: account };
        Ok(Some(open))
    }
}

/// Whether that is why it could not be opened: it is a pipe, and nobody reads from it.
fn is_unread(error: &io::Error, path: &Path) -> bool {
    let is_nobody = error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
    is_nobody && fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Whether lines can be written to what it is.
fn takes_lines(found: &fs::Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_dir() || kind.is_block_device() || kind.is_socket() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file to write lines to"));
    }
    Ok(())
}

fn may_be_written(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) => {
            takes_lines(&found)?;
            may(path, Access::WRITE_OK)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => may_be_made(path),
        Err(error) => Err(error),
    }
}

/// As many links as the kernel follows (`path_resolution(7)`).
const LINKS_MAX: u32 = 40;

/// What is not there is made, and that to which a link leads where that is.
fn may_be_made(path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(ErrorKind::IsADirectory.into());
        }
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let Ok(leads_to) = fs::read_link(&path) else {
            return may(folder, Access::WRITE_OK | Access::EXEC_OK);
        };
        path = folder.join(leads_to);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "more than 40 links lead to it"))
}

/// As whom the process is, and not as who has started it.
fn may(path: &Path, access: Access) -> io::Result<()> {
    Ok(rustix::fs::accessat(rustix::fs::CWD, path, access, AtFlags::EACCESS)?)
}

fn id(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Writes while there is room, in pieces that are written whole or not at all.
fn write_ready(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    for piece in bytes.chunks(PIPE_PIECE) {
        let mut asked = [PollFd::new(&to, PollFlags::OUT)];
        let wrote = match poll(&mut asked, Some(&PIPE_WAIT)) {
            Ok(0) => break,
            Ok(_) => rustix::io::write(to, piece),
            Err(error) => Err(error),
        };
        match wrote {
            Ok(count) => written += count,
            Err(error) if written == 0 => return Err(error.into()),
            Err(_) => break, // what is written is not written again; the next time says why
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut out = Out::open(&AccessLogTarget::File(path.clone())).unwrap();
        out.write(b"a\n").unwrap();
        out.refresh().unwrap();
        out.write(b"b\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        out.write(b"c\n").unwrap();
        out.refresh().unwrap();
        out.write(b"d\n").unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap(), "a\nb\nc\n");
        assert_eq!(fs::read_to_string(path).unwrap(), "d\n");
    }

    #[test]
    fn nobody_waits_for_the_reader_of_a_pipe() {
        let (_read, write) = io::pipe().unwrap();
        let much = vec![b'x'; 1 << 20];
        let written = write_ready(write.as_fd(), &much).unwrap();
        assert!((PIPE_PIECE..much.len()).contains(&written), "{written}");
        assert_eq!(write_ready(write.as_fd(), &much).unwrap(), 0);
    }

    /// As it goes on without one that has gone.
    #[test]
    fn a_pipe_may_be_without_a_reader_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        let to = AccessLogTarget::File(path.clone());
        Out::check(&to).unwrap();
        let mut out = Out::open(&to).unwrap();
        let error = out.refresh().unwrap_err();
        assert!(error.to_string().contains("nobody reads"), "{error}");
        assert_eq!(out.write(b"a\n").unwrap(), 0, "it is kept");
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path);
        out.refresh().unwrap();
        assert_eq!(out.write(b"a\n").unwrap(), 2);
        assert_eq!(rustix::io::read(reader.unwrap(), &mut [0; 8]).unwrap(), 2);
    }

    #[test]
    fn a_folder_or_a_socket_is_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [folder.path(), &socket] {
            let to = AccessLogTarget::File(path.to_owned());
            for error in [Out::open(&to).unwrap_err(), Out::check(&to).unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains("no file to write lines to; name another"), "{error}");
            }
        }
    }
}
