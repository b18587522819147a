//! What a connection, its task and the watchdog share.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    sync::{Arc, atomic::Ordering},
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use staunch_ledger::{Account, State};
use tokio::io::ReadBuf;

use crate::{
    activity::{Activity, Reading},
    admission::Source,
    listening::Listening,
    socket::Socket,
    watchdog::CutReason,
};

/// Dropped from top to bottom: the entry closes after its socket.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) socket: Socket,
    pub(super) account: Account,
    pub(super) listening: Arc<Listening>,
    /// Whom the listener's limits count it for.
    pub(super) source: Option<Source>,
    pub(super) key: u32,
    pub(super) activity: Activity,
}

impl Core {
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// How long nothing has moved.
    pub(crate) fn still(&self) -> Duration {
        self.account.ledger().now().since(self.account.progress())
    }

    /// Ends the connection, once; the task that waits on it is woken by the kernel.
    ///
    /// A peer between messages sees an orderly end. One in the middle of something sees a
    /// reset, so that it cannot take half an answer for a whole one.
    pub(crate) fn cut(&self, reason: CutReason) -> bool {
        if self
            .activity
            .cut
            .compare_exchange(0, reason.number(), Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        // Neither can fail in a way that matters: the peer may have gone meanwhile.
        let _ = if reason.is_orderly() {
            self.socket.shutdown(Shutdown::Both)
        } else {
            self.socket.abort()
        };
        true
    }

    /// The error of a cut connection.
    fn check_cut(&self) -> io::Result<()> {
        match CutReason::from_number(self.activity.cut.load(Ordering::Acquire)) {
            None => Ok(()),
            Some(reason) => {
                let cut = reason.cut(self.listening.limits());
                Err(io::Error::new(io::ErrorKind::TimedOut, cut))
            }
        }
    }

    /// Reads into what is unfilled of `buffer` when the kernel has bytes; 0 is the end.
    pub(super) fn poll_read(
        &self,
        buffer: &mut ReadBuf<'_>,
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_reading(buffer.remaining() > 0, cx, |socket| socket.try_read(buffer))
    }

    /// Reads by `read` when the kernel has bytes; 0 is the end, if there is room for any.
    pub(super) fn poll_reading(
        &self,
        has_room: bool,
        cx: &mut Poller<'_>,
        mut read: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match read(&self.socket) {
                Err(error) if is_in_vain(&error) => {}
                Err(error) => return Poll::Ready(self.check_cut().and(Err(error))),
                Ok(0) if !has_room => return Poll::Ready(Ok(0)),
                Ok(0) => {
                    self.ended();
                    return Poll::Ready(self.check_cut().map(|()| 0));
                }
                Ok(count) => {
                    self.activity.set_reading(Reading::Working);
                    self.moved();
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    pub(super) fn poll_write(
        &self,
        parts: &[IoSlice<'_>],
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |socket| socket.try_write(parts))
    }

    /// Writes by `write` when the kernel takes bytes.
    pub(super) fn poll_writing(
        &self,
        cx: &mut Poller<'_>,
        mut write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = self.socket.poll_write_ready(cx);
            if ready.is_pending() {
                self.activity.waits_to_write(self.account.ledger().now());
                self.account.set_state(State::Write);
            }
            ready!(ready)?;
            match write(&self.socket) {
                Err(error) if is_in_vain(&error) => {}
                Err(error) => return Poll::Ready(self.check_cut().and(Err(error))),
                Ok(count) => {
                    self.activity.wrote(count);
                    self.moved();
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    /// The peer has said its last: from now on the connection is half closed.
    pub(super) fn ended(&self) {
        if self.activity.reading() != Reading::Ended {
            self.activity.set_reading(Reading::Ended);
            self.account.touch();
        }
    }

    /// Bytes moved.
    fn moved(&self) {
        self.account.touch();
        self.account.set_state(self.activity.state());
    }

    /// Reading waits.
    pub(super) fn waits_to_read(&self, what: Reading) {
        self.activity.waits_to_read(what);
        self.account.set_state(self.activity.state());
    }
}

/// Nothing was done, and it can be tried again: when the socket is ready, or at once. A `splice` sees a
/// signal even if it does not wait.
fn is_in_vain(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Drop for Core {
    fn drop(&mut self) {
        let told = self.listening.proxies().and_then(|proxies| proxies.forget(self.key));
        self.listening.watchdog().release(self.key);
        self.listening.admission().leave(self.source.or(told));
        if self.activity.is_unsent() || std::thread::panicking() {
            let _ = self.socket.reset_on_close(); // half an answer must not look like a whole one
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counts of its `Arc` it just fits a size of the allocator; every idle connection
    /// has one.
    #[test]
    fn a_core_is_small() {
        assert!(size_of::<Core>() <= 96, "{} bytes", size_of::<Core>());
    }
}
