//! Socket options, applied to listening and accepted sockets.

use std::{io, os::fd::AsFd, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Options of a TCP socket.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Connections the kernel completes before they are accepted. Default 1024; the kernel
    /// caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// Several listeners on one address, between which the kernel balances (`SO_REUSEPORT`).
    /// Default off.
    pub reuse_port: bool,
    /// Small writes leave at once (`TCP_NODELAY`). Default on: delays come from waiting for an
    /// acknowledgement, and services write whole messages.
    pub nodelay: bool,
    /// Probes after this long without traffic, so that a peer that vanished is found
    /// (`SO_KEEPALIVE`, `TCP_KEEPIDLE`). Default 60 s; `None` is off.
    pub keepalive: Option<Duration>,
    /// The longest that sent data may stay unacknowledged (`TCP_USER_TIMEOUT`, RFC 5482).
    /// Default `None`: the stall watchdog is stricter.
    pub user_timeout: Option<Duration>,
    /// `true`: closing discards what is unsent and resets (`SO_LINGER` of 0). Default off.
    pub linger_zero: bool,
    /// Bytes the kernel takes before it calls the socket writable again
    /// (`TCP_NOTSENT_LOWAT`), which bounds what it holds for a slow reader. Default 128 KiB;
    /// `None` leaves the system's (unlimited).
    pub notsent_lowat: Option<u32>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            backlog: 1024,
            reuse_port: false,
            nodelay: true,
            keepalive: Some(Duration::from_mins(1)),
            user_timeout: None,
            linger_zero: false,
            notsent_lowat: Some(128 << 10),
        }
    }
}

/// The system's, of `TCP_NOTSENT_LOWAT`.
const SYSTEM: u32 = 0;

impl SocketOptions {
    /// Applies to a listening socket what accepted sockets inherit from it (Linux hands down
    /// all of these), so that accepting costs no further system call.
    pub(crate) fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        let fd = socket.as_fd();
        let socket = SockRef::from(&fd);
        socket.set_tcp_nodelay(self.nodelay)?;
        socket.set_keepalive(self.keepalive.is_some())?;
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        if self.linger_zero {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        if let Some(bytes) = self.notsent_lowat {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        Ok(())
    }

    /// The same for a socket that may have others.
    pub(crate) fn apply_instead(&self, socket: &impl AsFd) -> io::Result<()> {
        let fd = socket.as_fd();
        let known = SockRef::from(&fd);
        known.set_tcp_user_timeout(None)?;
        known.set_linger(None)?;
        known.set_tcp_notsent_lowat(SYSTEM)?;
        self.apply(socket)
    }
}
