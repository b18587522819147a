//! What an HTTP/2 client sends that brings nothing (RFC 9113, 10.5).
//!
//! hyper's h2 bounds what such frames make it hold: it reads no PING or SETTINGS before it has
//! answered the one before, forgets empty DATA, ends connections that reset streams in haste
//! (CVE-2023-44487) or never end a head (CVE-2024-27316). It does not bound how many there are: reading
//! them is work, for a client that pays nine bytes each. So they are counted, by their headers alone,
//! before h2 reads them, and beyond so many a second h2 is given a head that does not end instead, to
//! which it says ENHANCE_YOUR_CALM.

use bytes::Bytes;
use tokio::time::Instant;

/// The length of a frame's header (RFC 9113, 4.1).
const HEADER: usize = 9;

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    come: u8,
    /// Bytes of the frame's payload that have not.
    left: u32,
    is_over: bool,
    /// Frames a second; 0: any.
    rate: u32,
    /// Frames that may come at once.
    tokens: u32,
    /// Window updates that it was given a reason for.
    reasons: u32,
    /// When there were `rate` tokens last.
    full: Option<Instant>,
}

/// What a frame is to the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// It brings something.
    Useful,
    /// A request, or what is left of one.
    Head,
    /// It gives room for what is sent to the client.
    WindowUpdate,
    Empty,
}

impl Frame {
    fn of(length: u32, kind: u8, flags: u8) -> Frame {
        const END_STREAM: u8 = 1;
        match kind {
            0 if length > 0 || flags & END_STREAM != 0 => Frame::Useful, // DATA
            1 | 9 => Frame::Head, // HEADERS, CONTINUATION: h2 limits them
            8 => Frame::WindowUpdate,
            _ => Frame::Empty, // what is not known is ignored, and is work too
        }
    }
}

impl Frames {
    pub(super) fn new(rate: u32) -> Frames {
        Frames {
            header: [0; HEADER],
            come: 0,
            left: 0,
            is_over: false,
            rate,
            tokens: rate,
            reasons: 0,
            full: None,
        }
    }

    /// So much was sent to the client, which may say that it has room for as much again: clients do so
    /// every 4 KiB at most, for the stream and for the connection.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.reason(u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX));
    }

    fn reason(&mut self, more: u32) {
        self.reasons = self.reasons.saturating_add(more);
    }

    /// Walks over the next bytes. If there are too many frames that bring nothing: where the next
    /// begins, from which on nobody reads.
    pub(super) fn walk(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        loop {
            if self.is_over && self.come == 0 && self.left == 0 {
                return Some(bytes.len() - rest.len());
            }
            if rest.is_empty() {
                return None;
            }
            rest = if self.left > 0 { self.skip(rest) } else { self.take(rest) };
        }
    }

    fn skip<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= u32::try_from(passed).unwrap_or(self.left);
        bytes.get(passed..).unwrap_or_default()
    }

    /// More of a frame's header.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let missing = self.header.get_mut(usize::from(self.come)..).unwrap_or_default();
        let (taken, rest) = bytes.split_at(missing.len().min(bytes.len()));
        missing.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        self.come += u8::try_from(taken.len()).unwrap_or_default();
        if usize::from(self.come) == HEADER {
            let [a, b, c, kind, flags, ..] = self.header;
            (self.come, self.left) = (0, u32::from_be_bytes([0, a, b, c]));
            self.count(Frame::of(self.left, kind, flags));
        }
        rest
    }

    fn count(&mut self, frame: Frame) {
        match frame {
            Frame::Useful => {}
            Frame::Head => self.reason(2),
            Frame::WindowUpdate if self.reasons > 0 => self.reasons -= 1,
            Frame::WindowUpdate | Frame::Empty => self.is_over |= !self.has_token(),
        }
    }

    /// Takes a token, if there is one. The clock is looked at when there seems to be none, and at the
    /// first.
    fn has_token(&mut self) -> bool {
        if self.rate == 0 {
            return true;
        }
        let full = *self.full.get_or_insert_with(Instant::now);
        if self.tokens == 0 {
            let since = full.elapsed().as_millis() * u128::from(self.rate) / 1000;
            self.tokens = u32::try_from(since).unwrap_or(u32::MAX).min(self.rate);
            if self.tokens > 0 {
                self.full = Some(Instant::now());
            }
        }
        let has = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        has
    }
}

/// A head that goes on for longer than h2 listens, of one that has at most so many bytes.
pub(super) fn endless_head(head_bytes: usize) -> Bytes {
    const STREAM: [u8; 4] = [0x7f, 0xff, 0xff, 0xff]; // none that is open
    let empty = |kind: u8| [&[0, 0, 0, kind, 0][..], &STREAM].concat();
    let frames = (head_bytes / (16 << 10)).max(1) * 5 / 4; // as h2 reckons, with frames of 16 KiB
    [empty(1), empty(9).repeat(frames.max(5) + 1)].concat().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Frames, endless_head};

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap_or_default().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(9 + payload, 0);
        frame
    }

    /// How many of 100 frames pass, however the bytes come.
    fn check(rate: u32, one: &[u8], passed: usize) {
        let all = one.repeat(100);
        for size in [1, 7, 9, 10, all.len()] {
            let (mut frames, mut read) = (Frames::new(rate), 0);
            for part in all.chunks(size) {
                let end = frames.walk(part);
                read += end.unwrap_or(part.len());
                if end.is_some() {
                    break;
                }
            }
            assert_eq!(read, passed * one.len(), "{one:?} in parts of {size}");
        }
    }

    #[staunch::test(start_paused = true)]
    async fn what_brings_nothing_is_counted() {
        let frames = [(6, 0, 8), (4, 0, 0), (3, 0, 4), (2, 0, 5), (8, 0, 4), (0, 0, 0), (77, 0, 3)];
        for (kind, flags, payload) in frames {
            check(10, &frame(kind, flags, payload), 11); // the one too many is read, and is the last
            check(0, &frame(kind, flags, payload), 100);
        }
        for (kind, flags, payload) in [(0, 0, 1), (0, 1, 0), (1, 4, 3), (9, 4, 3)] {
            check(10, &frame(kind, flags, payload), 100);
        }
    }

    #[staunch::test(start_paused = true)]
    async fn they_come_back_with_time() {
        let (mut frames, ping) = (Frames::new(10), frame(6, 0, 8));
        for _ in 0..5 {
            assert_eq!(frames.walk(&ping.repeat(10)), None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(frames.walk(&ping.repeat(20)), Some(ping.len() * 11), "a second's at most");
    }

    #[staunch::test(start_paused = true)]
    async fn who_is_sent_something_may_give_room() {
        let (mut frames, update) = (Frames::new(10), frame(8, 0, 4));
        frames.sent(100 << 10);
        assert_eq!(frames.walk(&update.repeat(110)), None);
        assert_eq!(frames.walk(&update), Some(update.len()));
    }

    #[test]
    fn an_endless_head_follows_the_limit() {
        assert_eq!(endless_head(16 << 10).len(), 7 * 9);
        assert_eq!(endless_head(1 << 20).len(), 82 * 9);
    }
}
