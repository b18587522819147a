//! Lines of bounded length from any reader.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_ledger::{Account, Kind, Ledger, Obligation, State};
use staunch_scope::Wait;
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    lines::ReadLineError,
    splitter::{FoundLine, LineSplitter},
    window::Window,
};

/// Reads any reader line by line, as [`LineSplitter`] finds them.
///
/// Between lines it holds 1 KiB, more only within a longer line; that is on the ledger, born on
/// the line that called [`LineReader::new`]. A plain connection's
/// [`lines`](crate::Connection::lines) hold nothing between lines.
///
/// # Examples
/// ```
/// use staunch_net::LineReader;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut lines = LineReader::new(&b"one\r\ntwo"[..], 1024);
/// assert_eq!(lines.next().await?, Some(&b"one"[..]));
/// assert_eq!(lines.next().await?, Some(&b"two"[..]));
/// assert_eq!(lines.next().await?, None);
/// # Ok::<_, staunch_net::ReadLineError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    window: Window,
    limit: usize,
    splitter: LineSplitter,
    wait: Wait,
    ended: bool,
    account: Account,
}

/// Memory between lines: enough for nearly every line.
const AT_REST: usize = 1024;

impl<R> LineReader<R> {
    /// Reads lines of at most `limit` bytes (at least 1), their ends included.
    #[track_caller]
    pub fn new(reader: R, limit: usize) -> LineReader<R> {
        let limit = limit.max(1);
        let window = Window::new(vec![0; limit.min(AT_REST)].into_boxed_slice());
        let account = Ledger::current().open(Kind::BUFFER, Obligation::EndsWithParent);
        account.add_bytes(window.capacity() as u64);
        let (splitter, wait) = (LineSplitter::new(), Wait::new());
        LineReader { reader, window, limit, splitter, wait, ended: false, account }
    }

    /// The reader, for instance to write an answer to it.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    fn resize(&mut self, capacity: usize) {
        self.account.sub_bytes(self.window.capacity() as u64);
        self.window.resize(capacity);
        self.account.add_bytes(capacity as u64);
    }
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// The next line without its end; `None` at the end of the reader.
    ///
    /// # Errors
    /// [`ReadLineError`]. A task that is asked to stop gets its error only between lines.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes that were read stay here.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, ReadLineError> {
        let line = poll_fn(|cx| self.poll_line(cx)).await?;
        Ok(line.map(|line| &self.window.take(line.used)[..line.length]))
    }

    fn poll_line(&mut self, cx: &mut Poller<'_>) -> Poll<Result<Option<FoundLine>, ReadLineError>> {
        loop {
            if let Some(line) = self.splitter.next_line(self.window.filled(), self.ended) {
                return Poll::Ready(Ok(Some(line)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if self.window.is_full() {
                if self.window.capacity() == self.limit {
                    return Poll::Ready(Err(ReadLineError::TooLong { limit: self.limit }));
                }
                self.resize((self.window.capacity() * 2).min(self.limit));
            } else if self.window.is_empty() && self.window.capacity() > AT_REST {
                self.resize(AT_REST);
            }
            self.ended = ready!(self.poll_fill(cx))? == 0;
        }
    }

    fn poll_fill(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        let LineReader { reader, window, wait, .. } = self;
        let between = window.is_empty();
        let mut spare = ReadBuf::new(window.spare());
        let mut read = |cx: &mut Poller<'_>| Pin::new(&mut *reader).poll_read(cx, &mut spare);
        if between {
            ready!(wait.poll(cx, State::Read, read)).map_err(io::Error::other)??;
        } else {
            ready!(read(cx))?;
        }
        let count = spare.filled().len();
        window.fill(count);
        Poll::Ready(Ok(count))
    }
}
