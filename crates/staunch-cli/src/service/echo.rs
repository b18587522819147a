//! Line echo: answers `Echo: ` and the trimmed line.

use staunch_net::{Connection, LineReader, ReadLineError, TlsConnection};
use tokio::io::{AsyncWriteExt, split};

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

/// The same over TLS.
pub(crate) async fn echo_tls(
    connection: TlsConnection,
    line_limit: usize,
) -> Result<(), ReadLineError> {
    let (reader, mut writer) = split(connection);
    let mut lines = LineReader::new(reader, line_limit);
    while let Some(line) = lines.next().await? {
        writer.write_all(&[b"Echo: ", trim(line), b"\n"].concat()).await?;
        writer.flush().await?;
    }
    writer.shutdown().await?;
    Ok(())
}

/// Without white space at both ends: Unicode's where the line is UTF-8, else ASCII's.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    match str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}
