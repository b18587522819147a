//! A reader that ends after so many bytes.

use std::{
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Reads at most `bytes` bytes from `reader`; then it ends, as Go's `io.LimitReader` does.
/// Unlike there, [`Limited::limit_reached`] tells afterwards which of the two ended it.
///
/// To have all of a message or an error, use [`read_to_end`](crate::read_to_end).
///
/// # Examples
/// ```
/// use tokio::io::AsyncReadExt;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut limited = staunch_net::limit(&b"a long story"[..], 6);
/// let mut text = String::new();
/// limited.read_to_string(&mut text).await?;
/// assert_eq!(text, "a long");
/// assert!(limited.limit_reached());
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub fn limit<R>(reader: R, bytes: u64) -> Limited<R> {
    Limited { reader, left: bytes }
}

/// A reader with a limit, made by [`limit`].
#[derive(Debug)]
pub struct Limited<R> {
    reader: R,
    left: u64,
}

impl<R> Limited<R> {
    /// Whether so many bytes were read. It then reads no more, whether or not the reader has
    /// any.
    pub fn limit_reached(&self) -> bool {
        self.left == 0
    }

    /// Bytes it may still read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The reader, with what is left in it.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Limited<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if most == buffer.remaining() {
            ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.reader).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            buffer.advance(count);
        }
        self.left -= (buffer.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}
