//! What an entry is about, in words: a peer address, a route, an SQL statement.
//!
//! An IPv4 peer fits into the slot's label word. Text, and for whom it is done, goes into a cell of
//! 128 bytes beside the slots, taken from the shard of the thread that sets it; longer text is cut. The label word
//! names the cell and carries a version, so that a reader who copied the text while it was
//! replaced notices: it reads the word again after the text ([`LabelCell::read`], behind an
//! acquire fence that meets the release fence of [`LabelCell::write`]). It would not notice
//! 16384 replacements, or a multiple, that end with a text of the same length in the same cell.

use std::{
    borrow::Cow,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use crate::{
    arena::Cell,
    sync::{AtomicU32, AtomicU64, Ordering, fence},
};

/// Bytes of text a label keeps; what is longer is cut at a character and ends in `…`.
pub const MAX_LABEL_BYTES: usize = 128;

/// The label of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Label {
    /// None was set.
    #[default]
    None,
    /// An IPv4 peer.
    Peer(SocketAddrV4),
    /// Text of at most [`MAX_LABEL_BYTES`] bytes.
    Text(Box<str>),
    /// What is held for a route.
    Routed(Routed),
}

/// The label of what is held for a route: [`Account::label_routed`](crate::Account::label_routed).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Routed {
    /// The route; what is longer than 40 bytes is cut.
    pub route: Box<str>,
    /// The server that works for it, if there is one already; what is longer than 48 bytes is cut.
    pub upstream: Option<Box<str>>,
    /// What it is, as far as there was room.
    pub text: Box<str>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::None => Ok(()),
            Label::Peer(peer) => peer.fmt(f),
            Label::Text(text) | Label::Routed(Routed { text, .. }) => f.pad(text),
        }
    }
}

impl Label {
    /// Route and server of what is held for a route.
    pub fn routed(&self) -> Option<&Routed> {
        match self {
            Label::Routed(routed) => Some(routed),
            _ => None,
        }
    }
}

const ROUTE_MAX: usize = 40;
const UPSTREAM_MAX: usize = 48;

/// A [`Routed`] as its cell has it: the lengths of route and server, and then route, server and
/// text one after the other.
pub(crate) struct RoutedBytes {
    room: [u8; MAX_LABEL_BYTES],
    length: usize,
}

impl RoutedBytes {
    /// Cuts what is too long.
    pub(crate) fn new(route: &str, upstream: &str, text: &[&str]) -> RoutedBytes {
        let route = &route[..route.floor_char_boundary(ROUTE_MAX)];
        let upstream = &upstream[..upstream.floor_char_boundary(UPSTREAM_MAX)];
        let mut bytes = RoutedBytes { room: [0; MAX_LABEL_BYTES], length: 2 };
        // Both fit into a byte, see above.
        (bytes.room[0], bytes.room[1]) = (route.len() as u8, upstream.len() as u8);
        for part in [route, upstream].iter().chain(text) {
            let end = part.floor_char_boundary(MAX_LABEL_BYTES - bytes.length);
            bytes.room[bytes.length..bytes.length + end].copy_from_slice(&part.as_bytes()[..end]);
            bytes.length += end;
            if end < part.len() {
                break;
            }
        }
        bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// Route, server and text of what [`RoutedBytes::new`] made.
    pub(crate) fn parts(bytes: &[u8]) -> Option<[&str; 3]> {
        let (&[route, upstream], rest) = bytes.split_first_chunk()?;
        let (route, rest) = rest.split_at_checked(usize::from(route))?;
        let (upstream, text) = rest.split_at_checked(usize::from(upstream))?;
        let part = |bytes| str::from_utf8(bytes).ok();
        Some([part(route)?, part(upstream)?, part(text)?])
    }

    /// The label that it stands for; that of nothing, if it is none of these.
    pub(crate) fn label(bytes: &[u8]) -> Label {
        let Some([route, upstream, text]) = RoutedBytes::parts(bytes) else { return Label::None };
        let upstream = (!upstream.is_empty()).then(|| upstream.into());
        Label::Routed(Routed { route: route.into(), upstream, text: text.into() })
    }
}

/// `text`, or as much of it as a label keeps.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= MAX_LABEL_BYTES {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_LABEL_BYTES - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

/// The parts one after the other in `room`; `None` if it has not enough.
pub(crate) fn joined<'r>(parts: &[&str], room: &'r mut [u8; MAX_LABEL_BYTES]) -> Option<&'r str> {
    let mut length = 0;
    for part in parts {
        let end = length + part.len();
        room.get_mut(length..end)?.copy_from_slice(part.as_bytes());
        length = end;
    }
    str::from_utf8(&room[..length]).ok()
}

/// The label as the slot holds it.
///
/// Bits 62–63: what it is. Bits 48–61: a version, which goes on with each word that replaces
/// another. Peer: bits 0–47 address and port. Text and what is routed: bits 0–31 the cell (shard
/// and index), 32–39 the length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LabelWord(pub(crate) u64);

/// Where a text label's cell is.
#[derive(Clone, Copy)]
pub(crate) struct CellRef {
    pub(crate) cell: u32,
    pub(crate) length: usize,
}

pub(crate) enum Decoded {
    None,
    Peer(SocketAddrV4),
    Text(CellRef),
    Routed(CellRef),
}

impl Decoded {
    /// The cell that belongs to the label.
    pub(crate) fn cell(self) -> Option<CellRef> {
        match self {
            Decoded::Text(at) | Decoded::Routed(at) => Some(at),
            Decoded::None | Decoded::Peer(_) => None,
        }
    }
}

const TAG_SHIFT: u32 = 62;
const VERSION_SHIFT: u32 = 48;
const VERSION: u64 = (1 << (TAG_SHIFT - VERSION_SHIFT)) - 1;
const NONE: u64 = 0;
const PEER: u64 = 1;
const TEXT: u64 = 2;
const ROUTED: u64 = 3;

impl LabelWord {
    /// What an entry is born with.
    pub(crate) const UNSET: LabelWord = LabelWord(0);

    /// No label, any more.
    pub(crate) fn none(previous: LabelWord) -> LabelWord {
        LabelWord::after(previous, NONE, 0)
    }

    pub(crate) fn peer(peer: SocketAddrV4, previous: LabelWord) -> LabelWord {
        let address = u64::from(peer.ip().to_bits()) << 16 | u64::from(peer.port());
        LabelWord::after(previous, PEER, address)
    }

    pub(crate) fn text(at: CellRef, previous: LabelWord) -> LabelWord {
        LabelWord::after(previous, TEXT, at.bits())
    }

    pub(crate) fn routed(at: CellRef, previous: LabelWord) -> LabelWord {
        LabelWord::after(previous, ROUTED, at.bits())
    }

    /// A word that replaces `previous`: the version goes on from there.
    fn after(previous: LabelWord, tag: u64, data: u64) -> LabelWord {
        let version = (previous.0 >> VERSION_SHIFT).wrapping_add(1) & VERSION;
        LabelWord(tag << TAG_SHIFT | version << VERSION_SHIFT | data)
    }

    pub(crate) fn decode(self) -> Decoded {
        match self.0 >> TAG_SHIFT {
            PEER => {
                let ip = Ipv4Addr::from_bits((self.0 >> 16) as u32);
                Decoded::Peer(SocketAddrV4::new(ip, self.0 as u16))
            }
            TEXT => Decoded::Text(CellRef::of(self.0)),
            ROUTED => Decoded::Routed(CellRef::of(self.0)),
            _ => Decoded::None,
        }
    }
}

impl CellRef {
    fn bits(self) -> u64 {
        (self.length as u64 - 1) << 32 | u64::from(self.cell)
    }

    fn of(bits: u64) -> CellRef {
        CellRef { cell: bits as u32, length: (bits >> 32 & 0xFF) as usize + 1 }
    }
}

const WORDS: usize = MAX_LABEL_BYTES / 8;

/// The text of one label.
pub(crate) struct LabelCell {
    next: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl Cell for LabelCell {
    fn new(_: u32) -> Self {
        LabelCell { next: AtomicU32::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn next(&self) -> &AtomicU32 {
        &self.next
    }
}

impl LabelCell {
    /// Fills a cell that only the caller has. `text` is not empty and at most
    /// [`MAX_LABEL_BYTES`] long.
    pub(crate) fn write(&self, text: &[u8]) {
        fence(Ordering::Release);
        for (word, chunk) in self.words.iter().zip(text.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// Copies the text out; the caller then checks that the label word is still the same.
    pub(crate) fn read(&self, length: usize) -> [u8; MAX_LABEL_BYTES] {
        let mut bytes = [0; MAX_LABEL_BYTES];
        let words = self.words.iter().take(length.div_ceil(8));
        for (chunk, word) in bytes.chunks_mut(8).zip(words) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_if_there_is_room() {
        let mut room = [0; MAX_LABEL_BYTES];
        assert_eq!(joined(&["GET", " ", "/é"], &mut room), Some("GET /é"));
        assert_eq!(joined(&[], &mut room), Some(""));
        let long = "x".repeat(MAX_LABEL_BYTES);
        assert_eq!(joined(&[&long], &mut room), Some(&*long));
        assert_eq!(joined(&[&long, "x"], &mut room), None);
    }

    #[test]
    fn words_decode_to_what_was_encoded() {
        let peer: SocketAddrV4 = "203.0.113.255:65535".parse().unwrap();
        let word = LabelWord::peer(peer, LabelWord(u64::MAX));
        assert!(matches!(word.decode(), Decoded::Peer(p) if p == peer));
        let at = CellRef { cell: u32::MAX, length: MAX_LABEL_BYTES };
        let mut word = LabelWord::UNSET;
        for _ in 0..3 {
            let next = LabelWord::text(at, word);
            assert!(next != word, "each replacement changes the word");
            let Decoded::Text(back) = next.decode() else { panic!("a text") };
            assert_eq!((back.cell, back.length), (at.cell, at.length));
            word = next;
        }
    }

    #[test]
    fn a_text_that_comes_back_has_another_word() {
        let at = CellRef { cell: 7, length: 3 };
        let peer = "203.0.113.255:65535".parse().unwrap();
        let first = LabelWord::text(at, LabelWord::UNSET);
        for between in [LabelWord::none(first), LabelWord::peer(peer, first)] {
            assert!(LabelWord::text(at, between) != first);
        }
        assert!(matches!(LabelWord::none(first).decode(), Decoded::None));
    }

    #[test]
    fn what_is_routed_comes_back_in_its_parts() {
        let check = |route: &str, upstream: &str, text: &[&str], expected: [&str; 3]| {
            let bytes = RoutedBytes::new(route, upstream, text);
            assert_eq!(RoutedBytes::parts(bytes.as_bytes()), Some(expected));
        };
        check("export", "10.0.0.9:80", &["GET", " ", "/a"], ["export", "10.0.0.9:80", "GET /a"]);
        check("", "", &[], ["", "", ""]);
        let long = "é".repeat(100);
        let [route, upstream, text] = [&long[..40], &long[..48], &long[..38]];
        check(&long, &long, &[&long, "not this"], [route, upstream, text]);
        check("a", "b", &["x", &long], ["a", "b", &format!("x{}", &long[..122])]);
        for bytes in [&[][..], &[1], &[9, 0, b'a'], &[1, 9, b'a', b'b'], &[1, 0, 0xFF]] {
            assert_eq!(RoutedBytes::label(bytes), Label::None, "{bytes:?}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = "ü".repeat(100);
        let kept = cut(&text);
        assert!(kept.len() <= MAX_LABEL_BYTES && kept.ends_with("ü…"), "{kept}");
    }
}
