//! What reads bytes, for `fuzz/`. Not for anybody else: it may change at any time.

use bytes::Bytes;

use super::{EventsOptions, bypass::Bypass, events::parse::Parser};
use crate::Event;

/// The events of a stream, if its bytes come in these parts, and whether something was too long. Panics
/// if more is kept than `options` say.
pub fn events(options: &EventsOptions, parts: &[&[u8]]) -> (Vec<Event>, bool) {
    let (mut parser, mut events) = (Parser::new(options, String::new()), Vec::new());
    for part in parts {
        let mut input = Bytes::copy_from_slice(part);
        loop {
            match parser.next_event(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return (events, true),
            }
        }
        // Of what is no UTF-8 each byte becomes three.
        assert!(parser.held() <= options.max_line + options.max_event, "{}", parser.held());
    }
    (events, false)
}

/// Whether a host is reached without a proxy; `None` if the list is none.
pub fn is_bypassed(list: &str, host: &str, port: u16) -> Option<bool> {
    Bypass::parse(list).ok().map(|bypass| bypass.covers(host, port))
}
