//! Sockets that listen: made, inherited, shared, and removed.

use std::{
    io,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, Type};
use staunch_ledger::{Kind, Ledger, Obligation};

use super::unattached::UnattachedSocket;
use crate::{
    endpoint::Endpoint,
    handover::{KeptFile, SharedSocket},
    options::SocketOptions,
};

pub(super) fn bind_tcp(
    address: SocketAddr,
    options: &SocketOptions,
) -> io::Result<UnattachedSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // connections in TIME_WAIT do not block a restart
    socket.set_reuse_port(options.reuse_port)?;
    options.apply(&socket)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(options.backlog.cast_signed())?;
    socket.set_nonblocking(true)?;
    Ok(UnattachedSocket::Tcp(socket.into()))
}

pub(super) fn bind_unix(path: &Path, options: &SocketOptions) -> io::Result<UnattachedSocket> {
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let unlink = UnlinkOnDrop::new(path, KeptFile::default());
    socket.listen(options.backlog.cast_signed())?;
    socket.set_nonblocking(true)?;
    Ok(UnattachedSocket::Unix(socket.into(), unlink))
}

/// Removes the file of a Unix socket that nobody listens on any more. `connect(2)` refuses an
/// ordinary file as it refuses a dead socket, so the file is looked at first.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return Ok(()); // nothing there, or none of ours: `bind` will tell
    }
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?; // a full backlog must not hold us up
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()), // alive: `bind` will tell
    }
}

/// A socket of a predecessor.
pub(super) fn inherit(
    fd: OwnedFd,
    unlink: Option<Arc<UnlinkOnDrop>>,
) -> io::Result<UnattachedSocket> {
    let socket = RawSocket::from(fd);
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(match unlink {
        None => UnattachedSocket::Tcp(socket.into()),
        Some(unlink) => UnattachedSocket::Unix(socket.into(), unlink),
    })
}

/// Gives a socket of a predecessor, which may still accept from it, options of our own.
pub(super) fn set_options(socket: &UnattachedSocket, options: &SocketOptions) -> io::Result<()> {
    let socket = match socket {
        UnattachedSocket::Tcp(listener) => {
            options.apply_instead(listener)?;
            SockRef::from(listener)
        }
        UnattachedSocket::Unix(listener, _) => SockRef::from(listener),
    };
    socket.listen(options.backlog.cast_signed())
}

/// A socket once more; `unlink` removes its file.
#[track_caller]
pub(super) fn shared(
    socket: BorrowedFd<'_>,
    endpoint: &Endpoint,
    unlink: Option<&Arc<UnlinkOnDrop>>,
) -> io::Result<SharedSocket> {
    let account = Ledger::current()
        .open(Kind::LISTENER, Obligation::Perpetual("kept to be handed to a successor"));
    let fd = socket.try_clone_to_owned()?;
    account.set_fd(fd.as_raw_fd());
    account.label(&endpoint.to_string());
    Ok(SharedSocket::new(fd, account, unlink.map(|unlink| unlink.kept.clone())))
}

/// Removes the socket's file with its listener.
#[derive(Debug)]
pub(super) struct UnlinkOnDrop {
    path: PathBuf,
    kept: KeptFile,
}

impl UnlinkOnDrop {
    pub(super) fn new(path: &Path, kept: KeptFile) -> Arc<UnlinkOnDrop> {
        Arc::new(UnlinkOnDrop { path: path.to_owned(), kept })
    }
}

impl Drop for UnlinkOnDrop {
    fn drop(&mut self) {
        if !self.kept.is_kept() {
            let _ = std::fs::remove_file(&self.path); // somebody may have been quicker
        }
    }
}
