//! What was read and the other side has not taken.
//!
//! A connection holds one piece at most. The more the connections of a thread hold all together, the
//! smaller are the pieces that any of them reads ([`Held::most`]): many clients that stop at once hold small
//! ones.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use tokio::io::AsyncWrite;

use crate::scratch::LENGTH;

/// From so many bytes on, of all connections of a thread, pieces are small.
const MUCH: usize = 2 << 20;

/// A piece is such a part of what may still be held, at most.
const PART: usize = 8;

/// As small as pieces become: of those whose other side keeps up, and of those that fall behind.
const LEAST: usize = 16 << 10;
const LEAST_BEHIND: usize = 4 << 10;

thread_local! {
    /// Tasks of the gateway stay on their thread, and what they hold with them.
    static ALL: Cell<usize> = const { Cell::new(0) };
}

/// Bytes on their way. Without any it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    written: usize,
    /// The other side did not take all of the last piece.
    is_behind: bool,
}

impl Held {
    /// The most that may be read next.
    pub(crate) fn most(&self) -> usize {
        let least = if self.is_behind { LEAST_BEHIND } else { LEAST };
        (MUCH.saturating_sub(ALL.get()) / PART).clamp(least, LENGTH)
    }

    /// Keeps what is left of a piece.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.is_behind = !bytes.is_empty();
        self.bytes.extend_from_slice(bytes);
        ALL.set(ALL.get() + bytes.len());
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
            *self = Held { bytes: Vec::new(), written: 0, is_behind: self.is_behind };
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
        let keeps_up = Held::default();
        assert_eq!(keeps_up.most(), LENGTH);
        let (mut many, mut before) = (Vec::new(), LENGTH + 1);
        while before > LEAST_BEHIND {
            let mut held = Held::default();
            held.keep(&vec![0; held.most()]);
            assert!(held.most() < before);
            before = held.most();
            many.push(held);
        }
        assert!(ALL.get() <= MUCH + LEAST);
        assert_eq!(keeps_up.most(), LEAST, "it is not slowed down by those who do not");
        let mut last = many.pop().unwrap();
        let mut cx = Poller::from_waker(std::task::Waker::noop());
        for _ in 0..2 {
            assert!(last.poll_write(&mut cx, &mut tokio::io::sink()).is_ready());
            assert!(last.len() == 0 && last.most() < LEAST, "it was behind until now");
        }
        last.keep(&[]);
        assert_eq!(last.most(), LEAST);
        drop((many, last));
        assert_eq!(ALL.get(), 0);
    }
}
