//! Line echo: answers `Echo: ` and the trimmed line.

use staunch_net::{Connection, ReadLineError};

/// Not an `async fn`, which would hold its argument twice, and not `while let`, which would hold
/// the result of `next` during the write: an idle connection's memory is mostly its future.
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

/// Without white space at both ends: Unicode's where the line is UTF-8, else ASCII's.
fn trim(line: &[u8]) -> &[u8] {
    match str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}
