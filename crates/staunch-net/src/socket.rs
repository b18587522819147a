//! A connected stream socket, TCP or Unix, used through `&self`.
//!
//! tokio's own `AsyncRead` wants `&mut`. Here the connection and the watchdog share the socket,
//! so reads and writes go through `try_io`. After a read that did not fill the buffer the
//! readiness is cleared, as tokio does itself: epoll is edge-triggered, the socket is empty, and
//! the next read would only return `EAGAIN`.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    task::{Context as Poller, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(crate) fn poll_read_ready(&self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write_ready(cx),
            Socket::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            Socket::Tcp(stream) => stream.try_io(interest, operation),
            Socket::Unix(stream) => stream.try_io(interest, operation),
        }
    }

    /// Reads what is there into what is unfilled of `buffer`, which need not be initialised: zeroing
    /// 8 KiB for an answer of 100 bytes costs more than to read them. `WouldBlock` when nothing is
    /// there.
    pub(crate) fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let room = buffer.remaining();
        let mut short = None;
        let read = self.try_io(Interest::READABLE, || {
            let count = match self {
                Socket::Tcp(stream) => stream.try_read_buf(buffer)?,
                Socket::Unix(stream) => stream.try_read_buf(buffer)?,
            };
            if 0 < count && count < room {
                short = Some(count);
                return Err(io::ErrorKind::WouldBlock.into()); // clears the readiness
            }
            Ok(count)
        });
        match short {
            Some(count) => Ok(count),
            None => read,
        }
    }

    /// Writes what the kernel takes; `WouldBlock` when it takes nothing. One part goes by
    /// `send`, several by `writev`.
    pub(crate) fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, parts) {
            (Socket::Tcp(stream), [part]) => stream.try_write(part),
            (Socket::Unix(stream), [part]) => stream.try_write(part),
            (Socket::Tcp(stream), parts) => stream.try_write_vectored(parts),
            (Socket::Unix(stream), parts) => stream.try_write_vectored(parts),
        }
    }

    /// Moves what is there elsewhere, by what `fill` does with the socket.
    pub(crate) fn try_fill(
        &self,
        fill: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.try_io(Interest::READABLE, || fill(self.as_fd()))
    }

    /// Takes what comes from elsewhere, by what `empty` does with the socket.
    pub(crate) fn try_empty(
        &self,
        empty: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, || empty(self.as_fd()))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&self.as_fd()).shutdown(how)
    }

    /// Ends the connection at once: the peer gets a reset, whoever waits on the socket is woken.
    ///
    /// `shutdown` would send what is buffered and an orderly end. `connect` to `AF_UNSPEC`
    /// dissolves a connection (connect(2)), which for TCP is an abort (RFC 9293, 3.10.5). A Unix
    /// socket knows no resets.
    pub(crate) fn abort(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => Ok(rustix::net::connect_unspec(stream)?),
            Socket::Unix(_) => self.shutdown(Shutdown::Both),
        }
    }

    /// Makes the coming close a reset: what is unsent is discarded at once.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(&self.as_fd()).set_linger(Some(std::time::Duration::ZERO))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
