//! Profiles as text (`?debug=1`): `goroutine profile: total 43`, `heap profile: 3: 4096 [..`.
//!
//! A line of counts and addresses, then a line for each call, then an empty one. Line by line; frames
//! are shared, samples are kept. A goroutine's calls within the runtime are left out by Go, and with
//! them most of what tells for what it waits: where it cannot be told, the state is `unknown`.
//!
//! Sources: `printCountProfile` and `writeHeapInternal` in Go's `runtime/pprof/pprof.go`; the scaling of
//! heap samples is `scaleHeapSample` of pprof's `legacy_profile.go`.

use std::io::{self, BufRead};

use staunch_diagnosis::{Frame, Heap, HeapSite, State, TaskGroup, Tasks};

use super::profile::status_of_visible_calls;
use super::waiting;
use crate::source::text::excerpt;

/// Why a profile in text could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextProfileError {
    /// Reading failed.
    #[error("cannot read the profile behind line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The first line is not that of the kind of profile that was asked for.
    #[error("expected `{wanted} profile:` in the first line, but it is `{text}`")]
    OtherKind {
        /// What was asked for.
        wanted: &'static str,
        /// The beginning of the line.
        text: String,
    },
    /// A line is not what Go writes there.
    #[error("line {line} is no part of a profile: {reason}, but it is `{text}`")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What was expected.
        reason: &'static str,
        /// The beginning of the line.
        text: String,
    },
    /// The profile is larger than the limit.
    #[error(
        "line {line}: the profile has more than {limit} bytes, which is the most that is read of one"
    )]
    TooLarge {
        /// The line at which the limit was passed.
        line: u64,
        /// The limit.
        limit: u64,
    },
}

/// Whether a text that begins so is a profile of goroutines.
pub(in crate::source) fn is_goroutine_text(beginning: &[u8]) -> bool {
    beginning.starts_with(b"goroutine profile: ")
}

/// Whether a text that begins so is a profile of a heap.
pub(in crate::source) fn is_heap_text(beginning: &[u8]) -> bool {
    beginning.starts_with(b"heap profile: ")
}

/// Reads a profile of goroutines as text (`/debug/pprof/goroutine?debug=1`) of at most `limit` bytes.
/// It knows neither ids nor births nor times. Blocks as long as `reader` does.
///
/// # Errors
///
/// [`TextProfileError`]: it cannot be read, is something else, or is too large.
pub fn read_goroutine_text(reader: impl BufRead, limit: u64) -> Result<Tasks, TextProfileError> {
    let mut groups = Vec::new();
    let mut lines = Lines::new(reader, limit);
    lines.header("goroutine")?;
    while let Some(sample) = lines.sample()? {
        let count = sample
            .counts
            .parse()
            .map_err(|_| lines.malformed("expected a count", &sample.counts))?;
        let status = status_of_visible_calls(&sample.frames).unwrap_or("unknown");
        let state =
            State { waiting: waiting::waiting(status, &sample.frames), text: status.into() };
        let frames = sample.frames.into();
        let (birth, labels, members) = (None, sample.labels, Vec::new());
        groups.push(TaskGroup { state, frames, birth, labels, count, members });
    }
    Ok(Tasks { groups, ..Tasks::default() })
}

/// Reads a heap profile as text (`/debug/pprof/heap?debug=1`) of at most `limit` bytes; values are
/// scaled up from what was sampled. Blocks as long as `reader` does.
///
/// # Errors
///
/// [`TextProfileError`]: it cannot be read, is something else, or is too large.
pub fn read_heap_text(reader: impl BufRead, limit: u64) -> Result<Heap, TextProfileError> {
    let mut lines = Lines::new(reader, limit);
    let header = lines.header("heap")?;
    // Go writes twice the rate, for the sake of old readers.
    let rate = header.rsplit_once("@ heap/").and_then(|(_, rate)| rate.parse::<u64>().ok());
    let sampled_every = rate.map(|rate| rate / 2).filter(|rate| *rate > 1);
    let mut sites = Vec::new();
    while let Some(sample) = lines.sample()? {
        let [live, allocated] = heap_counts(&sample.counts)
            .ok_or_else(|| lines.malformed("expected `1: 2 [3: 4]`", &sample.counts))?
            .map(|counts| scaled(counts, sampled_every));
        sites.push(HeapSite {
            frames: sample.frames.into(),
            live_objects: live.0,
            live_bytes: live.1,
            allocated_objects: allocated.0,
            allocated_bytes: allocated.1,
        });
    }
    Ok(Heap { sites, sampled_every, ..Heap::default() })
}

/// Objects and bytes, live and ever: `1: 1024 [2: 2048]`.
fn heap_counts(text: &str) -> Option<[(u64, u64); 2]> {
    let (live, allocated) = text.strip_suffix(']')?.split_once(" [")?;
    let pair = |text: &str| {
        let (objects, bytes) = text.split_once(": ")?;
        Some((objects.parse().ok()?, bytes.parse().ok()?))
    };
    Some([pair(live)?, pair(allocated)?])
}

/// What so many objects and bytes among the samples stand for: an object of `size` bytes is sampled
/// with the probability `1 - exp(-size / rate)`.
fn scaled((objects, bytes): (u64, u64), rate: Option<u64>) -> (u64, u64) {
    let Some(rate) = rate.filter(|_| objects > 0 && bytes > 0) else { return (objects, bytes) };
    let size = bytes as f64 / objects as f64;
    let scale = 1.0 / -(-size / rate as f64).exp_m1();
    let up = |value: u64| (value as f64 * scale).round();
    (to_count(up(objects)), to_count(up(bytes)))
}

#[expect(clippy::cast_sign_loss, reason = "counts are not below zero, and the cast saturates")]
fn to_count(value: f64) -> u64 {
    value as u64
}

/// A sample: its line of counts, and its calls.
struct Sample {
    counts: String,
    labels: Vec<(String, String)>,
    frames: Vec<Frame>,
}

struct Lines<R> {
    reader: io::Take<R>,
    limit: u64,
    line: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, limit: u64) -> Lines<R> {
        Lines { reader: reader.take(limit.saturating_add(1)), limit, line: 0, text: Vec::new() }
    }

    /// The next line, without its end; `None` at the end of the text.
    fn next(&mut self) -> Result<Option<String>, TextProfileError> {
        self.text.clear();
        let read = self.reader.read_until(b'\n', &mut self.text);
        let read = read.map_err(|source| TextProfileError::Read { line: self.line, source })?;
        self.line += 1;
        if self.reader.limit() == 0 {
            return Err(TextProfileError::TooLarge { line: self.line, limit: self.limit });
        }
        let text = String::from_utf8_lossy(&self.text);
        Ok((read > 0).then(|| text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// The first line, if it is of this kind of profile.
    fn header(&mut self, wanted: &'static str) -> Result<String, TextProfileError> {
        let text = self.next()?.unwrap_or_default();
        let rest = text.strip_prefix(wanted);
        if rest.is_none_or(|rest| !rest.starts_with(" profile: ")) {
            return Err(TextProfileError::OtherKind { wanted, text: excerpt(&text) });
        }
        Ok(text)
    }

    /// The next sample; `None` at the end, or where the figures of the whole heap begin.
    fn sample(&mut self) -> Result<Option<Sample>, TextProfileError> {
        let Some(first) = self.next_sample_line()? else { return Ok(None) };
        let Some((counts, _addresses)) = first.split_once(" @") else {
            return Err(self.malformed("expected counts, `@` and addresses", &first));
        };
        let mut sample =
            Sample { counts: counts.to_owned(), labels: Vec::new(), frames: Vec::new() };
        while let Some(text) = self.next()?.filter(|text| !text.is_empty()) {
            if let Some(labels) = text.strip_prefix("# labels: ") {
                sample.labels = super::header::parse_labels(labels);
                continue;
            }
            let frame = parse_call(&text);
            sample.frames.push(frame.ok_or_else(|| self.malformed("expected a call", &text))?);
        }
        Ok(Some(sample))
    }

    fn next_sample_line(&mut self) -> Result<Option<String>, TextProfileError> {
        loop {
            match self.next()? {
                Some(text) if text.is_empty() => {}
                Some(text) if text.starts_with("# ") => return Ok(None),
                other => return Ok(other),
            }
        }
    }

    fn malformed(&self, reason: &'static str, text: &str) -> TextProfileError {
        TextProfileError::Malformed { line: self.line, reason, text: excerpt(text) }
    }
}

/// `#`, an address, `main.f+0x1d` and `/a.go:12`, with one tab or more between; without symbols, the
/// address alone.
fn parse_call(text: &str) -> Option<Frame> {
    let mut columns = text.strip_prefix("#\t")?.split('\t').filter(|column| !column.is_empty());
    let address = columns.next()?.trim();
    let Some(call) = columns.next() else {
        return Some(Frame { function: address.into(), file: "".into(), line: 0 });
    };
    let function = call.rsplit_once("+0x").map_or(call, |(function, _)| function);
    let (file, line) = columns.next()?.rsplit_once(':')?;
    Some(Frame { function: function.into(), file: file.into(), line: line.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use staunch_diagnosis::Waiting;

    use super::*;

    const GOROUTINES: &str = "goroutine profile: total 7\n\
        5 @ 0x438196 0x44875e 0x463d81\n\
        # labels: {\"job\":\"import\"}\n\
        #\t0x4605c4\tsync.runtime_SemacquireMutex+0x24\t\truntime/sema.go:77\n\
        #\t0x4cadf3\tsync.(*Mutex).Lock+0x53\t\t\tsync/mutex.go:90\n\
        #\t0x4cadcf\tmain.(*Store).put+0x2f\t\t\tapp/main.go:43\n\
        \n\
        2 @ 0x43ef76\n\
        #\t0x180c805\tmain.run+0x405\tapp/main.go:12\n\n";

    const HEAP: &str = "heap profile: 3: 3145728 [10: 200] @ heap/1048576\n\
        1: 524288 [2: 1048576] @ 0x1 0x2\n\
        #\t0x1\tmain.fill+0x3\tapp/main.go:9\n\
        \n\
        0: 0 [1: 16] @ 0x3\n\
        #\t0x3\n\
        \n\
        # runtime.MemStats\n\
        # Alloc = 12\n";

    const LIMIT: u64 = 10_000;

    #[test]
    fn goroutines_are_read_with_their_counts_and_labels() {
        let tasks = read_goroutine_text(GOROUTINES.as_bytes(), LIMIT).unwrap();
        let [locked, other] = &tasks.groups[..] else { panic!("{tasks:?}") };
        assert_eq!((locked.count, locked.state.waiting), (5, Waiting::Lock));
        assert_eq!(locked.labels, [("job".to_owned(), "import".to_owned())]);
        assert_eq!((&*locked.frames[2].function, locked.frames[2].line), ("main.(*Store).put", 43));
        assert_eq!((other.count, other.state.waiting), (2, Waiting::Other));
        assert_eq!(&*other.frames[0].file, "app/main.go");
    }

    #[test]
    fn a_heap_is_scaled_up_from_its_samples() {
        let heap = read_heap_text(HEAP.as_bytes(), LIMIT).unwrap();
        assert_eq!(heap.sampled_every, Some(524_288));
        let site = &heap.sites[0];
        // An object as large as the rate is seen with 1 - 1/e: 63 of 100.
        assert_eq!((site.live_objects, site.live_bytes), (2, 829_411));
        assert_eq!((site.allocated_objects, site.allocated_bytes), (3, 1_658_823));
        let site = &heap.sites[1];
        assert_eq!((site.live_objects, site.live_bytes), (0, 0));
        assert_eq!((site.allocated_objects, site.allocated_bytes), (32_769, 524_296));
        assert_eq!(&*site.frames[0].function, "0x3");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |text: &str, expected: &str| {
            let error = read_goroutine_text(text.as_bytes(), LIMIT).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "expected `goroutine profile:` in the first line");
        check("<html>", "but it is `<html>`");
        check(HEAP, "but it is `heap profile: 3: 3145728");
        check("goroutine profile: total 1\nhello\n", "line 2");
        check("goroutine profile: total 1\nx @ 0x1\n#\t0x1\ta+0x1\tb:1\n", "expected a count");
        check("goroutine profile: total 1\n1 @ 0x1\n#\t0x1\tmain.f+0x1\tapp\n", "line 3");
        let error = read_heap_text("heap profile: x\n1: 2 @ 0x1\n".as_bytes(), LIMIT).unwrap_err();
        assert!(error.to_string().contains("expected `1: 2 [3: 4]`"), "{error}");
    }

    #[test]
    fn wherever_it_is_cut_nothing_panics() {
        for end in 0..GOROUTINES.len() {
            let _ = read_goroutine_text(&GOROUTINES.as_bytes()[..end], LIMIT);
            let _ = read_heap_text(&HEAP.as_bytes()[..end.min(HEAP.len())], LIMIT);
        }
    }

    #[test]
    fn what_does_not_end_is_refused() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let error = read_goroutine_text(endless, LIMIT).unwrap_err();
        assert!(matches!(error, TextProfileError::TooLarge { line: 1, limit: LIMIT }), "{error}");
    }
}
