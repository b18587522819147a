//! Where lines end in bytes that arrive in pieces.
//!
//! Pure: it holds a position, no bytes. However a stream is cut into pieces, the lines are the
//! same, and each byte is looked at once.

/// Finds the lines in a stream of bytes.
///
/// A line ends with `\n`; a `\r` before it does not belong to the line; the last line needs no
/// end. This is what Go's `bufio.ScanLines` does.
///
/// # Examples
/// ```
/// use staunch_net::LineSplitter;
///
/// let mut splitter = LineSplitter::new();
/// assert_eq!(splitter.next_line(b"one\r", false), None);
/// let bytes = b"one\r\ntwo";
/// let line = splitter.next_line(bytes, false).unwrap();
/// assert_eq!((&bytes[..line.length], line.used), (&b"one"[..], 5));
/// let bytes = &bytes[line.used..];
/// assert_eq!(splitter.next_line(bytes, false), None);
/// let last = splitter.next_line(bytes, true).unwrap();
/// assert_eq!(&bytes[..last.length], b"two");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LineSplitter {
    /// Bytes at the front that hold no line end.
    searched: u32,
}

/// A line at the front of the bytes given to [`LineSplitter::next_line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundLine {
    /// Its length without its end.
    pub length: usize,
    /// Its length with its end: so many bytes are used up.
    pub used: usize,
}

impl LineSplitter {
    /// At the start of a line.
    pub const fn new() -> LineSplitter {
        LineSplitter { searched: 0 }
    }

    /// The line at the front of `bytes`; `None` when its end has not come yet, or when the
    /// stream has `ended` and nothing is left.
    ///
    /// After `None`, call it again with the same bytes and those that have come since; after a
    /// line, without the bytes that it used.
    pub fn next_line(&mut self, bytes: &[u8], ended: bool) -> Option<FoundLine> {
        let searched = (self.searched as usize).min(bytes.len());
        let end = bytes[searched..].iter().position(|byte| *byte == b'\n');
        let (line, used) = match end {
            Some(at) => (&bytes[..searched + at], searched + at + 1),
            None if ended && !bytes.is_empty() => (bytes, bytes.len()),
            None => {
                self.searched = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                return None;
            }
        };
        self.searched = 0;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(FoundLine { length: line.len(), used })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines of `pieces`, as a reader sees them that gets one piece after the other.
    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::new();
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        let mut take = |bytes: &mut Vec<u8>, ended| {
            while let Some(line) = splitter.next_line(bytes, ended) {
                lines.push(bytes[..line.length].to_vec());
                bytes.drain(..line.used);
            }
        };
        for piece in pieces {
            bytes.extend_from_slice(piece);
            take(&mut bytes, false);
        }
        take(&mut bytes, true);
        lines
    }

    /// What the lines are, said in another way.
    fn expected(bytes: &[u8]) -> Vec<Vec<u8>> {
        let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Vec::new();
        }
        let lines = whole.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        let lines = lines(&[text.as_bytes()]);
        let lines: Vec<_> = lines.iter().map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(lines, expected, "{text:?}");
    }

    #[test]
    fn lines_end_as_in_go() {
        check("", &[]);
        check("\n", &[""]);
        check("\r\n", &[""]);
        check("a", &["a"]);
        check("a\n", &["a"]);
        check("a\r", &["a"]);
        check("a\nb", &["a", "b"]);
        check("a\n\nb\r\n", &["a", "", "b"]);
        check("a\rb\r\r\n", &["a\rb\r"]);
    }

    proptest! {
        #[test]
        fn any_cut_of_the_same_bytes_gives_the_same_lines(
            text in "[ab\r\n]{0,40}",
            cuts in proptest::collection::vec(0_usize..=40, 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(lines(&pieces), expected(bytes));
        }
    }
}
