//! A reader in pieces of one size, in the memory of one piece.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_ledger::{Account, Kind, Ledger, Obligation, State};
use staunch_scope::Wait;
use tokio::io::{AsyncRead, ReadBuf};

use crate::window::Window;

/// Reads `reader` in chunks of `size` bytes (at least 1), each in the place of the one before:
/// a file of any size in the memory of one chunk. The last chunk may be shorter.
///
/// Those `size` bytes are on the ledger, born on the caller's line.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut chunks = staunch_net::chunks(&b"abcde"[..], 2);
/// while let Some(chunk) = chunks.next().await? {
///     println!("{} bytes", chunk.len()); // 2, 2, 1
/// }
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[track_caller]
pub fn chunks<R>(reader: R, size: usize) -> Chunks<R> {
    let size = size.max(1);
    let account = Ledger::current().open(Kind::BUFFER, Obligation::EndsWithParent);
    account.add_bytes(size as u64);
    let window = Window::new(vec![0; size].into_boxed_slice());
    Chunks { reader, window, wait: Wait::new(), ended: false, _account: account }
}

/// The chunks of a reader, made by [`chunks`].
#[derive(Debug)]
pub struct Chunks<R> {
    reader: R,
    window: Window,
    wait: Wait,
    ended: bool,
    _account: Account,
}

impl<R: AsyncRead + Unpin> Chunks<R> {
    /// The next chunk; `None` at the end of the reader.
    ///
    /// # Errors
    /// Those of the reader; [`Cancelled`](staunch_scope::Cancelled) inside `Other` as soon as
    /// the task is asked to stop (to finish all the same, see [`staunch_scope::shield`]).
    ///
    /// # Cancel safety
    /// Cancel safe: bytes that were read stay here.
    pub async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        while !self.window.is_full() && !self.ended {
            self.ended = poll_fn(|cx| self.poll_fill(cx)).await? == 0;
        }
        let length = self.window.filled().len();
        Ok((length > 0).then(|| self.window.take(length)))
    }

    fn poll_fill(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        let Chunks { reader, window, wait, .. } = self;
        let state = if window.is_empty() { State::Read } else { State::ReadRest };
        let mut spare = ReadBuf::new(window.spare());
        let read = wait.poll(cx, state, |cx| Pin::new(reader).poll_read(cx, &mut spare));
        ready!(read).map_err(io::Error::other)??;
        let count = spare.filled().len();
        window.fill(count);
        Poll::Ready(Ok(count))
    }
}
