//! The headers that a collector wants to see, of which one is a secret as a rule.

use std::{
    io,
    path::{Path, PathBuf},
};

use hyper::header::{HeaderName, HeaderValue};

/// The headers of a file cannot be used. What they are is not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceHeadersError {
    /// The file cannot be read.
    #[error("{}: {source}; check `headers_file` in [traces]", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{}: has more than {limit} bytes: is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes it may have.
        limit: u64,
    },
    /// One of its lines is no header, or one too many.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// A header that is sent with spans.
pub(super) type Header = (HeaderName, HeaderValue);

const BYTES_MAX: u64 = 16 << 10;
const HEADERS_MAX: usize = 32;

/// Those that say how the message is read, whom it is for, or whose it is.
const OURS: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
];

/// The headers of a file: on each line `name: value`; empty lines and those that begin with `#` are
/// none. Blocks for a moment.
pub(super) fn read(path: &Path) -> Result<Vec<Header>, TraceHeadersError> {
    let failed = |source| TraceHeadersError::Read { path: path.to_owned(), source };
    let bytes = staunch_kernel::read_file(path, BYTES_MAX).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(TraceHeadersError::TooLarge { path: path.to_owned(), limit: BYTES_MAX });
    }
    let mut headers = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let wrong =
            |reason| TraceHeadersError::Line { path: path.to_owned(), line: number, reason };
        headers.push(header(line).map_err(wrong)?);
        if headers.len() > HEADERS_MAX {
            return Err(wrong("one header too many: 32 may be sent"));
        }
    }
    Ok(headers)
}

fn header(line: &[u8]) -> Result<Header, &'static str> {
    let colon = memchr::memchr(b':', line).ok_or("write `name: value`")?;
    let (name, value) = line.split_at(colon);
    let name = HeaderName::from_bytes(name.trim_ascii());
    let name = name.map_err(|_| "what stands before `:` is no name of a header")?;
    if OURS.contains(&name.as_str()) {
        return Err("this header is not to be changed: leave it out");
    }
    let value = HeaderValue::from_bytes(value[1..].trim_ascii());
    let mut value = value.map_err(|_| "what stands behind `:` is no value of a header")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(text: &[u8], expected: Result<&[(&str, &str)], &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        fs::write(&path, text).unwrap();
        let read = read(&path);
        assert!(!format!("{read:?}").contains("hidden"), "a secret is shown");
        let read = read.map_err(|error| error.to_string()).map(|headers| {
            let shown =
                |(name, value): &Header| (name.to_string(), value.to_str().unwrap().to_owned());
            headers.iter().map(shown).collect::<Vec<_>>()
        });
        let owned = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
        let expected = expected.map(|them| them.iter().map(owned).collect::<Vec<_>>());
        assert_eq!(read, expected.map_err(|error| format!("{}{error}", path.display())));
    }

    #[test]
    fn a_line_is_a_header_or_is_named() {
        check(b"", Ok(&[]));
        check(b"# ours\r\nX-Key: hidden: 1\r\n\n  b:c", Ok(&[("x-key", "hidden: 1"), ("b", "c")]));
        check(b"a: b\nhidden", Err(":2: write `name: value`"));
        check(b"a hidden: b", Err(":1: what stands before `:` is no name of a header"));
        check(b"a: hidden\x07", Err(":1: what stands behind `:` is no value of a header"));
        check(b"Host: hidden", Err(":1: this header is not to be changed: leave it out"));
        check(&b"a: b\n".repeat(33), Err(":33: one header too many: 32 may be sent"));
        let much = vec![b'#'; 16 << 10];
        check(&much, Ok(&[]));
        let more = vec![b'#'; (16 << 10) + 1];
        check(&more, Err(": has more than 16384 bytes: is it the right file?"));
    }
}
