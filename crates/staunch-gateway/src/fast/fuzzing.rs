//! What reads bytes, for `fuzz/`. Not for anybody else: it may change at any time.

use staunch_http::HttpLimits;
use staunch_scope::TraceId;

use super::{
    answer::{self, Answer},
    chunked::Chunked,
    edits::Edits,
    outgoing::{self, Address, Introduction},
    plain::{self, Plain},
};
use crate::traces::Part;

/// How long the body of a plain request is, and what its server is sent instead of its head.
pub fn plain(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let mut room = plain::room();
    let plain::Said::Plain(plain) = Plain::read(bytes, &mut room, &HttpLimits::default()) else {
        return None;
    };
    let (path, query) = match plain.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (plain.target, None),
    };
    let mut out = Vec::new();
    let to = Address { path, query, host: plain.host.as_bytes() };
    let part = Part::new(None, plain.traceparent, TraceId::random);
    let introduction = Introduction::new(None, false);
    outgoing::write(&mut out, &plain, &to, &introduction, &Edits::default(), &part);
    Some((plain.body, out))
}

/// What a client is sent of an answer's head; `None` if it is none.
pub fn answer(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut room = answer::room();
    match Answer::read(bytes, &mut room, false) {
        answer::Said::Answer(answer) => {
            let mut out = Vec::new();
            answer.write(&mut out, &Edits::default(), false);
            Some(out)
        }
        _ => None,
    }
}

/// How many bytes a chunked body has that comes in these parts, and whether it has come to its end;
/// `None` if it is none.
pub fn chunked(parts: &[&[u8]]) -> Option<(usize, bool)> {
    let (mut chunked, mut passed) = (Chunked::default(), 0);
    for part in parts {
        passed += chunked.walk(part).ok()?;
    }
    Some((passed, chunked.has_ended()))
}
