//! Lines of bounded length.

use std::{
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_scope::Wait;

use crate::{
    buffer::{Buffer, Ticket},
    connection::Connection,
    splitter::{FoundLine, LineSplitter},
};

/// Reads a connection line by line, as [`LineSplitter`] finds them. Between lines it holds no
/// buffer.
#[derive(Debug)]
pub struct Lines<'a> {
    connection: &'a Connection,
    buffer: Option<Buffer>,
    splitter: LineSplitter,
    ended: bool,
}

/// No line came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadLineError {
    /// The line is longer than the limit; nothing more can be read.
    #[error(
        "line longer than {limit} bytes: raise the limit (a listener's `buffer`), or read in chunks"
    )]
    TooLong {
        /// The longest line with its end, in bytes.
        limit: usize,
    },
    /// The socket failed, the watchdog cut it, or the task was asked to stop.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<'a> Lines<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Lines<'a> {
        Lines { connection, buffer: None, splitter: LineSplitter::new(), ended: false }
    }

    /// The next line without its end; `None` when the peer has closed.
    ///
    /// # Errors
    /// [`ReadLineError`]. A task that is asked to stop gets its error only between lines.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes that were read stay here.
    #[expect(clippy::should_implement_trait, reason = "a line is lent: no iterator can do that")]
    pub fn next(&mut self) -> NextLine<'_, 'a> {
        NextLine { lines: Some(self), ticket: None, wait: Wait::new() }
    }

    fn poll_line(
        &mut self,
        ticket: &mut Option<Ticket>,
        wait: &mut Wait,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<Option<FoundLine>, ReadLineError>> {
        loop {
            if let Some(buffer) = &self.buffer {
                if let Some(line) = self.splitter.next_line(buffer.filled(), self.ended) {
                    self.connection.message_ended();
                    return Poll::Ready(Ok(Some(line)));
                }
                if buffer.is_full() {
                    let limit = buffer.capacity();
                    return Poll::Ready(Err(ReadLineError::TooLong { limit }));
                }
            }
            if self.ended {
                self.buffer = None;
                return Poll::Ready(Ok(None));
            }
            let filled = self.connection.poll_fill(&mut self.buffer, ticket, wait, cx);
            self.ended = ready!(filled)? == 0;
        }
    }
}

/// Waits for the next line; made by [`Lines::next`].
///
/// What it holds lives no longer than the wait: whoever does not wait must not stand in line
/// for a buffer.
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct NextLine<'l, 'a> {
    lines: Option<&'l mut Lines<'a>>,
    ticket: Option<Ticket>,
    wait: Wait,
}

impl<'l> Future for NextLine<'l, '_> {
    type Output = Result<Option<&'l [u8]>, ReadLineError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let NextLine { lines, ticket, wait } = &mut *self;
        let Some(reading) = lines else { return Poll::Ready(Ok(None)) };
        let found = ready!(reading.poll_line(ticket, wait, cx))?;
        let buffer = lines.take().and_then(|lines| lines.buffer.as_mut());
        Poll::Ready(Ok(found
            .zip(buffer)
            .map(|(line, buffer)| &buffer.take(line.used)[..line.length])))
    }
}
