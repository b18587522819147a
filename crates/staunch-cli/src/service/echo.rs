//! Line echo: answers `Echo: ` and the trimmed line.

use std::{
    io,
    pin::Pin,
    task::{Context as Poller, Poll},
};

use staunch_net::{Connection, LineReader, ReadFor, ReadLineError, TlsConnection};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

/// Answers line by line. Not `while let`, which would hold the result of `next` during the write:
/// an idle connection's memory is mostly its future.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would hold its argument twice")]
pub(crate) fn echo(
    connection: Connection,
) -> impl Future<Output = Result<(), ReadLineError>> + Send {
    async move {
        let mut lines = connection.lines();
        loop {
            let Some(line) = lines.next().await? else { return Ok(()) };
            connection.write_all([b"Echo: ", trim(line), b"\n"]).await?;
        }
    }
}

/// The same over TLS. However it ends, the peer is told: without that goodbye it could not tell
/// the end from an attack.
pub(crate) async fn echo_tls(
    connection: TlsConnection,
    line_limit: usize,
) -> Result<(), ReadLineError> {
    let mut lines = LineReader::new(Lined { connection, within_line: false }, line_limit);
    let answered = answer(&mut lines).await;
    let told = lines.get_mut().connection.shutdown().await;
    answered.and(told.map_err(Into::into))
}

async fn answer(lines: &mut LineReader<Lined>) -> Result<(), ReadLineError> {
    while let Some(line) = lines.next().await? {
        let answer = [b"Echo: ", trim(line), b"\n"].concat();
        lines.get_mut().connection.write_all([&answer]).await?;
    }
    Ok(())
}

/// A TLS connection that says so when it waits for the rest of a line: a pause there is a stall.
struct Lined {
    connection: TlsConnection,
    within_line: bool,
}

impl AsyncRead for Lined {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.connection).poll_read(cx, buffer);
        if polled.is_pending() {
            let what = if self.within_line { ReadFor::Rest } else { ReadFor::Message };
            self.connection.reads_for(what);
        }
        if let Some(last) = buffer.filled()[before..].last() {
            self.within_line = *last != b'\n';
        }
        polled
    }
}

/// Without white space at both ends: Unicode's where the line is UTF-8, else ASCII's.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    match str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}
