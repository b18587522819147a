//! The open file descriptors of a process, from `/proc/PID/fd` (`proc_pid_fd(5)`).
//!
//! Each entry of that directory is a symbolic link whose text tells the kind. Only the text is
//! read. The link is never followed: a `stat` through it could hang for ever on a file server
//! that is gone.
//!
//! Reading the directory needs an fd itself. In the calling process that fd is in the listing,
//! and is left out by its number.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use super::{Fd, FdKind, Process, ProcessError};

impl Process {
    /// Every open file descriptor, in the order of their numbers.
    ///
    /// The handle that the reading needs is not listed. An fd that is closed while the listing
    /// runs is left out. A zombie holds none. The listing takes one system call per fd and as
    /// much memory as their paths; the process's own limit of open files bounds both.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] also when the process ends half-way: part of a listing is never
    /// passed off as the whole. [`ProcessError::Denied`] for another user's process.
    pub fn fds(self) -> Result<Vec<Fd>, ProcessError> {
        let mut listing = Listing::open(self)?;
        let mut fds = Vec::new();
        while let Some(entry) = listing.next_entry()? {
            if let Some(kind) = listing.kind(&entry)? {
                fds.push(Fd { number: entry.number, kind });
            }
        }
        self.still_exists()?;
        Ok(fds)
    }

    /// How many file descriptors are open.
    ///
    /// From Linux 6.2 on this is one system call, takes no fd and needs no permission: the
    /// directory's size is the count. Before, the directory is listed (and its own handle not
    /// counted).
    ///
    /// # Errors
    ///
    /// As for [`Process::fds`].
    pub fn fd_count(self) -> Result<usize, ProcessError> {
        let path = self.path("fd");
        let size = path.metadata().map_err(|error| ProcessError::new(self, path, error))?.len();
        // Older kernels say 0; so does a newer one of a zombie, whose listing is then empty.
        if size > 0 {
            return Ok(size as usize);
        }
        let mut listing = Listing::open(self)?;
        let mut count = 0;
        while listing.next_entry()?.is_some() {
            count += 1;
        }
        self.still_exists()?;
        Ok(count)
    }

    /// The end of a listing and the end of its process look the same to `getdents(2)`; this
    /// tells them apart.
    fn still_exists(self) -> Result<(), ProcessError> {
        let path = self.path("stat");
        match path.symlink_metadata() {
            Ok(_) => Ok(()),
            Err(error) => Err(ProcessError::new(self, path, error)),
        }
    }
}

/// A walk through `/proc/PID/fd`.
struct Listing {
    process: Process,
    dir: Dir,
    /// The fd of `dir`, where it is one of the fds listed.
    own: Option<i32>,
}

/// One name in the directory.
struct Entry {
    number: i32,
    name: CString,
}

impl Listing {
    fn open(process: Process) -> Result<Listing, ProcessError> {
        let path = process.path("fd");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, &path, flags, Mode::empty()).and_then(|fd| {
            let number = fd.as_raw_fd();
            Ok((Dir::new(fd)?, number))
        });
        match opened {
            Ok((dir, number)) => {
                Ok(Listing { process, dir, own: process.is_current().then_some(number) })
            }
            Err(errno) => Err(ProcessError::new(process, path, errno.into())),
        }
    }

    /// The next fd that is not the walk's own.
    fn next_entry(&mut self) -> Result<Option<Entry>, ProcessError> {
        while let Some(entry) = self.dir.read() {
            let entry = entry.map_err(|errno| self.error(errno))?;
            match fd_number(entry.file_name()) {
                // "." and "..".
                None => {}
                number if number == self.own => {}
                Some(number) => {
                    return Ok(Some(Entry { number, name: entry.file_name().to_owned() }));
                }
            }
        }
        Ok(None)
    }

    /// What `entry` is open on; `None` if it has been closed since.
    fn kind(&self, entry: &Entry) -> Result<Option<FdKind>, ProcessError> {
        let link = self.dir.fd().and_then(|dir| readlinkat(dir, entry.name.as_c_str(), Vec::new()));
        match link {
            Ok(link) => Ok(Some(FdKind::parse(link.as_bytes()))),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NAMETOOLONG) => Ok(Some(FdKind::PathTooLong)),
            Err(errno) => Err(self.error(errno)),
        }
    }

    fn error(&self, errno: Errno) -> ProcessError {
        ProcessError::new(self.process, self.process.path("fd"), io::Error::from(errno))
    }
}

fn fd_number(name: &CStr) -> Option<i32> {
    name.to_str().ok()?.parse().ok()
}
