//! Server-sent events as they are read (HTML, 9.2.6). Pure: bytes in, events out.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::options::EventsOptions;
use crate::Event;

/// Reads one stream. What it keeps is less than a line and an event.
#[derive(Debug)]
pub(in crate::client) struct Parser {
    max_line: usize,
    max_event: usize,
    /// The line that has begun.
    line: Vec<u8>,
    /// The last line ended with a CR: an LF belongs to it.
    skips_lf: bool,
    /// A line has come: a byte order mark would be no mark any more.
    is_begun: bool,
    block: Block,
    last_id: String,
    pause: Option<Duration>,
}

/// What the lines of an event have said so far.
#[derive(Debug, Default)]
struct Block {
    name: String,
    id: Option<String>,
    retry: Option<Duration>,
    /// Its lines, each with an LF.
    data: Option<String>,
}

/// More than it may have.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) struct TooLong {
    pub(super) what: &'static str,
    pub(super) option: &'static str,
    pub(super) limit: usize,
}

impl Parser {
    /// For a stream that goes on after the event `last_id`, or from the start if that is empty.
    pub(in crate::client) fn new(options: &EventsOptions, last_id: String) -> Parser {
        Parser {
            max_line: options.max_line,
            max_event: options.max_event,
            line: Vec::new(),
            skips_lf: false,
            is_begun: false,
            block: Block::default(),
            last_id,
            pause: None,
        }
    }

    /// Forgets what has begun: the next bytes are those of a new stream.
    pub(super) fn restart(&mut self) {
        self.line = Vec::new();
        self.block = Block::default();
        (self.skips_lf, self.is_begun) = (false, false);
    }

    /// The id of the last event that has come; empty if none had one.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The pause that was asked for last.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// Bytes that it keeps.
    pub(in crate::client) fn held(&self) -> usize {
        self.line.len() + self.block.len()
    }

    /// Takes of `input` what it needs for an event; all of it if that is not enough.
    pub(in crate::client) fn next_event(
        &mut self,
        input: &mut Bytes,
    ) -> Result<Option<Event>, TooLong> {
        while let Some(&first) = input.first() {
            if std::mem::take(&mut self.skips_lf) && first == b'\n' {
                input.advance(1);
                continue;
            }
            let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let piece = input.split_to(end.unwrap_or(input.len()));
            if self.line.len() + piece.len() > self.max_line {
                return Err(TooLong { what: "a line", option: "max_line", limit: self.max_line });
            }
            self.line.extend_from_slice(&piece);
            if end.is_none() {
                return Ok(None);
            }
            self.skips_lf = input.get_u8() == b'\r';
            let line = std::mem::take(&mut self.line);
            let line = self.without_mark(&line);
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(line)?;
            }
        }
        Ok(None)
    }

    fn without_mark<'l>(&mut self, line: &'l [u8]) -> &'l [u8] {
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let marked = if is_first { line.strip_prefix(b"\xef\xbb\xbf") } else { None };
        marked.unwrap_or(line)
    }

    fn field(&mut self, line: &[u8]) -> Result<(), TooLong> {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match name {
            b"data" => {
                let data = self.block.data.get_or_insert_default();
                data.push_str(&value);
                data.push('\n');
            }
            b"event" => self.block.name = value.into_owned(),
            b"id" if can_be_sent(&value) => self.block.id = Some(value.into_owned()),
            b"retry" if is_number(&value) => {
                let pause = Duration::from_millis(value.parse().unwrap_or(u64::MAX));
                (self.block.retry, self.pause) = (Some(pause), Some(pause));
            }
            _ => {} // a comment, or what nobody knows
        }
        match self.max_event {
            limit if self.block.len() > limit => {
                Err(TooLong { what: "an event", option: "max_event", limit })
            }
            _ => Ok(()),
        }
    }

    /// An empty line ends an event; one without data is none, but its id counts.
    fn dispatch(&mut self) -> Option<Event> {
        let Block { name, id, retry, data } = std::mem::take(&mut self.block);
        if let Some(id) = &id {
            self.last_id.clone_from(id);
        }
        let mut data = data?;
        data.pop();
        let name = (!name.is_empty()).then(|| name.into());
        Some(Event { name, id: id.map(Into::into), retry, data: data.into() })
    }
}

impl Block {
    /// Without the LF after the last line.
    fn len(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| data.len() - 1);
        data + self.name.len() + self.id.as_ref().map_or(0, String::len)
    }
}

/// Whether an id can come back in a header (RFC 9110, 5.5). One that cannot is none: whoever asks again goes
/// on after the one before it.
fn can_be_sent(id: &str) -> bool {
    id.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parser: &mut Parser, text: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut input = Bytes::copy_from_slice(text);
        let mut events = Vec::new();
        while let Some(event) = parser.next_event(&mut input)? {
            events.push(event);
        }
        assert!(input.is_empty(), "what is no event is taken, too");
        Ok(events)
    }

    /// Name, id and data of each event, and the last id and the pause in milliseconds at the end.
    type Read<'t> = (&'t [(Option<&'t str>, Option<&'t str>, &'t str)], &'t str, Option<u64>);

    /// Reads the text whole, in two pieces split at every byte, and byte by byte.
    fn check(text: &str, expected: Read<'_>) {
        let same = |pieces: &[&[u8]]| {
            let mut parser = Parser::new(&EventsOptions::default(), String::new());
            let events: Vec<_> =
                pieces.iter().flat_map(|piece| all(&mut parser, piece).unwrap()).collect();
            let events: Vec<_> =
                events.iter().map(|event| (event.name(), event.id(), event.text())).collect();
            let pause = parser.pause().map(|pause| pause.as_millis() as u64);
            let found: Read<'_> = (&events, parser.last_id(), pause);
            assert_eq!(found, expected, "{text:?} in {pieces:?}");
        };
        let bytes = text.as_bytes();
        (0..=bytes.len()).for_each(|at| same(&[&bytes[..at], &bytes[at..]]));
        same(&bytes.chunks(1).collect::<Vec<_>>());
    }

    const A: (Option<&str>, Option<&str>, &str) = (None, None, "a");

    #[test]
    fn a_line_ends_as_it_will() {
        check("data: a\n\n", (&[A], "", None));
        check("data: a\r\r", (&[A], "", None));
        check("data: a\r\n\r\n", (&[A], "", None));
        check("data: a\n\r\ndata: a\r\n\rdata: a\r\n\n", (&[A, A, A], "", None));
        check("data: a\r\n\r\n\r\n\r\ndata: a\r\n\r\n", (&[A, A], "", None));
        check("data: a\n", (&[], "", None));
        check("data: a", (&[], "", None));
        check("", (&[], "", None));
    }

    #[test]
    fn a_mark_is_none_but_at_the_start() {
        check("\u{feff}data: a\n\n", (&[A], "", None));
        check("\u{feff}\ndata: a\n\n", (&[A], "", None));
        check("\u{feff}\u{feff}data: b\n\ndata: a\n\n", (&[A], "", None));
        check("\n\u{feff}data: b\n\ndata: a\n\n", (&[A], "", None));
        check("data: \u{feff}\n\n", (&[(None, None, "\u{feff}")], "", None));
    }

    #[test]
    fn fields_are_what_the_standard_says() {
        let data = |data| (None, None, data);
        check("data\n\n", (&[data("")], "", None));
        check("data:\n\n", (&[data("")], "", None));
        check("data\ndata\n\n", (&[data("\n")], "", None));
        check("data:a\n\n", (&[A], "", None));
        check("data:  a\n\n", (&[data(" a")], "", None));
        check("data: YHOO\ndata: +2\ndata: 10\n\n", (&[data("YHOO\n+2\n10")], "", None));
        check("data: a:b\n\n", (&[data("a:b")], "", None));
        check("data: \u{e4}\u{1f600}\n\n", (&[data("\u{e4}\u{1f600}")], "", None));
        check(":data: b\n: c\n:\n\ndata: a\n\n", (&[A], "", None));
        check("dat: b\nData: b\n data: b\n\ndata: a\n\n", (&[A], "", None));
        check("event: x\ndata: a\n\ndata: a\n\n", (&[(Some("x"), None, "a"), A], "", None));
        check("event: x\n\ndata: a\n\n", (&[A], "", None));
        check("event: x\nevent\ndata: a\n\n", (&[A], "", None));
    }

    #[test]
    fn an_id_that_cannot_be_sent_is_none() {
        for id in ["\0", "\u{1}", "a\u{1b}", "\u{7f}"] {
            check(&format!("id: 1\n\nid: {id}\ndata: a\n\n"), (&[A], "1", None));
        }
    }

    #[test]
    fn an_id_counts_when_its_event_has_come() {
        let with = |id| (None, Some(id), "a");
        check("id: 1\ndata: a\n\n", (&[with("1")], "1", None));
        check("id: 1\ndata: a\n\ndata: a\n\n", (&[with("1"), A], "1", None));
        check("id: 1\n\ndata: a\n\n", (&[A], "1", None));
        check("id: 1\ndata: a\n\nid: 2\ndata: b", (&[with("1")], "1", None));
        check("id: 1\ndata: a\n\nid\ndata: a\n\n", (&[with("1"), with("")], "", None));
        check("id: 1\nid: 2\0\ndata: a\n\n", (&[with("1")], "1", None));
        check("id: \u{e9} \t1\ndata: a\n\n", (&[with("\u{e9} \t1")], "\u{e9} \t1", None));
    }

    #[test]
    fn a_pause_is_a_number() {
        check("retry: 10\n\n", (&[], "", Some(10)));
        check("retry: 10\n", (&[], "", Some(10)));
        check("retry:010\ndata: a\n\nretry: 20\n", (&[A], "", Some(20)));
        for no in ["", " ", "-1", "+1", "1.5", "1s", "\u{661}"] {
            check(&format!("retry: 7\nretry: {no}\n\n"), (&[], "", Some(7)));
        }
        check("retry: 99999999999999999999999\n\n", (&[], "", Some(u64::MAX)));
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = Event::data("a\n\nb").named("n").unwrap().with_id("7").unwrap();
        let whole = whole.with_retry(Duration::from_millis(5));
        for event in [Event::data(""), Event::data("\n"), Event::data(" a"), whole] {
            let mut parser = Parser::new(&EventsOptions::default(), String::new());
            let read = all(&mut parser, event.encoded().as_bytes()).unwrap();
            assert_eq!(read, [event]);
            assert_eq!(parser.held(), 0);
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut parser = Parser::new(&EventsOptions::default(), String::new());
        let read = all(&mut parser, b"data: a\xff\xf0\x9f\n\n").unwrap();
        assert_eq!(read[0].text(), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_new_stream_begins_anew_but_for_its_place() {
        let mut parser = Parser::new(&EventsOptions::default(), "0".into());
        assert_eq!(parser.last_id(), "0");
        all(&mut parser, b"id: 1\nretry: 5\ndata: a\n\nid: 2\nevent: x\ndata: half").unwrap();
        parser.restart();
        let read = all(&mut parser, b"\xef\xbb\xbf\ndata: a\n\n").unwrap();
        assert_eq!(read, [Event::data("a")]);
        assert_eq!((parser.last_id(), parser.pause()), ("1", Some(Duration::from_millis(5))));
    }

    /// With lines of 8 bytes, and events of 12.
    fn check_bounds(text: &str, expected: Option<(&str, usize)>) {
        let options = EventsOptions { max_line: 8, max_event: 12, ..EventsOptions::default() };
        for size in [1, 3, text.len()] {
            let mut parser = Parser::new(&options, String::new());
            let mut pieces = text.as_bytes().chunks(size);
            let found = pieces.try_for_each(|piece| all(&mut parser, piece).map(drop));
            let found = found.err().map(|found| (found.what, found.limit));
            assert_eq!(found, expected, "{text:?} by {size}");
            assert!(parser.held() <= 8 + 12 + 8, "{}", parser.held());
        }
    }

    #[test]
    fn nothing_is_read_beyond_its_bound() {
        check_bounds("data: ab\n\n", None);
        check_bounds("data: abc\n\n", Some(("a line", 8)));
        check_bounds(":comment-without-end", Some(("a line", 8)));
        check_bounds("data:abc\ndata:abc\ndata:abc\n", None); // 11 with what is between them
        check_bounds("data:abc\ndata:abc\ndata:abc\ndata\n", None);
        check_bounds("data:abc\ndata:abc\ndata:abc\ndata:a\n", Some(("an event", 12)));
        check_bounds("event:ab\nid:abcd\ndata:abc\ndata:ab\n", None);
        check_bounds("event:ab\nid:abcde\ndata:abc\ndata:ab\n", Some(("an event", 12)));
        check_bounds(&"event:ab\n".repeat(9), None);
        check_bounds(&"data:abc\n\n".repeat(9), None);
    }
}
