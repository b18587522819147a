//! Bytes that go from one connection to another within the kernel.
//!
//! `splice(2)` moves what a socket has received into a pipe, and from there into another socket, by
//! handing pages on: they are not copied, and no memory of the process holds them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    panic::Location,
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use staunch_ledger::{Account, Kind, Ledger, Obligation};
use staunch_scope::current_task;

/// A pipe between two connections, for what is long: it costs two descriptors, and making it as much
/// as copying some 32 KiB.
///
/// [Fill](crate::Connection::poll_fill_pipe) it when it is empty, and
/// [empty](crate::Connection::poll_empty_pipe) it until it is. What is in it is memory of the kernel's, and lost when it is dropped.
///
/// Where a connection is over TLS there is nothing to be moved: its bytes must be read.
#[derive(Debug)]
pub struct Pipe {
    reads: OwnedFd,
    writes: OwnedFd,
    length: usize,
    _accounts: [Account; 2],
}

/// What a pipe holds. A smaller one costs more system calls than it saves copying.
const ROOM: usize = 256 << 10;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Pipe {
    /// An empty one.
    ///
    /// # Errors
    /// When there are no more file descriptors, or the user has too many pages in pipes already
    /// (`pipe-user-pages-soft`, pipe(7)).
    #[track_caller]
    pub fn new() -> io::Result<Pipe> {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&writes, ROOM)?;
        let (born_at, ends) = (Location::caller(), Obligation::EndsWithParent);
        let accounts = [&reads, &writes].map(|end| {
            let account = Ledger::current().open_at(born_at, Kind::BUFFER, ends, current_task());
            account.set_fd(end.as_raw_fd());
            account.label("pipe");
            account
        });
        Ok(Pipe { reads, writes, length: 0, _accounts: accounts })
    }

    /// Bytes that are in it.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What is in it, for whoever cannot have it moved.
    ///
    /// # Errors
    /// Those of `read(2)`, none of which a pipe has.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match rustix::io::read(&self.reads, room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        self.length = 0;
        Ok(bytes)
    }

    /// Takes what `from` has; it must be empty, since one that is full could not be told from a socket
    /// that has nothing.
    pub(crate) fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let count = splice(from, None, &self.writes, None, most.min(ROOM), FLAGS)?;
        self.length += count;
        Ok(count)
    }

    /// Gives `to` what it takes.
    pub(crate) fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = splice(&self.reads, None, to, None, self.length, FLAGS)?;
        self.length -= count;
        Ok(count)
    }
}
