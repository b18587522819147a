//! Which part of a file is asked for (RFC 9110, sections 13.1.5 and 14). Pure: headers in, a decision out.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

use hyper::{
    HeaderMap, Method, Request,
    header::{HeaderValue, IF_RANGE, RANGE},
};

/// What a request says of the part it wants.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    range: Option<HeaderValue>,
    if_range: Option<HeaderValue>,
}

/// What a file is at the moment: its length, and what tells it from what it was before.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) length: u64,
    pub(super) etag: String,
    pub(super) modified: Option<SystemTime>,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// From the first byte to the last, both included.
    Bytes(u64, u64),
    /// It has none of what is asked for.
    Beyond,
}

impl Asked {
    /// Only a `GET` has a range; a second one, or a second header, is too many.
    pub(super) fn of<Q>(request: &Request<Q>) -> Asked {
        let is_get = request.method() == Method::GET;
        let one = |name| one(request.headers(), name).filter(|_| is_get).cloned();
        Asked {
            is_head: request.method() == Method::HEAD,
            range: one(RANGE),
            if_range: one(IF_RANGE),
        }
    }

    /// The part of `version` that it asks for. What is no range is ignored, as is one of a version that
    /// is gone, and more than one: then it gets all.
    pub(super) fn part(&self, version: &Version, now: SystemTime) -> Part {
        let is_current = self.if_range.as_ref().is_none_or(|it| version.is(it, now));
        let range = self.range.as_ref().filter(|_| is_current);
        let range = range.and_then(|range| parse(range.to_str().ok()?));
        range.map_or(Part::Whole, |range| range.of(version.length))
    }
}

fn one(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

impl Version {
    pub(super) fn of(file: &Metadata) -> Version {
        let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
        let etag = format!("\"{seconds:x}.{nanoseconds:x}-{:x}-{:x}\"", file.len(), file.ino());
        Version { length: file.len(), etag, modified: file.modified().ok() }
    }

    /// When it was changed last, as a header says it: in whole seconds.
    pub(super) fn last_modified(&self) -> Option<String> {
        self.modified.filter(|at| *at >= SystemTime::UNIX_EPOCH).map(httpdate::fmt_http_date)
    }

    /// Whether an `If-Range` means this one: its tag, which is no weak one; or its date, unless it is so
    /// new that it may change again within the same second (RFC 9110, section 8.8.2.2).
    fn is(&self, if_range: &HeaderValue, now: SystemTime) -> bool {
        if if_range.as_bytes().starts_with(b"\"") {
            return if_range.as_bytes() == self.etag.as_bytes();
        }
        let is_old = self.modified.is_some_and(|modified| {
            now.duration_since(modified).is_ok_and(|age| age >= Duration::from_secs(1))
        });
        is_old && self.last_modified().is_some_and(|date| if_range.as_bytes() == date.as_bytes())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Range {
    fn of(&self, length: u64) -> Part {
        match *self {
            _ if length == 0 => Part::Beyond,
            Range::Last(0) => Part::Beyond,
            Range::Last(count) => Part::Bytes(length.saturating_sub(count), length - 1),
            Range::From(first) | Range::Between(first, _) if first >= length => Part::Beyond,
            Range::From(first) => Part::Bytes(first, length - 1),
            Range::Between(first, last) => Part::Bytes(first, last.min(length - 1)),
        }
    }
}

/// A single range of bytes; `None` if it is anything else.
fn parse(text: &str) -> Option<Range> {
    let (unit, range) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    match range.trim_matches([' ', '\t']).split_once('-')? {
        ("", count) => Some(Range::Last(number(count)?)),
        (first, "") => Some(Range::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Range::Between(first, last))
        }
    }
}

/// Digits; more than there can be bytes is as many as there can be.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: Duration = Duration::from_millis(1_000_000_000_500);

    fn version(length: u64) -> Version {
        let modified = Some(SystemTime::UNIX_EPOCH + MODIFIED);
        Version { length, etag: "\"a\"".into(), modified }
    }

    fn part(method: &str, headers: &[(&str, &str)], length: u64, age: Duration) -> Part {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let now = SystemTime::UNIX_EPOCH + MODIFIED + age;
        Asked::of(&request.body(()).unwrap()).part(&version(length), now)
    }

    /// The part of ten bytes.
    fn check(range: &str, expected: Part) {
        let found = part("GET", &[("range", range)], 10, Duration::ZERO);
        assert_eq!(found, expected, "{range:?}");
    }

    #[test]
    fn one_range_is_one_part() {
        check("bytes=0-0", Part::Bytes(0, 0));
        check("bytes=2-5", Part::Bytes(2, 5));
        check("Bytes= 2-5 ", Part::Bytes(2, 5));
        check("bytes=2-", Part::Bytes(2, 9));
        check("bytes=9-99999999999999999999999999", Part::Bytes(9, 9));
        check("bytes=-3", Part::Bytes(7, 9));
        check("bytes=-99", Part::Bytes(0, 9));
    }

    #[test]
    fn what_is_not_there_is_beyond() {
        check("bytes=10-", Part::Beyond);
        check("bytes=10-20", Part::Beyond);
        check("bytes=99999999999999999999999999-", Part::Beyond);
        check("bytes=-0", Part::Beyond);
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let found = part("GET", &[("range", range)], 0, Duration::ZERO);
            assert_eq!(found, Part::Beyond, "nothing has no part: {range}");
        }
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for no in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0x1-2",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes =1-2",
        ] {
            check(no, Part::Whole);
        }
        let range = ("range", "bytes=1-2");
        for (method, headers) in
            [("HEAD", &[range][..]), ("POST", &[range]), ("GET", &[range, range])]
        {
            assert_eq!(part(method, headers, 10, Duration::ZERO), Part::Whole, "{method}");
        }
    }

    fn check_if(if_range: &str, age: u64, expected: bool) {
        let headers = [("range", "bytes=1-2"), ("if-range", if_range)];
        let found = part("GET", &headers, 10, Duration::from_millis(age));
        assert_eq!(found == Part::Bytes(1, 2), expected, "{if_range}");
    }

    #[test]
    fn a_part_is_of_the_version_that_is_meant() {
        check_if("\"a\"", 0, true);
        check_if("\"b\"", 0, false);
        check_if("W/\"a\"", 0, false);
        check_if("Sun, 09 Sep 2001 01:46:40 GMT", 5_000, true);
        check_if("Sun, 09 Sep 2001 01:46:40 GMT", 400, false); // it may change within the second
        check_if("Sun, 09 Sep 2001 01:46:41 GMT", 5_000, false);
        check_if("Sun, 09 Sep 2001 01:46:39 GMT", 5_000, false);
        check_if("soon", 5_000, false);
    }
}
