//! What the parsers of text share: lines that come within bounds, and errors that name the line.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read},
};

/// Why a text could not be read as what it was taken for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Reading failed.
    #[error("cannot read behind line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// A line is not what belongs there.
    #[error("line {line} is no part of {kind}: {reason}, but it is `{text}`")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What the text was taken for.
        kind: &'static str,
        /// What was expected.
        reason: &'static str,
        /// The beginning of the line.
        text: String,
    },
    /// It ends in the middle of a line.
    #[error("{kind} is cut off in line {line}: take it again, and let it be written to its end")]
    CutOff {
        /// The last line.
        line: u64,
        /// What the text was taken for.
        kind: &'static str,
    },
    /// There is nothing in it.
    #[error("nothing of {kind} in this text of {lines} lines: take it again, to its end")]
    Nothing {
        /// What the text was taken for.
        kind: &'static str,
        /// How many lines there are.
        lines: u64,
    },
    /// It is larger than is read.
    #[error("line {line}: more than {limit} {what}, which is the most that is read of {kind}")]
    TooLarge {
        /// The line at which the limit was passed.
        line: u64,
        /// What the text was taken for.
        kind: &'static str,
        /// Of what there is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// The most that is read of a text, and of one of its lines.
const BYTES_MAX: u64 = 256 << 20;
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The lines of a text, one at a time.
pub(crate) struct Lines<R> {
    reader: R,
    kind: &'static str,
    buffer: Vec<u8>,
    line: u64,
    bytes: u64,
}

/// One line, without its end.
pub(crate) struct Line<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) place: LinePlace,
}

/// Where a line is; makes the errors that name it.
#[derive(Clone, Copy)]
pub(crate) struct LinePlace {
    number: u64,
    kind: &'static str,
    /// Whether it has an end: the last one of a text that was cut off has none.
    is_whole: bool,
}

impl<R: BufRead> Lines<R> {
    /// The lines of what is taken for a `kind`: `a thread dump`.
    pub(crate) fn of(reader: R, kind: &'static str) -> Lines<R> {
        Lines { reader, kind, buffer: Vec::new(), line: 0, bytes: 0 }
    }

    /// The next one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, TextError> {
        self.buffer.clear();
        let read = Read::take(&mut self.reader, LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| TextError::Read { line: self.line, source })?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.bytes += read as u64;
        let is_whole = self.buffer.ends_with(b"\n");
        let place = LinePlace { number: self.line, kind: self.kind, is_whole };
        if read as u64 > LINE_BYTES_MAX {
            return Err(place.too_large("bytes in a line", LINE_BYTES_MAX));
        }
        if self.bytes > BYTES_MAX {
            return Err(place.too_large("bytes", BYTES_MAX));
        }
        let text = String::from_utf8_lossy(&self.buffer);
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
            Cow::Owned(text) => Cow::Owned(text.trim_end().to_owned()),
        };
        Ok(Some(Line { text, place }))
    }

    /// The error of a text in which there was nothing.
    pub(crate) fn nothing(&self) -> TextError {
        TextError::Nothing { kind: self.kind, lines: self.line }
    }
}

impl LinePlace {
    pub(crate) fn malformed(self, reason: &'static str, text: &str) -> TextError {
        let LinePlace { number: line, kind, .. } = self;
        if !self.is_whole {
            return TextError::CutOff { line, kind };
        }
        TextError::Malformed { line, kind, reason, text: excerpt(text) }
    }

    pub(crate) fn too_large(self, what: &'static str, limit: u64) -> TextError {
        TextError::TooLarge { line: self.number, kind: self.kind, what, limit }
    }
}

/// The beginning of a text's first line, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.chars().take(80).map(|it| if it.is_control() { '.' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_ends_and_are_bounded() {
        let mut lines = Lines::of(&b"a\r\nb \xff\n"[..], "a text");
        assert_eq!(lines.next().unwrap().unwrap().text, "a");
        assert_eq!(lines.next().unwrap().unwrap().text, "b \u{fffd}");
        assert!(lines.next().unwrap().is_none());
        let mut lines = Lines::of(&b"a\nb"[..], "a text");
        let mut place = || lines.next().unwrap().unwrap().place;
        assert!(matches!(place().malformed("", ""), TextError::Malformed { line: 1, .. }));
        assert!(matches!(place().malformed("", ""), TextError::CutOff { line: 2, .. }));
        let long = vec![b'x'; LINE_BYTES_MAX as usize + 1];
        let mut lines = Lines::of(&long[..], "a text");
        let error = lines.next().err().unwrap().to_string();
        assert!(error.starts_with("line 1: more than 65536 bytes in a line"), "{error}");
    }
}
