//! Where each HTTP/1 message of a connection begins and ends, by its bytes (RFC 9112).
//!
//! hyper takes some of what RFC 9112 lets a server take, and what another server before it may have
//! read otherwise: a request could be smuggled past that one. Of some of it a parsed head shows
//! nothing. So the bytes are walked once before hyper reads them: a few words of state for a
//! connection, one comparison for most bytes of a head, one addition for a body. At the first byte
//! that two servers could read in two ways hyper is given [`SPOILED`] instead of it and of what
//! follows, so that the client is told 400 in its turn, and the connection closed.

use memchr::memchr2;

/// Ends a head or a trailer section, in whatever state it is, as what it cannot be.
pub(super) const SPOILED: &[u8] = b"\0\r\n\r\n";

/// What two servers could read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ambiguity {
    /// A line that ends in LF alone (RFC 9112, 2.2).
    BareLf = 1,
    /// A line of a head that continues the one before it (5.2).
    Fold,
    /// `Content-Length` and `Transfer-Encoding`, or one of them twice (6.1, 6.3).
    Lengths,
    /// `Content-Length` or `Transfer-Encoding` after the body (RFC 9110, 6.5.1).
    TrailerLength,
}

impl Ambiguity {
    pub(super) fn from_code(code: u8) -> Option<Ambiguity> {
        use Ambiguity::{BareLf, Fold, Lengths, TrailerLength};
        [BareLf, Fold, Lengths, TrailerLength].into_iter().find(|one| *one as u8 == code)
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Ambiguity::BareLf => "a line of a request ends in LF alone",
            Ambiguity::Fold => "a header of a request goes on in the next line",
            Ambiguity::Lengths => "a request gives its length twice",
            Ambiguity::TrailerLength => "a request gives its length after its body",
        }
    }
}

/// How far the walk has come.
#[derive(Debug, Default)]
pub(super) struct Framing {
    at: At,
    /// What the name of the field can still be, which is something, and how much of it was seen.
    fits: u8,
    seen: u8,
    /// What the head says, and whether it is a trailer section.
    head: u8,
    /// `Content-Length`, the size of a chunk, or what is left of either.
    length: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the first line; empty lines are no message (RFC 9112, 2.2).
    #[default]
    Start,
    /// After the CR of an empty line.
    EmptyLine,
    /// In the first line, or in a field whose name or value does not matter.
    Line,
    /// In the value of `Content-Length`.
    Length,
    /// After the CR of a line.
    LineEnd,
    /// At the first byte of a field, or of the empty line.
    Field,
    Name,
    /// After the CR of the empty line.
    HeadEnd,
    ChunkSize,
    /// What follows the size of a chunk in its line.
    Chunk,
    ChunkEnd,
    /// So many bytes of a body, or of a chunk and its CRLF.
    Body,
    /// Of another protocol, perhaps.
    Beyond,
}

const LENGTH: u8 = 1;
const CODING: u8 = 2;
const UPGRADE: u8 = 4;
const TRAILER: u8 = 8;
const CHUNKED: u8 = 16;

const NAMES: [(u8, &[u8]); 3] =
    [(LENGTH, b"content-length"), (CODING, b"transfer-encoding"), (UPGRADE, b"upgrade")];

/// Where the next CR or LF is, or the end.
fn line_end(rest: &[u8]) -> usize {
    memchr2(b'\r', b'\n', rest).unwrap_or(rest.len())
}

type Walked = Result<(), (usize, Ambiguity)>;

impl Framing {
    /// Walks over the next bytes; where the first is that two servers could read in two ways.
    pub(super) fn walk(&mut self, bytes: &[u8]) -> Walked {
        let mut next = 0;
        while let Some(rest) = bytes.get(next..).filter(|rest| !rest.is_empty()) {
            let passed = self.skip(rest);
            next += passed;
            if let Some(&byte) = bytes.get(next) {
                if let Err(ambiguity) = self.step(byte) {
                    self.at = At::Beyond; // nobody reads on
                    return Err((next, ambiguity));
                }
                next += 1;
            }
        }
        Ok(())
    }

    /// Whether the next byte begins another message, or what is no HTTP.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.at, At::Start | At::EmptyLine | At::Beyond)
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn is_at_head_end(&self) -> bool {
        self.at == At::HeadEnd && self.head & TRAILER == 0
    }

    /// A request that asked for another protocol did not get it: the next bytes begin another.
    pub(super) fn begins(&mut self) {
        if self.at == At::Beyond {
            *self = Framing::default();
        }
    }

    /// How many of the next bytes change nothing.
    fn skip(&mut self, rest: &[u8]) -> usize {
        match self.at {
            At::Beyond => rest.len(),
            At::Chunk => line_end(rest),
            At::Line => {
                let end = line_end(rest);
                if rest.get(end..).is_some_and(|rest| rest.starts_with(b"\r\n")) {
                    self.at = At::Field;
                    return end + 2;
                }
                end
            }
            At::Body => {
                let passed = usize::try_from(self.length).map_or(rest.len(), |n| n.min(rest.len()));
                self.length -= passed as u64;
                if self.length == 0 {
                    self.body_ends();
                }
                passed
            }
            _ => 0,
        }
    }

    fn body_ends(&mut self) {
        self.at = if self.head & CHUNKED == 0 { At::Start } else { At::ChunkSize };
    }

    fn step(&mut self, byte: u8) -> Result<(), Ambiguity> {
        match (self.at, byte) {
            (At::Start | At::Line | At::Length | At::Name | At::Field, b'\n') => {
                return Err(Ambiguity::BareLf);
            }
            (At::Start, b'\r') => self.at = At::EmptyLine,
            (At::EmptyLine, b'\n') => self.at = At::Start,
            (At::Start, _) => *self = Framing { at: At::Line, ..Framing::default() },
            (At::Line | At::Length | At::Name, b'\r') => self.at = At::LineEnd,
            (At::Length, b'0'..=b'9') => self.digit(10, u64::from(byte - b'0')),
            (At::LineEnd, b'\n') => self.at = At::Field,
            (At::Field, b'\r') => self.at = At::HeadEnd,
            (At::Field, b' ' | b'\t') => return Err(Ambiguity::Fold),
            (At::Field, _) => {
                (self.at, self.seen, self.fits) = (At::Name, 0, LENGTH | CODING | UPGRADE);
                self.letter(byte);
            }
            (At::Name, b':') => return self.named(),
            (At::Name, _) => self.letter(byte),
            (At::HeadEnd, b'\n') => self.head_ends(),
            // A CR that ends no line: hyper refuses it.
            (At::EmptyLine | At::LineEnd | At::HeadEnd | At::ChunkEnd, _) => self.chunk_ends(byte),
            (At::ChunkSize, _) => self.size(byte),
            (At::Chunk, b'\r') => self.at = At::ChunkEnd,
            // Of a chunk's extension an LF hyper refuses, and of a length what is no digit or blank.
            (At::Line | At::Length | At::Chunk | At::Body | At::Beyond, _) => {}
        }
        Ok(())
    }

    fn digit(&mut self, radix: u64, digit: u64) {
        self.length = self.length.saturating_mul(radix).saturating_add(digit); // hyper refuses those
    }

    fn letter(&mut self, byte: u8) {
        let (seen, letter) = (usize::from(self.seen), byte.to_ascii_lowercase());
        for (bit, name) in NAMES {
            if name.get(seen) != Some(&letter) {
                self.fits &= !bit;
            }
        }
        self.seen += 1;
        if self.fits == 0 {
            self.at = At::Line;
        }
    }

    /// The name of a field has ended.
    fn named(&mut self) -> Result<(), Ambiguity> {
        let length = usize::from(self.seen);
        let is = |(bit, name): &(u8, &[u8])| self.fits & bit != 0 && name.len() == length;
        let name = NAMES.iter().find(|one| is(one)).map_or(0, |(bit, _)| *bit);
        let framing = LENGTH | CODING;
        if name & framing != 0 {
            if self.head & TRAILER != 0 {
                return Err(Ambiguity::TrailerLength);
            }
            if self.head & framing != 0 {
                return Err(Ambiguity::Lengths);
            }
        }
        self.head |= name;
        self.at = if name == LENGTH { At::Length } else { At::Line };
        Ok(())
    }

    fn head_ends(&mut self) {
        if self.head & TRAILER != 0 {
            self.at = At::Start;
        } else if self.head & UPGRADE != 0 {
            self.at = At::Beyond;
        } else if self.head & CODING != 0 {
            (self.at, self.head, self.length) = (At::ChunkSize, self.head | CHUNKED, 0);
        } else {
            self.at = if self.length == 0 { At::Start } else { At::Body };
        }
    }

    fn size(&mut self, byte: u8) {
        match char::from(byte).to_digit(16) {
            Some(digit) => self.digit(16, u64::from(digit)),
            None if byte == b'\r' => self.at = At::ChunkEnd,
            None => self.at = At::Chunk,
        }
    }

    /// After the CR of a chunk's line.
    fn chunk_ends(&mut self, byte: u8) {
        if self.at != At::ChunkEnd || byte != b'\n' {
            self.at = At::Beyond;
        } else if self.length == 0 {
            (self.at, self.head) = (At::Field, TRAILER);
        } else {
            (self.at, self.length) = (At::Body, self.length.saturating_add(2));
        }
    }
}
