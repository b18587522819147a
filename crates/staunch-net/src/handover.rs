//! Listening sockets that go from a process to its successor.
//!
//! It is the sockets themselves that are handed over, not their addresses: whoever has connected
//! and is not accepted yet waits at the socket, and one that is closed takes them with it. That
//! holds for each socket of a listener that has several.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::SockRef;
use staunch_ledger::Account;

use crate::endpoint::Endpoint;

/// A listening socket, kept so that it can be handed over. As long as it is there, the kernel goes
/// on completing connections, even when its listener has ended: drop it before that, or hand it
/// over.
#[derive(Debug)]
pub struct SharedSocket {
    fd: OwnedFd,
    _account: Account,
    /// The file of a Unix socket stays.
    file: Option<KeptFile>,
}

/// Whether the file of a Unix socket stays when its listener has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptFile(Arc<AtomicBool>);

impl KeptFile {
    pub(crate) fn is_kept(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn keep(&self, is_kept: bool) {
        self.0.store(is_kept, Ordering::Relaxed);
    }
}

impl SharedSocket {
    pub(crate) fn new(fd: OwnedFd, account: Account, file: Option<KeptFile>) -> SharedSocket {
        SharedSocket { fd, _account: account, file }
    }

    /// Somebody else has it from now on: the file of a Unix socket is theirs to remove.
    pub fn is_handed_over(&self) {
        if let Some(file) = &self.file {
            file.keep(true);
        }
    }
}

impl AsFd for SharedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What was handed over is no socket that listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The kernel does not say what it is.
    #[error("what was handed over cannot be used: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("what was handed over is no socket that listens, of TCP, UDP or Unix: {0}")]
    Other(String),
}

/// Listening sockets that a predecessor has handed over, to be taken by those who listen there.
///
/// The files of Unix sockets are the predecessor's until [`are_ours`](Self::are_ours): if this
/// process ends before, that one goes on to be reached by them.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    sockets: Vec<Inherited>,
    files: Vec<KeptFile>,
}

#[derive(Debug)]
struct Inherited {
    at: At,
    fd: OwnedFd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Stream(Endpoint),
    Datagram(SocketAddr),
}

impl InheritedSockets {
    /// Adds one.
    ///
    /// # Errors
    /// When it is no socket that listens.
    pub fn add(&mut self, fd: OwnedFd) -> Result<(), InheritError> {
        let at = place(fd.as_fd())?;
        self.sockets.push(Inherited { at, fd });
        Ok(())
    }

    /// How many nobody has taken.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether all have been taken.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// This process has taken over, so that it removes the files of the Unix sockets that it has
    /// taken. Those that nobody has taken are closed.
    pub fn are_ours(self) {
        self.files.iter().for_each(|file| file.keep(false));
    }

    /// Removes the files of Unix sockets that nobody has taken: a predecessor that has handed over all leaves
    /// them behind, and nobody is reached by them.
    pub fn remove_untaken_files(&self) {
        for inherited in &self.sockets {
            if let At::Stream(Endpoint::Unix(path)) = &inherited.at
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::debug!(%error, path = %path.display(), "the file of a socket stays");
            }
        }
    }

    /// The file of a Unix socket that was taken.
    pub(crate) fn file(&mut self) -> KeptFile {
        let file = KeptFile::default();
        file.keep(true);
        self.files.push(file.clone());
        file
    }

    /// All that listen at `endpoint` for connections.
    pub(crate) fn take_streams(&mut self, endpoint: &Endpoint) -> Vec<OwnedFd> {
        self.take(&At::Stream(endpoint.clone()))
    }

    /// The one that receives datagrams at `address`.
    pub(crate) fn take_datagram(&mut self, address: SocketAddr) -> Option<OwnedFd> {
        self.take(&At::Datagram(address)).pop()
    }

    fn take(&mut self, at: &At) -> Vec<OwnedFd> {
        let taken = self.sockets.extract_if(.., |inherited| inherited.at == *at);
        taken.map(|inherited| inherited.fd).collect()
    }
}

/// Where a socket listens.
fn place(fd: BorrowedFd<'_>) -> Result<At, InheritError> {
    let other = |what: &str| InheritError::Other(what.to_owned());
    let kind = sockopt::socket_type(fd).map_err(io::Error::from)?;
    let socket = SockRef::from(&fd);
    let at = socket.local_addr()?;
    if kind == SocketType::DGRAM {
        let address = at.as_socket().ok_or_else(|| other("a Unix socket for datagrams"))?;
        return Ok(At::Datagram(address));
    }
    if kind != SocketType::STREAM || !sockopt::socket_acceptconn(fd).map_err(io::Error::from)? {
        return Err(other("a socket that is connected, or of another kind"));
    }
    if sockopt::socket_domain(fd).map_err(io::Error::from)? == AddressFamily::UNIX {
        let path = at.as_pathname().ok_or_else(|| other("a Unix socket without a file"))?;
        return Ok(At::Stream(Endpoint::Unix(path.to_owned())));
    }
    let address = at.as_socket().ok_or_else(|| other("a socket of another family"))?;
    Ok(At::Stream(Endpoint::Tcp(address)))
}
