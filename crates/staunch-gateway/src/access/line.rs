//! How a line looks.
//!
//! What clients have said is written so that it is always part of its own line and its own value.

use std::{cell::RefCell, fmt, io::Write as _, net::IpAddr, time::SystemTime};

use staunch_config::{AccessLog as AccessLogConfig, AccessLogFormat};
use time::OffsetDateTime;

use super::Entry;
use crate::forward::Failure;

/// Adds the line of `entry`.
pub(super) fn write(out: &mut Vec<u8>, entry: &Entry, config: &AccessLogConfig) {
    with_now(|now| match config.format {
        AccessLogFormat::Json => json(out, entry, now),
        AccessLogFormat::Text => text(out, entry, now),
    });
    out.push(b'\n');
}

/// The time, as lines have it. Its second is written anew once in that second.
struct Now {
    second: i64,
    /// `2026-11-29T00:18:44`
    iso: String,
    /// `29/Nov/2026:00:18:44 +0000`
    common: String,
    millis: u16,
}

thread_local! {
    static NOW: RefCell<Now> =
        const { RefCell::new(Now { second: -1, iso: String::new(), common: String::new(), millis: 0 }) };
}

fn with_now(work: impl FnOnce(&Now)) {
    let time = OffsetDateTime::from(SystemTime::now());
    NOW.with_borrow_mut(|now| {
        now.millis = time.millisecond();
        if now.second != time.unix_timestamp() {
            now.second = time.unix_timestamp();
            now.set(time);
        }
        work(now);
    });
}

impl Now {
    fn set(&mut self, time: OffsetDateTime) {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        let (hour, minute, second) = time.to_hms();
        self.iso = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        let month = MONTHS.get(usize::from(month) - 1).unwrap_or(&"");
        self.common = format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
    }
}

fn json(out: &mut Vec<u8>, entry: &Entry, now: &Now) {
    put(out, format_args!("{{\"time\":\"{}.{:03}Z\"", now.iso, now.millis));
    json_text(out, "listener", entry.listener().as_bytes());
    if let Some(client) = entry.client() {
        put(out, format_args!(",\"client\":\"{}\"", client.to_canonical()));
    }
    if let Some([method, host, path]) = entry.asked() {
        json_text(out, "method", method);
        json_text(out, "host", host);
        json_text(out, "path", path);
        json_text(out, "version", entry.version().as_bytes());
    }
    if let Some(status) = entry.status() {
        put(out, format_args!(",\"status\":{status}"));
    }
    put(out, format_args!(",\"received\":{},\"sent\":{}", entry.received, entry.sent));
    put(out, format_args!(",\"seconds\":{:.6}", entry.elapsed().as_secs_f64()));
    if let Some(first) = entry.first_byte {
        put(out, format_args!(",\"first_byte\":{:.6}", first.as_secs_f64()));
    }
    for (key, name) in ["route", "service", "server"].into_iter().zip(entry.names()) {
        if let Some(name) = name {
            json_text(out, key, name.as_bytes());
        }
    }
    put(out, format_args!(",\"tries\":{},\"end\":\"{}\"", entry.tries(), entry.end().name()));
    if let Some(failure) = entry.failure().map(Failure::name) {
        put(out, format_args!(",\"failure\":\"{failure}\""));
    }
    if let Some(trace) = entry.trace {
        put(out, format_args!(",\"trace\":\"{trace}\""));
    }
    for (name, value) in entry.headers() {
        json_text(out, name, value);
    }
    out.push(b'}');
}

fn json_text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    put(out, format_args!(",\"{key}\":\""));
    // JSON is text: bytes that are none become U+FFFD.
    for chunk in value.utf8_chunks() {
        escaped(out, chunk.valid(), |out, character| match character {
            '"' | '\\' => {
                out.push(b'\\');
                out.push(character as u8);
            }
            control => put(out, format_args!("\\u{:04x}", control as u32)),
        });
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// The Common Log Format, and the rest behind it.
fn text(out: &mut Vec<u8>, entry: &Entry, now: &Now) {
    put(out, format_args!("{} - - [{}] \"", Client(entry.client()), now.common));
    if let Some([method, _, path]) = entry.asked() {
        quoted(out, method);
        out.push(b' ');
        quoted(out, path);
        put(out, format_args!(" HTTP/{}", entry.version()));
    } else {
        out.push(b'-');
    }
    match entry.status() {
        Some(status) => put(out, format_args!("\" {status} {}", entry.sent)),
        None => put(out, format_args!("\" - {}", entry.sent)),
    }
    put(out, format_args!(" received={} seconds=", entry.received));
    put(out, format_args!("{:.6}", entry.elapsed().as_secs_f64()));
    if let Some(first) = entry.first_byte {
        put(out, format_args!(" first_byte={:.6}", first.as_secs_f64()));
    }
    put(out, format_args!(" listener={}", entry.listener()));
    if let Some([_, host, _]) = entry.asked() {
        text_value(out, "host", host);
    }
    for (key, name) in ["route", "service", "server"].into_iter().zip(entry.names()) {
        if let Some(name) = name {
            text_value(out, key, name.as_bytes());
        }
    }
    put(out, format_args!(" tries={} end={}", entry.tries(), entry.end().name()));
    if let Some(failure) = entry.failure().map(Failure::name) {
        put(out, format_args!(" failure={failure}"));
    }
    if let Some(trace) = entry.trace {
        put(out, format_args!(" trace={trace}"));
    }
    for (name, value) in entry.headers() {
        text_value(out, name, value);
    }
}

fn text_value(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    put(out, format_args!(" {key}=\""));
    quoted(out, value);
    out.push(b'"');
}

/// As nginx escapes: `\xXX`.
fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        escaped(out, chunk.valid(), |out, character| {
            put(out, format_args!("\\x{:02X}", character as u32));
        });
        for byte in chunk.invalid() {
            put(out, format_args!("\\x{byte:02X}"));
        }
    }
}

/// Adds `value`, in which `escape` writes quotes, backslashes and control characters.
fn escaped(out: &mut Vec<u8>, value: &str, escape: impl Fn(&mut Vec<u8>, char)) {
    let mut rest = value;
    let needs = |character: char| matches!(character, '"' | '\\') || character.is_control();
    while let Some((plain, character, after)) = rest.find(needs).and_then(|at| {
        let (plain, from) = rest.split_at_checked(at)?;
        let character = from.chars().next()?;
        Some((plain, character, from.get(character.len_utf8()..)?))
    }) {
        out.extend_from_slice(plain.as_bytes());
        escape(out, character);
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
}

fn put(out: &mut Vec<u8>, what: fmt::Arguments<'_>) {
    let _ = out.write_fmt(what); // to memory
}

struct Client(Option<IpAddr>);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(client) => client.to_canonical().fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use staunch_config::AccessLogTarget;
    use staunch_scope::TraceId;

    use super::*;
    use crate::{
        access::{AccessLog, Asking},
        reports::Reports,
        traces::Part,
    };

    /// The line of a request for `path`, whose `user-agent` is `agent`; without what differs each
    /// time.
    fn line(format: AccessLogFormat, path: &str, agent: &[u8]) -> String {
        let config = AccessLogConfig {
            to: AccessLogTarget::Stdout,
            format,
            one_in: NonZeroUsize::MIN,
            headers: vec!["user-agent".to_owned(), "referer".to_owned()],
            buffer: NonZeroUsize::new(1 << 20).unwrap(),
        };
        let log = Some(Arc::new(AccessLog::open(&config, 1).unwrap()));
        let reports = Reports { log, traces: None };
        let source = reports.source(0, "web", false).unwrap();
        let client = Some([10, 0, 0, 7].into());
        let asking = Asking { method: "GET", host: b"a.example", path, version: "1.1", client };
        let header = |name: &str| (name == "user-agent").then_some(agent);
        let part = Part::new(None, None, TraceId::random);
        let mut entry = Entry::request(&source, &asking, &part, header).unwrap();
        entry.answered(404);
        entry.moved(3, 5);
        let mut out = Vec::new();
        write(&mut out, &entry, &config);
        entry.forgo();
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn in_order(line: &str, parts: &[&str]) {
        let mut rest = line;
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else { panic!("{part} in {line}") };
            rest = after;
        }
        assert_eq!(rest, "\n", "{line}");
    }

    #[test]
    fn what_clients_say_stays_within_its_value() {
        let (path, agent) = ("/a\"b\\c\u{7f}\u{e9}", &b"x\xff\" status=200\r\ny"[..]);
        in_order(
            &line(AccessLogFormat::Json, path, agent),
            &[
                "{\"time\":\"20",
                "Z\",\"listener\":\"web\",\"client\":\"10.0.0.7\",\"method\":\"GET\",\
                 \"host\":\"a.example\",\"path\":\"/a\\\"b\\\\c\\u007f\u{e9}\",\"version\":\"1.1\",\
                 \"status\":404,\"received\":3,\"sent\":5,\"seconds\":0.",
                ",\"first_byte\":0.",
                ",\"tries\":0,\"end\":\"client\",\"user-agent\":\"x\u{fffd}\\\" status=200\\u000d\\u000ay\"}",
            ],
        );
        in_order(
            &line(AccessLogFormat::Text, path, agent),
            &[
                "10.0.0.7 - - [",
                " +0000] \"GET /a\\x22b\\x5Cc\\x7F\u{e9} HTTP/1.1\" 404 5 received=3 seconds=0.",
                " first_byte=0.",
                " listener=web host=\"a.example\" tries=0 end=client \
                 user-agent=\"x\\xFF\\x22 status=200\\x0D\\x0Ay\"",
            ],
        );
    }

    #[test]
    fn the_time_is_that_of_the_calendar() {
        let time = OffsetDateTime::from_unix_timestamp(1_772_323_199).unwrap();
        let mut now = Now { second: 0, iso: String::new(), common: String::new(), millis: 0 };
        now.set(time);
        assert_eq!(now.iso, "2026-02-28T23:59:59");
        assert_eq!(now.common, "28/Feb/2026:23:59:59 +0000");
    }
}
