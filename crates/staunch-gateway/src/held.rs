//! What was read and the other side has not taken.
//!
//! A connection holds one piece at most. The more the connections of a thread hold all together, the
//! smaller are the pieces that any of them reads ([`Held::most`]): many clients that stop at once hold small
//! ones. Everybody seems to keep up until the kernel's buffers are full, so that alone earns no large ones.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use tokio::io::AsyncWrite;

use crate::scratch::LENGTH;

/// From so many bytes on, of all connections of a thread, pieces are small.
const MUCH: usize = 1 << 20;

/// A piece is such a part of what may still be held, at most.
const PART: usize = 4;

/// As small as pieces become.
const LEAST: usize = 4 << 10;

/// As small as they become once the other side has shown that it keeps up: a part of what it took since
/// it last fell behind, which is more than a socket has room for.
const LEAST_PROVEN: usize = 16 << 10;
const PROVEN_PART: u64 = 32;

thread_local! {
    /// Tasks of the gateway stay on their thread, and what they hold with them.
    static ALL: Cell<usize> = const { Cell::new(0) };
}

/// Bytes on their way. Without any it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes that the other side has taken since it last fell behind.
    taken: u64,
}

impl Held {
    /// The most that may be read next.
    pub(crate) fn most(&self) -> usize {
        let proven = usize::try_from(self.taken / PROVEN_PART).unwrap_or(LEAST_PROVEN);
        let least = proven.clamp(LEAST, LEAST_PROVEN);
        (MUCH.saturating_sub(ALL.get()) / PART).clamp(least, LENGTH)
    }

    /// Keeps what the other side did not take of a piece, of which it has the first `taken` bytes.
    pub(crate) fn keep(&mut self, piece: &[u8], taken: usize) {
        let left = piece.get(taken..).unwrap_or_default();
        self.taken = if left.is_empty() { self.taken + taken as u64 } else { 0 };
        self.bytes.extend_from_slice(left);
        ALL.set(ALL.get() + left.len());
    }

    /// Bytes that it has memory for; none, if the other side has all.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes all of it, and gives its memory back.
    pub(crate) fn poll_write<W>(&mut self, cx: &mut Poller<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while let Some(left) = self.bytes.get(self.written..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if self.written > 0 {
            *self = Held { bytes: Vec::new(), written: 0, taken: self.taken };
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ALL.set(ALL.get().saturating_sub(self.bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_all_hold_the_less_is_read() {
        let unproven = Held::default();
        assert_eq!(unproven.most(), LENGTH);
        let mut proven = Held::default();
        proven.keep(&vec![0; LENGTH], LENGTH);
        let (mut many, mut before) = (Vec::new(), LENGTH + 1);
        while before > LEAST {
            let mut held = Held::default();
            held.keep(&vec![0; held.most()], 0);
            assert!(held.most() < before);
            before = held.most();
            many.push(held);
        }
        assert!(ALL.get() <= MUCH + LEAST);
        assert_eq!(unproven.most(), LEAST);
        assert_eq!(
            proven.most(),
            LENGTH / PROVEN_PART as usize,
            "the more it took the more it gets"
        );
        proven.keep(&vec![0; LENGTH], LENGTH);
        assert_eq!(proven.most(), LEAST_PROVEN, "it is not slowed down by those who do not");
        proven.keep(&[0; 2], 1);
        assert_eq!(proven.most(), LEAST, "it fell behind");
        let mut cx = Poller::from_waker(std::task::Waker::noop());
        assert!(proven.poll_write(&mut cx, &mut tokio::io::sink()).is_ready());
        assert_eq!((proven.len(), proven.most()), (0, LEAST));
        proven.keep(&vec![0; LENGTH], LENGTH);
        assert!(proven.most() > LEAST, "it keeps up again");
        drop((many, proven));
        assert_eq!(ALL.get(), 0);
    }
}
