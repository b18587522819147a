//! What was read and the other side has not taken.

use std::{
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use tokio::io::AsyncWrite;

/// Bytes on their way. Without any it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    written: usize,
}

impl Held {
    /// Keeps what is left.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
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
