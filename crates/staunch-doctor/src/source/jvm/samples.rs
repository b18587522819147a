//! What a recording of a JVM sampled, as `jfr print` writes it: `jdk.OldObjectSample` (objects that are live)
//! and `jdk.ObjectAllocationSample` (JDK 16 and later: allocations, whatever became of them).
//!
//! # Design
//!
//! Line by line, one event at a time; at its end it joins those of its class and stack. A line that says nothing of
//! these is passed over, for each JDK adds fields; a call that cannot be understood is an error. A recording knows
//! methods and lines and no files, so that a file is named after the outermost class, as Java demands of public ones
//! (and Kotlin does, behind `Kt`).
//!
//! Source: `PrettyWriter` in the JDK's `jdk.jfr.internal.tool`, 11 to 25.

use std::{collections::HashMap, io::BufRead};

use staunch_diagnosis::{Frame, Names, Sampled};

use super::call;
use crate::source::text::{LinePlace, Lines, TextError};

/// Objects that were allocated while it recorded, and are live.
pub(super) const LIVE: &str = "jdk.OldObjectSample";
/// Allocations.
pub(super) const ALLOCATED: &str = "jdk.ObjectAllocationSample";

/// What is read of one recording at most.
const EVENTS_MAX: u64 = 200_000;
const FRAMES_MAX: usize = 4096;

/// Reads the events of a recording. Blocks as long as `reader` does.
///
/// ```
/// use staunch_doctor::source::jvm::read_samples;
///
/// let text = "jdk.OldObjectSample {\n  object =  [\n    byte[8192]\n  ]\n  stackTrace = [\n    \
///     Sessions.work(HttpExchange) line: 28\n  ]\n}\n";
/// let samples = read_samples(text.as_bytes())?;
/// assert_eq!((&*samples[0].class, samples[0].live), ("byte[]", 1));
/// assert_eq!((&*samples[0].frames[0].file, samples[0].frames[0].line), ("Sessions.java", 28));
/// # Ok::<(), staunch_doctor::source::TextError>(())
/// ```
///
/// # Errors
/// [`TextError`]
pub fn read_samples(reader: impl BufRead) -> Result<Vec<Sampled>, TextError> {
    let mut lines = Lines::of(reader, "a recording");
    let mut samples = Samples::default();
    while let Some(line) = lines.next()? {
        samples.take(line.text.trim(), line.place)?;
    }
    Ok(samples.finish())
}

/// What makes two samples equal.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    class: String,
    frames: Vec<Frame>,
}

/// Where in an event the line at hand is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Fields,
    Object,
    Stack,
}

/// The event at hand.
struct Event {
    is_live: bool,
    part: Part,
    class: String,
    frames: Vec<Frame>,
}

/// What has been read so far.
#[derive(Default)]
struct Samples {
    names: Names,
    event: Option<Event>,
    events: u64,
    /// Allocated and live, by class and stack.
    counts: HashMap<Key, (u64, u64)>,
    /// In the order in which they were seen first.
    order: Vec<Key>,
}

impl Samples {
    fn take(&mut self, text: &str, place: LinePlace) -> Result<(), TextError> {
        if let Some(kind) = text.strip_suffix(" {") {
            return self.begin(kind, place);
        }
        let Some(event) = &mut self.event else { return Ok(()) };
        match (event.part, text) {
            (Part::Fields, "}") => self.end(),
            (Part::Object | Part::Stack, "]") => event.part = Part::Fields,
            (Part::Object, _) => event.object(text),
            (Part::Stack, "..." | "") => {}
            (Part::Stack, _) => {
                let frame = self.frame(text, place)?;
                self.push(frame, place)?;
            }
            (Part::Fields, _) => event.field(text),
        }
        Ok(())
    }

    fn begin(&mut self, kind: &str, place: LinePlace) -> Result<(), TextError> {
        self.event = None;
        if kind != LIVE && kind != ALLOCATED {
            return Ok(());
        }
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err(place.too_large("events", EVENTS_MAX));
        }
        let (class, frames) = (String::new(), Vec::new());
        self.event = Some(Event { is_live: kind == LIVE, part: Part::Fields, class, frames });
        Ok(())
    }

    /// `Sessions.work(HttpExchange) line: 28`
    fn frame(&mut self, text: &str, place: LinePlace) -> Result<Frame, TextError> {
        let malformed = || place.malformed("expected `class.method(...) line: 1`", text);
        let (function, rest) = text.split_once('(').ok_or_else(malformed)?;
        let line = match rest.rsplit_once(" line: ") {
            Some((_, line)) => line.split(' ').next().and_then(|line| line.parse().ok()),
            None => Some(0),
        };
        // A native method has none, or a negative one.
        let line = line.unwrap_or(0);
        let function = call::lasting_name(function.trim_end());
        let file = if line > 0 { file_of(&function) } else { String::new() };
        Ok(Frame { file: self.names.of(&file), function: self.names.of(&function), line })
    }

    fn push(&mut self, frame: Frame, place: LinePlace) -> Result<(), TextError> {
        let Some(event) = &mut self.event else { return Ok(()) };
        if event.frames.len() == FRAMES_MAX {
            return Err(place.too_large("calls of an event", FRAMES_MAX as u64));
        }
        event.frames.push(frame);
        Ok(())
    }

    fn end(&mut self) {
        let Some(Event { is_live, class, frames, .. }) = self.event.take() else { return };
        let key = Key { class, frames };
        if !self.counts.contains_key(&key) {
            self.order.push(key.clone());
        }
        let (allocated, live) = self.counts.entry(key).or_default();
        *(if is_live { live } else { allocated }) += 1;
    }

    /// An event that has no end was cut off, and is left out.
    fn finish(self) -> Vec<Sampled> {
        let Samples { counts, order, .. } = self;
        let samples = order.into_iter().map(|key| {
            let (allocated, live) = counts.get(&key).copied().unwrap_or_default();
            let Key { class, frames } = key;
            Sampled { class, frames: frames.into(), allocated, live }
        });
        samples.collect()
    }
}

impl Event {
    fn field(&mut self, text: &str) {
        let Some((name, value)) = text.split_once(" = ") else { return };
        let value = value.trim();
        match (name, value) {
            ("stackTrace", "[") => self.part = Part::Stack,
            ("object", "[") => self.part = Part::Object,
            ("objectClass" | "object", _) => self.class = class(value),
            _ => {}
        }
    }

    /// The first line is the object, and those behind it who refers to it.
    fn object(&mut self, text: &str) {
        if self.class.is_empty() {
            self.class = class(text);
        }
    }
}

/// `byte[]` of `byte[8192]`, `java.util.HashMap` of `java.util.HashMap Size: 2`.
fn class(text: &str) -> String {
    let name = text.split(' ').next().unwrap_or_default();
    let lengths = |it: &char| !it.is_ascii_digit();
    match name.split_once('[') {
        Some((element, rest)) => {
            format!("{element}[{}", rest.chars().filter(lengths).collect::<String>())
        }
        None => name.to_owned(),
    }
}

/// `Sessions.java` of `shop.Sessions$Session.begin`.
fn file_of(function: &str) -> String {
    let class = function.rsplit_once('.').map_or("", |(class, _)| class);
    let class = class.rsplit_once('.').map_or(class, |(_, class)| class);
    let outermost = class.split('$').next().unwrap_or(class);
    match outermost.strip_suffix("Kt") {
        Some(file) if !file.is_empty() => format!("{file}.kt"),
        _ => format!("{outermost}.java"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
jdk.OldObjectSample {
  startTime = 20:13:13.714
  objectAge = 7.47 s
  object =  [
    java.util.HashMap Size: 2
    table : java.util.HashMap$Node[32]
  ]
  arrayElements = N/A
  root = N/A
  eventThread = "pool-1-thread-1" (javaThreadId = 14)
  stackTrace = [
    java.util.HashMap.<init>(int) line: 12
    jdk.internal.misc.Unsafe.allocate(long)
    shop.Sessions$Store.begin(Map, int[]) line: 28
    ...
  ]
}

jdk.ObjectAllocationSample {
  objectClass = byte[] (classLoader = bootstrap)
  weight = 5.4 MB
  stackTrace = [
    a.B$$Lambda$15+0x01.run(Unknown) line: 3
  ]
}

jdk.CPULoad {
  stackTrace = [
    not to be understood
  ]
}
"#;

    #[test]
    fn events_are_counted_by_class_and_stack() {
        let samples = read_samples(TEXT.repeat(2).as_bytes()).unwrap();
        let [map, bytes] = &samples[..] else { panic!("{samples:?}") };
        assert_eq!((&*map.class, map.allocated, map.live), ("java.util.HashMap", 0, 2));
        let frames: Vec<_> =
            map.frames.iter().map(|it| (&*it.function, &*it.file, it.line)).collect();
        let expected = [
            ("java.util.HashMap.<init>", "HashMap.java", 12),
            ("jdk.internal.misc.Unsafe.allocate", "", 0),
            ("shop.Sessions$Store.begin", "Sessions.java", 28),
        ];
        assert_eq!(frames, expected);
        assert_eq!((&*bytes.class, bytes.allocated, bytes.live), ("byte[]", 2, 0));
        assert_eq!(&*bytes.frames[0].function, "a.B$$Lambda.run");
    }

    #[test]
    fn what_is_cut_off_empty_or_wrong_is_no_sample() {
        assert_eq!(read_samples(&b""[..]).unwrap(), []);
        let (cut, _) = TEXT.split_once("\n}").unwrap();
        assert_eq!(read_samples(cut.as_bytes()).unwrap(), []);
        let wrong = TEXT.replace("begin(", "begin ");
        let error = read_samples(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 15 is no part of a recording"), "{error}");
        let event = "jdk.OldObjectSample {\n}\n";
        let error = read_samples(event.repeat(200_001).as_bytes()).unwrap_err();
        assert!(matches!(error, TextError::TooLarge { limit: EVENTS_MAX, .. }), "{error}");
    }

    #[test]
    fn classes_and_files() {
        assert_eq!(class("byte[8192]"), "byte[]");
        assert_eq!(class("java.lang.Thread[4][2] x"), "java.lang.Thread[][]");
        assert_eq!(file_of("shop.MainKt.main"), "Main.kt");
        assert_eq!(file_of("Main$1.run"), "Main.java");
    }
}
