//! Several parts, written as one.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_ledger::State;
use staunch_scope::with_current_account;

use super::Connection;

/// Writes several parts as one; made by [`Connection::write_all`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct WriteAll<'a, const N: usize> {
    pub(super) connection: &'a Connection,
    pub(super) parts: [&'a [u8]; N],
    /// Bytes of the parts, taken together, that are written.
    pub(super) written: usize,
}

/// Parts that together are no longer than this are copied together: a `send` of one piece costs
/// the kernel less than a `writev` of several.
const COPIED: usize = 512;

impl<const N: usize> WriteAll<'_, N> {
    /// What is not written yet.
    fn left(&self) -> [&[u8]; N] {
        let mut skip = self.written;
        self.parts.map(|part| {
            let (_, left) = part.split_at(skip.min(part.len()));
            skip -= part.len() - left.len();
            left
        })
    }

    fn poll_write(&self, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        let core = &self.connection.core;
        let left = self.left();
        let length = left.iter().map(|part| part.len()).sum::<usize>();
        if N == 1 || length > COPIED {
            return core.poll_write(&left.map(IoSlice::new), cx);
        }
        let mut piece = [0; COPIED];
        let mut end = 0;
        for part in left {
            piece[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        core.poll_write(&[IoSlice::new(&piece[..end])], cx)
    }
}

impl<const N: usize> Future for WriteAll<'_, N> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let length = self.parts.iter().map(|part| part.len()).sum::<usize>();
        while self.written < length {
            let polled = self.poll_write(cx);
            if polled.is_pending() {
                with_current_account(|task| task.set_state(State::Write));
            }
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}
