//! Dumps of goroutines as text: `/debug/pprof/goroutine?debug=2`, the traceback of a panic, the
//! output of SIGQUIT.
//!
//! # Design
//!
//! Line by line, one goroutine at a time in a scratch record; when it ends it joins the group of
//! those with the same stack, birth, status and labels. So memory follows the number of *different*
//! stacks, and some bytes for each goroutine. Strings are kept once. Between two goroutines any
//! text is passed over (a panic's message, registers, `exit status 2`); within one, every line must
//! be understood.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use staunch_diagnosis::{Frame, Member, Pointer, State, TaskGroup, Tasks};

use super::{call, header, waiting};
use crate::source::text::excerpt;

/// What a dump may cost. The defaults take what a service of some hundred thousand goroutines
/// writes, and refuse what would not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoroutineDumpLimits {
    /// Bytes of the whole dump.
    pub bytes: u64,
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Goroutines.
    pub goroutines: u64,
    /// Calls of one goroutine; Go itself writes no more than about 100.
    pub frames: usize,
    /// Members of a group of whom addresses are kept.
    pub members_with_pointers: usize,
}

impl Default for GoroutineDumpLimits {
    fn default() -> GoroutineDumpLimits {
        GoroutineDumpLimits {
            bytes: 1 << 30,
            line_bytes: 64 << 10,
            goroutines: 4_000_000,
            frames: 1000,
            members_with_pointers: 1000,
        }
    }
}

/// Why a dump could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoroutineDumpError {
    /// Reading failed.
    #[error("cannot read the dump behind line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// A line within a goroutine is not what Go writes there.
    #[error("line {line} is no part of a goroutine dump: {reason}, but it is `{text}`")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What was expected.
        reason: &'static str,
        /// The beginning of the line.
        text: String,
    },
    /// The text ends within a goroutine.
    #[error(
        "the dump is cut off at line {line}, within goroutine {goroutine}: take it again and let \
         it be written to its end"
    )]
    CutOff {
        /// The last line.
        line: u64,
        /// The goroutine.
        goroutine: u64,
    },
    /// There is no goroutine in the text.
    #[error(
        "no goroutine in this text of {lines} lines, which begins with `{text}`: expected what \
         /debug/pprof/goroutine?debug=2, a panic or SIGQUIT writes"
    )]
    NoGoroutine {
        /// How many lines there are.
        lines: u64,
        /// The beginning of the first.
        text: String,
    },
    /// The dump is larger than a limit.
    #[error(
        "line {line}: the dump has more than {limit} {what}, which is the most that is read of one: {}",
        remedy(option)
    )]
    TooLarge {
        /// The line at which the limit was passed.
        line: u64,
        /// Of what there is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// The field of [`GoroutineDumpLimits`].
        option: &'static str,
    },
}

/// What somebody can do who has no limits to raise.
fn remedy(option: &str) -> &'static str {
    match option {
        "line_bytes" | "frames" => {
            "shorten it there, or save the profile of the same goroutines, /debug/pprof/goroutine, instead"
        }
        _ => {
            "save the profile of the same goroutines, /debug/pprof/goroutine, instead, in which those with \
             the same stack are one"
        }
    }
}

/// Reads a dump with the stacks of all goroutines (`debug=2`), a panic's traceback or the output of
/// SIGQUIT, of Go 1.19 or later. Blocks as long as `reader` does.
///
/// ```
/// use staunch_doctor::source::go::{GoroutineDumpLimits, read_goroutine_dump};
///
/// let dump = "goroutine 7 [chan send, 3 minutes]:\n\
///     main.produce(0xc000012340)\n\t/app/main.go:12 +0x1d\n\
///     created by main.main in goroutine 1\n\t/app/main.go:30 +0x4f\n";
/// let tasks = read_goroutine_dump(dump.as_bytes(), &GoroutineDumpLimits::default())?;
/// assert_eq!(tasks.groups[0].frames[0].line, 12);
/// assert_eq!(tasks.groups[0].members[0].creator, Some(1));
/// # Ok::<(), staunch_doctor::source::go::GoroutineDumpError>(())
/// ```
///
/// # Errors
///
/// [`GoroutineDumpError`]: it cannot be read, is no dump, ends too early or passes a limit.
pub fn read_goroutine_dump(
    mut reader: impl BufRead,
    limits: &GoroutineDumpLimits,
) -> Result<Tasks, GoroutineDumpError> {
    let mut dump = Dump::new(*limits);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = limits.line_bytes as u64 + 1;
        let read = io::Read::take(&mut reader, most)
            .read_until(b'\n', &mut line)
            .map_err(|source| GoroutineDumpError::Read { line: dump.line, source })?;
        if read == 0 {
            return dump.finish();
        }
        dump.take(&line)?;
    }
}

/// What has been read so far.
struct Dump {
    limits: GoroutineDumpLimits,
    line: u64,
    /// Whether the line at hand has an end: the last one of a dump that was cut off has none.
    is_whole: bool,
    bytes: u64,
    goroutines: u64,
    first_line: String,
    strings: Strings,
    record: Option<Record>,
    /// Frames and birth of the record at hand; kept so that their memory is used again.
    key: Key,
    pointers: Vec<Pointer>,
    groups: HashMap<Key, usize>,
    tasks: Tasks,
}

/// The goroutine at hand.
struct Record {
    id: u64,
    creator: Option<u64>,
    waited: Option<Duration>,
    next: Next,
}

/// What the next line of a record may be.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Call,
    PlaceOfCall,
    PlaceOfBirth,
}

/// What makes two goroutines equal; strings by their number.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Key {
    status: u32,
    frames: Vec<FrameKey>,
    birth: Option<FrameKey>,
    labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FrameKey {
    function: u32,
    file: u32,
    line: u32,
}

impl Dump {
    fn new(limits: GoroutineDumpLimits) -> Dump {
        Dump {
            limits,
            line: 0,
            is_whole: true,
            bytes: 0,
            goroutines: 0,
            first_line: String::new(),
            strings: Strings::default(),
            record: None,
            key: Key::default(),
            pointers: Vec::new(),
            groups: HashMap::new(),
            tasks: Tasks::default(),
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), GoroutineDumpError> {
        self.line += 1;
        self.is_whole = line.ends_with(b"\n");
        self.bytes += line.len() as u64;
        if line.len() > self.limits.line_bytes {
            return Err(self.too_large(
                "bytes in a line",
                self.limits.line_bytes as u64,
                "line_bytes",
            ));
        }
        if self.bytes > self.limits.bytes {
            return Err(self.too_large("bytes", self.limits.bytes, "bytes"));
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        if self.line == 1 {
            self.first_line = excerpt(text);
        }
        match &self.record {
            Some(_) if text.is_empty() => self.end_record(),
            Some(record) => self.take_within(record.next, text),
            None => self.take_between(text),
        }
    }

    fn take_between(&mut self, text: &str) -> Result<(), GoroutineDumpError> {
        if text.starts_with("fatal error: all goroutines are asleep - deadlock!") {
            self.tasks.deadlocked = true;
        }
        if !header::is_header(text) {
            return Ok(());
        }
        let header =
            header::parse(text).map_err(|reason| self.cut_off_or_malformed(reason, text))?;
        self.goroutines += 1;
        if self.goroutines > self.limits.goroutines {
            return Err(self.too_large("goroutines", self.limits.goroutines, "goroutines"));
        }
        self.key.status = self.strings.number(header.status);
        self.key.frames.clear();
        self.key.birth = None;
        self.key.labels = header.labels;
        self.pointers.clear();
        let (id, waited) = (header.id, header.waited);
        self.record = Some(Record { id, creator: None, waited, next: Next::Call });
        Ok(())
    }

    fn take_within(&mut self, next: Next, text: &str) -> Result<(), GoroutineDumpError> {
        let next = match next {
            Next::Call => self.take_call(text)?,
            Next::PlaceOfCall => {
                let (file, line) = self.place(text)?;
                if let Some(frame) = self.key.frames.last_mut() {
                    (frame.file, frame.line) = (file, line);
                }
                Next::Call
            }
            Next::PlaceOfBirth => {
                let (file, line) = self.place(text)?;
                if let Some(birth) = &mut self.key.birth {
                    (birth.file, birth.line) = (file, line);
                }
                Next::Call
            }
        };
        if let Some(record) = &mut self.record {
            record.next = next;
        }
        Ok(())
    }

    fn take_call(&mut self, text: &str) -> Result<Next, GoroutineDumpError> {
        if is_remark(text) {
            return Ok(Next::Call);
        }
        if let Some((function, creator)) = call::parse_birth(text) {
            let function = self.strings.number(function);
            self.key.birth = Some(FrameKey { function, file: 0, line: 0 });
            if let Some(record) = &mut self.record {
                record.creator = creator;
            }
            return Ok(Next::PlaceOfBirth);
        }
        let Some(call) = call::parse(text) else {
            return Err(self.cut_off_or_malformed("expected a call or `created by`", text));
        };
        if self.key.frames.len() == self.limits.frames {
            return Err(self.too_large(
                "calls in a goroutine",
                self.limits.frames as u64,
                "frames",
            ));
        }
        let frame = self.key.frames.len() as u16;
        let words = call::addresses(call.arguments);
        self.pointers.extend(words.map(|(argument, value, certain)| Pointer {
            frame,
            argument,
            certain,
            value,
        }));
        let function = self.strings.number(call.function);
        self.key.frames.push(FrameKey { function, file: 0, line: 0 });
        Ok(Next::PlaceOfCall)
    }

    fn place(&mut self, text: &str) -> Result<(u32, u32), GoroutineDumpError> {
        match call::parse_place(text) {
            Some((file, line)) => Ok((self.strings.number(file), line)),
            None => Err(self.cut_off_or_malformed("expected a tab and `file:line`", text)),
        }
    }

    /// The record at hand joins its group.
    fn end_record(&mut self) -> Result<(), GoroutineDumpError> {
        let Some(record) = self.record.take() else { return Ok(()) };
        if record.next != Next::Call {
            return Err(self.malformed("expected a tab and `file:line`", ""));
        }
        let index = match self.groups.get(&self.key) {
            Some(&index) => index,
            None => self.add_group(),
        };
        let group = &mut self.tasks.groups[index];
        let is_kept = group.members.len() < self.limits.members_with_pointers;
        let pointers = if is_kept { self.pointers.clone() } else { Vec::new() };
        let Record { id, creator, waited, .. } = record;
        group.count += 1;
        group.members.push(Member { id, creator, waited, pointers });
        Ok(())
    }

    fn add_group(&mut self) -> usize {
        let frames: Arc<[Frame]> =
            self.key.frames.iter().map(|frame| self.strings.frame(*frame)).collect();
        let text = self.strings.text(self.key.status);
        let state = State { waiting: waiting::waiting(&text, &frames), text };
        let birth = self.key.birth.map(|birth| self.strings.frame(birth));
        let labels = self.key.labels.clone();
        let index = self.tasks.groups.len();
        self.groups.insert(self.key.clone(), index);
        let members = Vec::new();
        self.tasks.groups.push(TaskGroup { state, frames, birth, labels, count: 0, members });
        index
    }

    fn finish(mut self) -> Result<Tasks, GoroutineDumpError> {
        if let Some(record) = &self.record {
            if record.next != Next::Call {
                return Err(GoroutineDumpError::CutOff { line: self.line, goroutine: record.id });
            }
            self.end_record()?;
        }
        if self.tasks.groups.is_empty() {
            return Err(GoroutineDumpError::NoGoroutine {
                lines: self.line,
                text: self.first_line,
            });
        }
        Ok(self.tasks)
    }

    /// A line that breaks off is the last one.
    fn cut_off_or_malformed(&self, reason: &'static str, text: &str) -> GoroutineDumpError {
        if self.is_whole {
            return self.malformed(reason, text);
        }
        let begun = text.split(' ').nth(1).and_then(|id| id.parse().ok());
        let goroutine = self.record.as_ref().map(|record| record.id).or(begun).unwrap_or_default();
        GoroutineDumpError::CutOff { line: self.line, goroutine }
    }

    fn malformed(&self, reason: &'static str, text: &str) -> GoroutineDumpError {
        GoroutineDumpError::Malformed { line: self.line, reason, text: excerpt(text) }
    }

    fn too_large(
        &self,
        what: &'static str,
        limit: u64,
        option: &'static str,
    ) -> GoroutineDumpError {
        GoroutineDumpError::TooLarge { line: self.line, what, limit, option }
    }
}

/// What Go writes in place of calls that it leaves out or cannot show.
fn is_remark(text: &str) -> bool {
    (text.starts_with("...") && text.ends_with("elided..."))
        || text.trim_start().starts_with("goroutine running on other thread")
        || text.starts_with("[originating from ")
}

/// Every string once.
#[derive(Default)]
struct Strings {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Strings {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    fn text(&self, number: u32) -> Arc<str> {
        Arc::clone(&self.texts[number as usize])
    }

    fn frame(&self, key: FrameKey) -> Frame {
        Frame { function: self.text(key.function), file: self.text(key.file), line: key.line }
    }
}

#[cfg(test)]
mod tests;
