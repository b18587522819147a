//! Lines that a recording of a JVM's allocations knows, for findings that have none: a class histogram, descriptors
//! and sockets show that there are more and more, and not who made them.
//!
//! **Proves**: objects that the recording sampled, and that were live behind a full collection at its end, were
//! allocated on this line or in its function ([`Basis::Kept`]). Where no sampled object stayed, because what leaks is none (a folder's
//! stream is a descriptor alone) or was made by a thread of a library's (a connection of `java.net.http`), it proves
//! only that of all functions of the program this one alone was seen to open such things ([`Basis::OnlyOne`]).
//!
//! **Cannot**: see what was not sampled: one object in some hundred KiB is. So lines are added to what other rules
//! have found, and are no findings of their own; the counts decide whether there is a leak.

use std::collections::BTreeMap;

use crate::{Finding, Frame, History, Place, Sampled};

use super::threads::{is_own, own_call};

/// What the program made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Made {
    /// A connection that it opened.
    Connection,
    /// A connection that it accepted.
    Accepted,
    /// A file or a folder that it opened.
    File,
    /// A process, with its pipes.
    Pipe,
    /// A selector, which waits for descriptors.
    Selector,
    /// A thread, or a pool of them.
    Thread,
}

/// Why a line is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// So many of so many sampled objects that stayed were allocated in its function.
    Kept { here: u64, of: u64 },
    /// No other function of the program was seen to make such a thing, in so many samples.
    OnlyOne { samples: u64 },
}

/// A line of the program, and why it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    frame: &'a Frame,
    basis: Basis,
}

/// All samples of a history's last recording.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded<'a> {
    samples: &'a [Sampled],
}

impl<'a> Recorded<'a> {
    pub(super) fn of(history: &'a History) -> Recorded<'a> {
        let heaps = history.instants().iter().filter_map(|it| it.snapshot.heap.as_ref());
        let samples = heaps.map(|heap| &heap.samples[..]).rfind(|samples| !samples.is_empty());
        Recorded { samples: samples.unwrap_or_default() }
    }

    /// Where what becomes more was made.
    pub(super) fn line(&self, made: Made) -> Option<Origin<'a>> {
        let of = || self.samples.iter().filter(move |it| makes(it) == Some(made));
        let made = |it: &'a Sampled| Some((own_call(&it.frames)?, it.allocated + it.live));
        most_kept(of().map(|it| (own_call(&it.frames), it.live)))
            .or_else(|| only_one(of().filter_map(made)))
    }

    /// Gives a finding about what was made the line, if it is known and it has none.
    pub(super) fn name(&self, finding: &mut Finding, made: Made) {
        if let Some(origin) = self.line(made) {
            origin.name(finding);
        }
    }

    /// Where objects of a class were allocated that stayed. Small ones are seldom sampled: if none was,
    /// the line on which most of all that stayed was allocated, which is likely to be theirs.
    pub(super) fn line_of_class(&self, class: &str) -> Option<Origin<'a>> {
        let constructor = format!("{class}.<init>");
        let is_of = |it: &&Sampled| {
            it.class == class || it.frames.iter().any(|frame| *frame.function == *constructor)
        };
        let without = |frame: &&Frame| *frame.function != *constructor;
        let caller = |it: &'a Sampled| it.frames.iter().filter(without).find(|it| is_line(it));
        let exactly = self.samples.iter().filter(is_of).map(|it| (caller(it), it.live));
        let all = self.samples.iter().filter(|it| makes(it).is_none());
        most_kept(exactly).or_else(|| most_kept(all.map(|it| (own_call(&it.frames), it.live))))
    }
}

fn is_line(frame: &Frame) -> bool {
    frame.line > 0 && is_own(&frame.function)
}

/// Objects of each line, by function: what is made on several lines of one function is one mistake.
type Lines<'a> = BTreeMap<&'a str, BTreeMap<&'a Frame, u64>>;

fn by_function<'a>(lines: impl Iterator<Item = (&'a Frame, u64)>) -> Lines<'a> {
    let mut functions = Lines::new();
    for (frame, count) in lines.filter(|(_, count)| *count > 0) {
        *functions.entry(&frame.function).or_default().entry(frame).or_default() += count;
    }
    functions
}

/// The line with most objects of all that a function has.
fn busiest<'a>(lines: &BTreeMap<&'a Frame, u64>) -> Option<&'a Frame> {
    lines.iter().max_by_key(|(_, count)| **count).map(|(frame, _)| *frame)
}

/// The function that kept half of the objects or more, if it kept [`KEPT_MIN`]: its busiest line.
fn most_kept<'a>(lines: impl Iterator<Item = (Option<&'a Frame>, u64)>) -> Option<Origin<'a>> {
    /// One may be in use.
    const KEPT_MIN: u64 = 2;
    let functions = by_function(lines.filter_map(|(frame, live)| Some((frame?, live))));
    let of = functions.values().flat_map(BTreeMap::values).sum();
    let count = |lines: &BTreeMap<&Frame, u64>| lines.values().sum::<u64>();
    let most = functions.values().max_by_key(|lines| count(lines))?;
    let here = count(most);
    let is_most = here >= KEPT_MIN && 2 * here >= of;
    is_most.then(|| Some(Origin { frame: busiest(most)?, basis: Basis::Kept { here, of } }))?
}

/// The one function that has any: its busiest line.
fn only_one<'a>(lines: impl Iterator<Item = (&'a Frame, u64)>) -> Option<Origin<'a>> {
    let mut functions = by_function(lines);
    let (_, only) = functions.pop_first().filter(|_| functions.is_empty())?;
    let basis = Basis::OnlyOne { samples: only.values().sum() };
    Some(Origin { frame: busiest(&only)?, basis })
}

/// What the program made when this was allocated: what it called, or the object itself.
fn makes(sample: &Sampled) -> Option<Made> {
    let own = sample.frames.iter().position(is_line)?;
    let called = &sample.frames[..own];
    let is_called = |functions: &[&str]| {
        called.iter().any(|call| functions.iter().any(|it| is_named(&call.function, it)))
    };
    // What accepts makes the same objects as what connects.
    let found = CALLS.iter().find(|(_, functions)| is_called(functions)).map(|(made, _)| *made);
    found.or_else(|| {
        let is_itself = own == 0;
        CLASSES.iter().find(|(class, _)| is_itself && sample.class == *class).map(|it| it.1)
    })
}

/// Whether a function has a name, of which `*` is any end.
fn is_named(function: &str, name: &str) -> bool {
    name.strip_suffix('*').map_or(function == name, |beginning| function.starts_with(beginning))
}

/// By what is called for it, JDK 11 to 25; the first that matches.
const CALLS: [(Made, &[&str]); 6] = [
    (
        Made::Accepted,
        &[
            "java.net.ServerSocket.accept",
            "java.net.ServerSocket.implAccept",
            "sun.nio.ch.ServerSocketChannelImpl.accept",
        ],
    ),
    (
        Made::Connection,
        &[
            "java.net.Socket.<init>",
            "java.net.Socket.connect",
            "java.net.http.HttpClient.send*",
            "java.nio.channels.AsynchronousSocketChannel.open",
            "java.nio.channels.SocketChannel.open",
            "javax.net.DefaultSocketFactory.createSocket",
            "jdk.internal.net.http.HttpClientFacade.send*",
            "jdk.internal.net.http.HttpClientImpl.send*",
            "sun.net.www.protocol.http.HttpURLConnection.connect",
            "sun.net.www.protocol.http.HttpURLConnection.getInputStream*",
            "sun.nio.ch.SocketChannelImpl.<init>",
        ],
    ),
    (
        Made::File,
        &[
            "java.io.FileInputStream.<init>",
            "java.io.FileOutputStream.<init>",
            "java.io.RandomAccessFile.<init>",
            "java.nio.channels.FileChannel.open",
            "java.nio.file.Files.find",
            "java.nio.file.Files.lines",
            "java.nio.file.Files.list",
            "java.nio.file.Files.newBuffered*",
            "java.nio.file.Files.newByteChannel",
            "java.nio.file.Files.newDirectoryStream",
            "java.nio.file.Files.newInputStream",
            "java.nio.file.Files.newOutputStream",
            "java.nio.file.Files.walk",
            "java.util.zip.ZipFile.<init>",
        ],
    ),
    (Made::Pipe, &["java.lang.ProcessBuilder.start", "java.lang.Runtime.exec"]),
    (
        Made::Selector,
        &["java.nio.channels.Selector.open", "jdk.internal.net.http.HttpClientImpl.create"],
    ),
    (
        Made::Thread,
        &[
            "java.lang.Thread.<init>",
            "java.lang.Thread.start",
            "java.util.Timer.<init>",
            "java.util.concurrent.Executors.new*",
            "java.util.concurrent.ForkJoinPool.<init>",
            "java.util.concurrent.ThreadPoolExecutor.<init>",
            "java.util.concurrent.ThreadPoolExecutor.addWorker",
        ],
    ),
];

/// What is made by `new` on a line of the program.
const CLASSES: [(&str, Made); 6] = [
    ("java.io.FileInputStream", Made::File),
    ("java.io.FileOutputStream", Made::File),
    ("java.io.RandomAccessFile", Made::File),
    ("java.lang.Thread", Made::Thread),
    ("java.net.Socket", Made::Connection),
    ("java.util.concurrent.ThreadPoolExecutor", Made::Thread),
];

impl Origin<'_> {
    /// Makes the line that of a finding which has none.
    pub(super) fn name(self, finding: &mut Finding) {
        if finding.birth.is_some() {
            return;
        }
        let Frame { file, line, .. } = self.frame;
        finding.birth = Some(Place::from(self.frame));
        if let Some(cause) = &mut finding.cause {
            (cause.file, cause.line) = (Some(file.to_string()), Some(*line));
        }
        if let Some(fix) = &mut finding.fix {
            fix.text = format!("{} (made at {file}:{line})", fix.text);
            fix.places.push(Place::from(self.frame));
        }
        let function = &self.frame.function;
        finding.evidence.push(match self.basis {
            Basis::Kept { here, of } => format!(
                "recorded: of {of} sampled objects of its kind that stayed, {here} were allocated in {function}, most of them at {file}:{line}"
            ),
            Basis::OnlyOne { samples } => format!(
                "recorded: {function} is the only function of the program that was seen to make such things ({samples} samples, most of them at {file}:{line}); that it is the one that forgets is likely, and not proven"
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Heap, Snapshot};

    /// `function:line` each, innermost call first.
    fn sample(class: &str, calls: &[&str], allocated: u64, live: u64) -> Sampled {
        let frame = |call: &&str| {
            let (function, line) = call.split_once(':').unwrap_or((call, "0"));
            Frame { function: function.into(), file: "A.java".into(), line: line.parse().unwrap() }
        };
        let frames = calls.iter().map(frame).collect();
        Sampled { class: class.to_owned(), frames, allocated, live }
    }

    fn history(samples: Vec<Sampled>) -> History {
        let heap = Heap { samples, ..Heap::default() };
        History::single(Snapshot { heap: Some(heap), ..Snapshot::default() })
    }

    fn line(history: &History, made: Made) -> Option<(u32, bool)> {
        let origin = Recorded::of(history).line(made)?;
        Some((origin.frame.line, matches!(origin.basis, Basis::Kept { .. })))
    }

    const SOCKET: &str = "java.net.Socket.<init>:484";

    #[test]
    fn what_stayed_names_the_line_that_made_most_of_it() {
        let stayed = history(vec![
            sample("java.net.SocksSocketImpl", &[SOCKET, "Labels.print:26"], 0, 3),
            sample("java.net.Socket", &["Labels.print:26"], 0, 1),
            sample("java.net.Socket", &["Other.ask:9"], 40, 1),
            sample("Node", &["java.util.HashMap.put:12", "Labels.print:27"], 0, 9),
        ]);
        assert_eq!(line(&stayed, Made::Connection), Some((26, true)));
        assert_eq!(line(&stayed, Made::File), None);
        let pool = [("A.f:1", 1), ("A.f:2", 2), ("A.f:3", 1), ("B.g:2", 3)];
        let pool = pool.map(|(call, live)| sample("java.lang.Thread", &[call], 0, live));
        assert_eq!(line(&history(pool.to_vec()), Made::Thread), Some((2, true)), "one function");
        let even = [("A.f:1", 2), ("B.g:2", 2), ("C.h:3", 2)];
        let even = even.map(|(call, live)| sample("java.net.Socket", &[call], 0, live));
        assert_eq!(line(&history(even.to_vec()), Made::Connection), None, "three are as likely");
        let one = vec![sample("java.net.Socket", &["A.f:1"], 0, 1)];
        let found = line(&history(one), Made::Connection);
        assert_eq!(found, Some((1, false)), "one may be in use, and no other line connects");
    }

    #[test]
    fn what_left_no_object_is_named_if_one_line_alone_makes_such_things() {
        let list = |call| sample("byte[]", &["java.nio.file.Files.list:3", call], 5, 0);
        let lines = vec![list("A.f:7"), list("A.f:8"), list("A.f:8")];
        assert_eq!(line(&history(lines), Made::File), Some((8, false)), "one function");
        let only = vec![list("A.f:7"), sample("byte[]", &["A.f:8"], 50, 0)];
        assert_eq!(line(&history(only), Made::File), Some((7, false)));
        assert_eq!(line(&history(vec![list("A.f:7"), list("A.g:9")]), Made::File), None);
    }

    #[test]
    fn who_accepts_is_not_who_connects() {
        let calls = [SOCKET, "java.net.ServerSocket.accept:9", "A.serve:5"];
        let accepted = history(vec![sample("java.net.Socket", &calls, 3, 3)]);
        assert_eq!(line(&accepted, Made::Accepted), Some((5, true)));
        assert_eq!(line(&accepted, Made::Connection), None);
    }

    #[test]
    fn a_class_is_named_by_itself_by_its_constructor_or_by_its_company() {
        let check = |samples: Vec<Sampled>, expected| {
            let history = history(samples);
            let origin = Recorded::of(&history).line_of_class("Session");
            assert_eq!(origin.map(|it| it.frame.line), expected);
        };
        let company = || sample("byte[]", &["Sessions.work:28"], 0, 90);
        let other = || sample("byte[]", &["Sessions.log:40"], 0, 60);
        check(vec![company(), other(), sample("Session", &["Sessions.begin:5"], 0, 2)], Some(5));
        let within = ["Session.<init>:61", "Sessions.begin:5"];
        check(vec![company(), other(), sample("HashMap", &within, 0, 2)], Some(5));
        check(vec![company(), other()], Some(28));
        let third = sample("char[]", &["Sessions.read:50"], 0, 60);
        check(vec![company(), other(), third], None);
        check(vec![sample("byte[]", &["java.net.Socket.<init>:1", "A.f:2"], 0, 9)], None);
        check(Vec::new(), None);
    }
}
