//! The process before this one, if it is a successor.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::net::sockopt::{self, Timeout};
use staunch_net::InheritedSockets;

use super::{
    channel::{Packet, VARIABLE, receive, send},
    notify::notify,
};

/// A process that hands over what it serves; or nobody, for most.
#[derive(Debug)]
pub(crate) struct Predecessor {
    is_there: bool,
}

/// What it may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(10);

impl Predecessor {
    /// Greets the predecessor, if there is one, and takes its sockets.
    pub(crate) fn greet() -> anyhow::Result<(Predecessor, InheritedSockets)> {
        let mut sockets = InheritedSockets::default();
        if std::env::var_os(VARIABLE).is_none() {
            return Ok((Predecessor { is_there: false }, sockets));
        }
        let stdin = io::stdin();
        take(stdin.as_fd(), &mut sockets).with_context(|| {
            format!("{VARIABLE} is set, but standard input leads to no predecessor; unset it")
        })?;
        tracing::info!(sockets = sockets.len(), "took the sockets of a predecessor");
        Ok((Predecessor { is_there: true }, sockets))
    }

    /// All that is to be served is served: tells the predecessor, which then drains, and the
    /// service manager. Sockets that nobody has taken are closed.
    pub(crate) fn is_ready(&self, left: InheritedSockets) {
        if !left.is_empty() {
            tracing::info!(sockets = left.len(), "no listener has these of the predecessor");
        }
        if self.is_there {
            match send(io::stdin().as_fd(), &Packet::Ready) {
                Ok(()) => left.remove_untaken_files(),
                Err(error) => {
                    tracing::warn!(%error, "cannot tell the predecessor that its time is over");
                }
            }
        }
        left.are_ours();
        notify(&format!("READY=1\nMAINPID={}", std::process::id()));
    }
}

fn take(channel: BorrowedFd<'_>, into: &mut InheritedSockets) -> anyhow::Result<()> {
    sockopt::set_socket_timeout(channel, Timeout::Recv, Some(PATIENCE))?;
    loop {
        match receive(channel)? {
            Packet::Sockets(fds) => {
                for fd in fds {
                    into.add(fd)?;
                }
            }
            Packet::End => return Ok(()),
            Packet::Ready | Packet::Closed => bail!("it did not say what it serves"),
        }
    }
}
