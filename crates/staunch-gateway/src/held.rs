//! What was read and the other side has not taken.
//!
//! A connection holds one piece at most. Pieces are large only as long as the connections of a thread hold
//! little all together ([`is_much_held`]): many clients that stop at once hold small ones.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use tokio::io::AsyncWrite;

/// From so many bytes on, of all connections of a thread, nobody reads large pieces. 32 fast clients of
/// large bodies have some 100 KiB each on their way.
const MUCH: usize = 8 << 20;

thread_local! {
    /// Tasks of the gateway stay on their thread, and what they hold with them.
    static ALL: Cell<usize> = const { Cell::new(0) };
}

/// Bytes on their way. Without any it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    written: usize,
}

/// Whether the connections of this thread hold much.
pub(crate) fn is_much_held() -> bool {
    ALL.get() >= MUCH
}

impl Held {
    /// Keeps what is left.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
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
        *self = Held::default();
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
    fn what_all_hold_together_is_known() {
        let mut many: Vec<Held> = Vec::new();
        while !is_much_held() {
            let mut held = Held::default();
            held.keep(&[0; 16 << 10]);
            many.push(held);
        }
        assert_eq!(many.len(), MUCH / (16 << 10));
        let mut last = many.pop().unwrap();
        let mut cx = Poller::from_waker(std::task::Waker::noop());
        assert!(last.poll_write(&mut cx, &mut tokio::io::sink()).is_ready());
        assert_eq!(last.len(), 0);
        assert!(!is_much_held(), "it is with the other side");
        drop((many, last));
        assert_eq!(ALL.get(), 0);
    }
}
