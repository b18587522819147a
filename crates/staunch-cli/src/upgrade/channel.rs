//! What a process and its successor say to each other: bytes, some with sockets.
//!
//! The kernel hands sockets over together with the byte that they were sent with.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Tells a process that it is a successor, whose standard input is the channel.
pub(super) const VARIABLE: &str = "STAUNCH_SUCCESSOR";

/// A packet.
#[derive(Debug)]
pub(super) enum Packet {
    /// These are yours, too.
    Sockets(Vec<OwnedFd>),
    /// That was all of them.
    End,
    /// I accept what comes.
    Ready,
    /// Nobody is there any more.
    Closed,
}

const SOCKETS: u8 = b's';
const END: u8 = b'e';
const READY: u8 = b'r';

/// Sockets of one packet; the kernel takes 253.
pub(super) const SOCKETS_MAX: usize = 64;

/// Sends a packet without sockets.
pub(super) fn send(channel: BorrowedFd<'_>, packet: &Packet) -> io::Result<()> {
    let byte = match packet {
        Packet::End => END,
        Packet::Ready => READY,
        Packet::Sockets(_) | Packet::Closed => return Err(io::ErrorKind::InvalidInput.into()),
    };
    send_with(channel, byte, &[])
}

/// Sends sockets, at most [`SOCKETS_MAX`].
pub(super) fn send_sockets(channel: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(channel, SOCKETS, fds)
}

fn send_with(channel: BorrowedFd<'_>, byte: u8, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets at a time"));
    }
    // Not a signal, if nobody is there.
    sendmsg(channel, &[IoSlice::new(&[byte])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next packet.
pub(super) fn receive(channel: BorrowedFd<'_>) -> io::Result<Packet> {
    let mut byte = [0];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let into = &mut [IoSliceMut::new(&mut byte)];
    let received = recvmsg(channel, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    match (received.bytes, byte[0]) {
        (0, _) => Ok(Packet::Closed),
        (_, SOCKETS) => Ok(Packet::Sockets(fds)),
        (_, END) => Ok(Packet::End),
        (_, READY) => Ok(Packet::Ready),
        (_, other) => {
            let what = format!("a packet that begins with {other:#04x}, which none does");
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn sockets_come_through() {
        let (one, other) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send_sockets(one.as_fd(), &[listener.as_fd(), listener.as_fd()]).unwrap();
        send(one.as_fd(), &Packet::End).unwrap();
        rustix::io::write(&one, b"?").unwrap();
        drop(one);
        let Packet::Sockets(fds) = receive(other.as_fd()).unwrap() else { panic!() };
        for fd in fds {
            let address = TcpListener::from(fd).local_addr().unwrap();
            assert_eq!(address, listener.local_addr().unwrap());
        }
        assert!(matches!(receive(other.as_fd()), Ok(Packet::End)));
        assert!(receive(other.as_fd()).unwrap_err().to_string().contains("0x3f"));
        assert!(matches!(receive(other.as_fd()), Ok(Packet::Closed)));
    }
}
