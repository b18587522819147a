//! Sockets from the text tables in `/proc/PID/net` (`proc_net(5)`).
//!
//! Each table is one header line and one line per socket. Tables are read line by line, so that
//! one with a million sockets takes no more memory than one with ten.

mod inet;
mod unix;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use self::inet::InetTable;
use self::unix::UnixTable;
use super::collector::Collector;
use super::socket::{Protocol, Socket};
use super::table::Table;

/// Longest line that is read. The kernel's longest, with a Unix path of 108 bytes, has 170.
const LINE_BYTES_MAX: u64 = 1024;

/// A text table of `/proc/net` that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcNetError {
    /// Opening or reading failed. Not found is an error for `tcp` only: a kernel without IPv6,
    /// UDP or Unix sockets lacks the other tables and has no such sockets.
    #[error(
        "cannot read {}: the process may be gone or another user's, or /proc not mounted",
        path.display()
    )]
    Io {
        /// The table's file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },

    /// A line was not understood.
    #[error(
        "{} is not as proc_net(5) describes it: report the kernel's version and this line",
        path.display()
    )]
    Malformed {
        /// The table's file.
        path: PathBuf,
        /// The line.
        source: MalformedLine,
    },
}

/// A line of a table in `/proc/net` that is not as the kernel writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?}")]
pub struct MalformedLine {
    /// Its number; the header is line 1.
    pub line: usize,
    /// Its text, at most 1024 bytes of it, bytes that are not UTF-8 replaced.
    pub text: String,
}

/// Turns the lines of one table into sockets.
trait LineParser {
    /// Takes the next line, without its end, the header included. Gives back the socket that is
    /// complete with it, which may be that of the line before; `None` if there is none yet.
    /// `Err` if the line is not understood.
    fn line(&mut self, line: &[u8]) -> Result<Option<Socket>, NotALine>;

    /// The socket that was waiting for a next line.
    fn finish(self) -> Option<Socket>;
}

/// The line is not one of the table.
struct NotALine;

/// Reads the text of `/proc/net/tcp` or `/proc/net/tcp6`.
///
/// # Errors
///
/// [`MalformedLine`], the first that is not as the kernel writes it.
pub fn parse_proc_net_tcp(text: &[u8]) -> Result<Vec<Socket>, MalformedLine> {
    parse(text, InetTable::new(Protocol::Tcp))
}

/// Reads the text of `/proc/net/udp` or `/proc/net/udp6`.
///
/// # Errors
///
/// [`MalformedLine`], the first that is not as the kernel writes it.
pub fn parse_proc_net_udp(text: &[u8]) -> Result<Vec<Socket>, MalformedLine> {
    parse(text, InetTable::new(Protocol::Udp))
}

/// Reads the text of `/proc/net/unix`.
///
/// The table writes names as they are: a line feed in a name breaks its line in two, and a name
/// that imitates a line cannot be told from one. So a line that is none continues the name
/// before it.
///
/// # Errors
///
/// [`MalformedLine`], the first that is not as the kernel writes it and follows no name.
pub fn parse_proc_net_unix(text: &[u8]) -> Result<Vec<Socket>, MalformedLine> {
    parse(text, UnixTable::default())
}

fn parse(text: &[u8], mut parser: impl LineParser) -> Result<Vec<Socket>, MalformedLine> {
    let mut sockets = Vec::new();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        sockets.extend(parser.line(line).map_err(|NotALine| malformed(index + 1, line))?);
    }
    sockets.extend(parser.finish());
    Ok(sockets)
}

fn malformed(line: usize, text: &[u8]) -> MalformedLine {
    let shown = &text[..text.len().min(LINE_BYTES_MAX as usize)];
    MalformedLine { line, text: String::from_utf8_lossy(shown).into_owned() }
}

/// Offers the sockets of `table`, in the network namespace whose tables are in `dir`.
pub(super) fn read(
    dir: &Path,
    table: Table,
    collector: &mut Collector<'_>,
) -> Result<ControlFlow<()>, ProcNetError> {
    let path = dir.join(table.file_name());
    let file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound && table != Table::Tcp4 => {
            return Ok(ControlFlow::Continue(()));
        }
        Err(source) => return Err(ProcNetError::Io { path, source }),
    };
    match table.protocol() {
        Protocol::Unix => read_lines(file, &path, UnixTable::default(), collector),
        protocol => read_lines(file, &path, InetTable::new(protocol), collector),
    }
}

fn read_lines(
    mut file: impl BufRead,
    path: &Path,
    mut parser: impl LineParser,
    collector: &mut Collector<'_>,
) -> Result<ControlFlow<()>, ProcNetError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        file.by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|source| ProcNetError::Io { path: path.to_owned(), source })?;
        if line.is_empty() {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let socket = parser.line(text).map_err(|NotALine| ProcNetError::Malformed {
            path: path.to_owned(),
            source: malformed(number, text),
        })?;
        if socket.is_some_and(|socket| collector.offer(socket).is_break()) {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(parser.finish().map_or(ControlFlow::Continue(()), |socket| collector.offer(socket)))
}
