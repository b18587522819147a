//! What reads bytes, for `fuzz/`. Not for anybody else: it may change at any time.

use super::{frames::Frames, framing::Framing, head, quick};
use crate::limits::HttpLimits;

/// Where the first byte is that two servers could read in two ways, if the bytes come in these parts.
pub fn ambiguity(parts: &[&[u8]]) -> Option<(usize, &'static str)> {
    let (mut framing, mut passed) = (Framing::default(), 0);
    for part in parts {
        if let Err((at, ambiguity)) = framing.walk(part) {
            return Some((passed + at, ambiguity.text()));
        }
        passed += part.len();
    }
    None
}

/// Where the first head ends.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut framing = Framing::default();
    let ends = bytes.chunks(1).position(|byte| {
        let before = framing.is_at_head_end();
        framing.walk(byte).is_ok() && before && byte == b"\n"
    });
    ends.map(|last| last + 1)
}

/// Where so many HTTP/2 frames that bring nothing are too many, if the bytes come in these parts.
pub fn flood(rate: u32, parts: &[&[u8]]) -> Option<usize> {
    let (mut frames, mut passed) = (Frames::new(rate), 0);
    for part in parts {
        if let Some(at) = frames.walk(part) {
            return Some(passed + at);
        }
        passed += part.len();
    }
    None
}

/// Whether it can be the value of `Host`.
pub fn is_host(bytes: &[u8]) -> bool {
    head::is_host(bytes)
}

/// Where the head of a request ends that is answered without hyper.
pub fn plain_head(bytes: &[u8]) -> Option<usize> {
    quick::plain_head(bytes, &HttpLimits::default())
}
