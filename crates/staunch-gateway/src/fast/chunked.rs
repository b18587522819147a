//! A chunked body (RFC 9112, 7.1), walked over and handed on as it is.
//!
//! What is handed on is read by another server, which must see it end where we do. So nothing is
//! let through that could be read in two ways: lines end in CRLF alone, sizes are hexadecimal
//! digits, what follows a size is printable and short, and trailers say nothing of the body's
//! length.

use super::field::Field;

/// Bytes of a chunk's line, its size included: more is no extension that anybody uses.
const LINE_MAX: u16 = 256;

/// Bytes of all trailers.
const TRAILERS_MAX: u16 = 8 << 10;

/// How far the walk has come.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    at: At,
    /// The size of a chunk, or what is left of it.
    left: u64,
    /// Bytes of all chunks, as far as they have come.
    data: u64,
    /// Bytes of a line, or of all trailers.
    seen: u16,
    /// The name of the trailer, as far as it is one of those that are short.
    name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// At the first digit of a size.
    #[default]
    Begin,
    Size,
    Extension,
    LineEnd,
    Data,
    DataEnd,
    DataLineEnd,
    /// At the first byte of a trailer, or of the empty line.
    Field,
    Name,
    Value,
    FieldEnd,
    LastEnd,
    Ended,
}

/// It is no chunked body, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk is not as RFC 9112, 7.1, has it")]
pub(crate) struct BadChunk;

impl Chunked {
    pub(crate) fn has_ended(&self) -> bool {
        self.at == At::Ended
    }

    /// Bytes of what is in the chunks, so far.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// How many of `bytes` belong to the body: all, but for what follows its end.
    pub(crate) fn walk(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut next = 0;
        while !self.has_ended()
            && let Some(&byte) = bytes.get(next)
        {
            if self.at == At::Data {
                let there = (bytes.len() - next) as u64;
                let passed = there.min(self.left);
                self.left -= passed;
                self.data += passed;
                next += passed as usize;
                if self.left == 0 {
                    self.at = At::DataEnd;
                }
                continue;
            }
            self.step(byte)?;
            next += 1;
        }
        Ok(next)
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.at = match (self.at, byte) {
            (At::Begin | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte)?,
            (At::Size | At::Extension, b'\r') => At::LineEnd,
            (At::Size, b';' | b' ' | b'\t') | (At::Extension, b'\t' | b' '..=b'~') => {
                self.counted(At::Extension, LINE_MAX)?
            }
            (At::LineEnd, b'\n') => {
                self.seen = 0;
                if self.left == 0 { At::Field } else { At::Data }
            }
            (At::DataEnd, b'\r') => At::DataLineEnd,
            (At::DataLineEnd, b'\n') => At::Begin,
            (At::Field, b'\r') => At::LastEnd,
            (At::LastEnd, b'\n') => At::Ended,
            (At::Field | At::Name, b'!'..=b'9' | b';'..=b'~') => {
                self.name.push(byte);
                self.counted(At::Name, TRAILERS_MAX)?
            }
            (At::Name, b':') if may_trail(&std::mem::take(&mut self.name)) => At::Value,
            (At::Value, b'\r') => At::FieldEnd,
            (At::Value, b'\t' | b' '..=b'~' | 0x80..) => self.counted(At::Value, TRAILERS_MAX)?,
            (At::FieldEnd, b'\n') => At::Field,
            _ => return Err(BadChunk),
        };
        Ok(())
    }

    fn digit(&mut self, digit: u8) -> Result<At, BadChunk> {
        let value = char::from(digit).to_digit(16).ok_or(BadChunk)?;
        let size = self.left.checked_mul(16).and_then(|size| size.checked_add(u64::from(value)));
        self.left = size.ok_or(BadChunk)?;
        self.counted(At::Size, LINE_MAX)
    }

    fn counted(&mut self, at: At, most: u16) -> Result<At, BadChunk> {
        self.seen += 1;
        if self.seen > most { Err(BadChunk) } else { Ok(at) }
    }
}

/// Whether a field may stand after the body (RFC 9110, 6.5.1).
fn may_trail(name: &[u8]) -> bool {
    let name = std::str::from_utf8(name).unwrap_or_default();
    matches!(Field::of(name), Field::Other | Field::Via | Field::Trace | Field::TraceState)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows the body, however it is cut into pieces.
    fn after(body: &[u8]) -> Result<usize, BadChunk> {
        let whole = walk(&[body]);
        for cut in 1..body.len() {
            let (a, b) = body.split_at(cut);
            assert_eq!(walk(&[a, b]), whole, "{} at {cut}", body.escape_ascii());
        }
        whole
    }

    fn walk(pieces: &[&[u8]]) -> Result<usize, BadChunk> {
        let mut chunked = Chunked::default();
        let mut passed = 0;
        for piece in pieces {
            passed += chunked.walk(piece)?;
        }
        if chunked.has_ended() { Ok(pieces.concat().len() - passed) } else { Ok(usize::MAX) }
    }

    #[test]
    fn a_body_ends_where_it_says() {
        assert_eq!(after(b"0\r\n\r\n"), Ok(0));
        assert_eq!(after(b"3\r\nabc\r\n0\r\n\r\nGET"), Ok(3));
        assert_eq!(after(b"A\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n"), Ok(0));
        assert_eq!(after(b"0003;a=\"b c\"\r\nabc\r\n00\r\nx-sum: 1\r\nB:2\r\n\r\nG"), Ok(1));
        assert_eq!(after(b"3\r\nabc\r\n0\r\n"), Ok(usize::MAX), "there is more to come");
    }

    #[test]
    fn what_is_in_the_chunks_is_counted() {
        let mut chunked = Chunked::default();
        chunked.walk(b"3;a=b\r\nab").unwrap();
        assert_eq!(chunked.data(), 2);
        chunked.walk(b"c\r\n0A\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n").unwrap();
        assert_eq!(chunked.data(), 13);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"-3\r\n",
            b"+3\r\n",
            b"0x3\r\n",
            b" 3\r\n",
            b"3;a\nb\r\nabc\r\n",
            b"3\r\r\n",
            b"10000000000000000\r\n",
            b"0\r\n\n",
            b"0\r\nContent-Length: 3\r\n\r\n",
            b"0\r\ntransfer-encoding: chunked\r\n\r\n",
            b"0\r\nhost: a\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nno-colon\r\n\r\n",
            b"0\r\nspace : a\r\n\r\n",
            b"0\r\na: \0\r\n\r\n",
        ] {
            assert_eq!(after(body), Err(BadChunk), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let extension = [b"3;", &vec![b'a'; 300][..], b"\r\n"].concat();
        assert_eq!(walk(&[&extension]), Err(BadChunk));
        let trailers = [b"0\r\n", &b"a: b\r\n".repeat(5000)[..]].concat();
        assert_eq!(walk(&[&trailers]), Err(BadChunk));
    }
}
