//! Threads as text: `jcmd PID Thread.print`, `jstack PID`, and what a JVM writes on `kill -3`.
//!
//! # Design
//!
//! Line by line, one thread at a time; when it ends it joins the group of those with the same name
//! (digits left out), state and stack. Between two threads any text is passed over: a JVM writes its
//! dump between whatever else the program writes. Within one, a call that cannot be understood is
//! an error. Monitors and synchronizers become pointers ([`Monitor`]).
//!
//! A virtual thread has no state and no number of its own in these dumps, but for one that is
//! mounted: its stack is behind its carrier's (JDK 24 and later) and makes a thread of its own.
//!
//! Source: `JavaThread::print_on`, `print_stack_on` and `DeadlockCycle::print_on_with` in HotSpot, 8 to 25.

use std::{
    collections::{BTreeMap, HashMap},
    io::BufRead,
    sync::Arc,
};

use staunch_diagnosis::{
    Frame, Member, Monitor, Names, Pointer, Runtime, Snapshot, State, TaskGroup, Tasks, ThreadCount,
};

use super::{call, waiting};
use crate::source::text::{LinePlace, Lines, TextError};

/// What is read of one dump at most.
const THREADS_MAX: u64 = 500_000;
const FRAMES_MAX: usize = 4096;

/// The label under which a thread's name is kept, digits left out.
const NAME: &str = "thread";

/// What a thread dump tells.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadDump {
    /// Threads of Java.
    pub tasks: Tasks,
    /// All threads by name, those of the virtual machine included.
    pub threads: Vec<ThreadCount>,
}

impl From<ThreadDump> for Snapshot {
    fn from(dump: ThreadDump) -> Snapshot {
        let ThreadDump { tasks, threads } = dump;
        Snapshot { tasks: Some(tasks), threads: Some(threads), ..Snapshot::default() }
    }
}

/// Whether a text that begins so has a thread dump in it.
pub(crate) fn is_thread_dump(beginning: &[u8]) -> bool {
    let beginning = String::from_utf8_lossy(beginning);
    beginning.contains("Full thread dump ") || beginning.contains("java.lang.Thread.State: ")
}

/// When a dump that begins so was taken, as its line before `Full thread dump` says it: a number that is
/// larger in a later one.
pub(crate) fn thread_dump_time(beginning: &[u8]) -> Option<u64> {
    let beginning = String::from_utf8_lossy(beginning);
    let (before, _) = beginning.split_once("Full thread dump ")?;
    let time = before.lines().next_back()?; // 2026-11-28 13:59:24
    let is_time = time.len() == 19 && time.as_bytes().get(10) == Some(&b' ');
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    (is_time && digits.len() == 14).then(|| digits.parse().ok())?
}

/// Reads a thread dump of a JVM, JDK 8 to 25. Blocks as long as `reader` does.
///
/// ```
/// use staunch_doctor::source::jvm::read_thread_dump;
///
/// let text = "\"export\" #27 prio=5 os_prio=0 tid=0x00007f01 nid=0x1f waiting on condition\n   \
///     java.lang.Thread.State: WAITING (parking)\n\tat Exports.file(Exports.java:39)\n";
/// let dump = read_thread_dump(text.as_bytes())?;
/// assert_eq!(dump.tasks.groups[0].frames[0].line, 39);
/// assert_eq!(dump.tasks.groups[0].members[0].id, 27);
/// # Ok::<(), staunch_doctor::source::TextError>(())
/// ```
///
/// # Errors
/// [`TextError`]
pub fn read_thread_dump(reader: impl BufRead) -> Result<ThreadDump, TextError> {
    let mut lines = Lines::of(reader, "a thread dump");
    let mut dump = Dump::default();
    while let Some(line) = lines.next()? {
        dump.take(&line.text, line.place)?;
    }
    dump.finish().ok_or_else(|| lines.nothing())
}

/// What has been read so far.
#[derive(Default)]
struct Dump {
    names: Names,
    record: Option<Record>,
    groups: HashMap<Key, Vec<Member>>,
    /// Groups in the order in which they were seen first.
    order: Vec<Key>,
    threads: BTreeMap<String, u64>,
    count: u64,
    /// Who is called so: the last one of several.
    ids: HashMap<String, u64>,
    deadlock: Deadlock,
}

/// The thread at hand.
struct Record {
    id: Option<u64>,
    name: Arc<str>,
    state: String,
    frames: Vec<Frame>,
    pointers: Vec<Pointer>,
}

/// What makes two threads equal.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    name: Arc<str>,
    state: Arc<str>,
    frames: Arc<[Frame]>,
}

/// What the JVM says of a deadlock: who holds what somebody waits for.
#[derive(Default)]
struct Deadlock {
    is_found: bool,
    /// The object of the waiter at hand.
    object: Option<u64>,
    held: Vec<(String, u64)>,
}

impl Dump {
    fn take(&mut self, text: &str, place: LinePlace) -> Result<(), TextError> {
        if let Some(header) = Header::parse(text) {
            return self.begin(&header, place);
        }
        if self.record.is_some() && (text.is_empty() || text.starts_with([' ', '\t'])) {
            return self.take_within(text.trim_start(), place);
        }
        self.end_record();
        self.deadlock.take(text);
        Ok(())
    }

    fn begin(&mut self, header: &Header<'_>, place: LinePlace) -> Result<(), TextError> {
        self.end_record();
        self.count += 1;
        if self.count > THREADS_MAX {
            return Err(place.too_large("threads", THREADS_MAX));
        }
        let lasting = without_digits(header.name);
        let name = self.names.of(&lasting);
        *self.threads.entry(lasting).or_default() += 1;
        if let Some(id) = header.id {
            self.ids.insert(header.name.to_owned(), id);
        }
        self.record = Some(Record::new(header.id, name));
        Ok(())
    }

    fn take_within(&mut self, text: &str, place: LinePlace) -> Result<(), TextError> {
        if let Some(number) = text.strip_prefix("Mounted virtual thread #") {
            let id = number.parse().map_err(|_| place.malformed("expected a number", text))?;
            self.end_record();
            let name = self.names.of("virtual thread");
            self.record = Some(Record::new(Some(id), name));
            return Ok(());
        }
        let frame = match text.strip_prefix("at ") {
            Some(call) => {
                let call = call::parse(call);
                let call = call.ok_or_else(|| {
                    place.malformed("expected `at class.method(File.java:1)`", text)
                })?;
                Some(self.frame(&call))
            }
            None => None,
        };
        let Some(record) = &mut self.record else { return Ok(()) };
        match frame {
            Some(_) if record.frames.len() == FRAMES_MAX => {
                return Err(place.too_large("calls in a thread", FRAMES_MAX as u64));
            }
            Some(frame) => record.frames.push(frame),
            None => record.note(text),
        }
        Ok(())
    }

    fn frame(&mut self, call: &call::Call<'_>) -> Frame {
        let function = self.names.of(&call::lasting_name(call.function));
        Frame { function, file: self.names.of(call.file), line: call.line }
    }

    /// The thread at hand joins its group; those of the virtual machine have no stack, and no group.
    fn end_record(&mut self) {
        let Some(Record { id: Some(id), name, state, frames, pointers }) = self.record.take()
        else {
            return;
        };
        let key = Key { name, state: self.names.of(&state), frames: frames.into() };
        let members = self.groups.entry(key.clone()).or_default();
        if members.is_empty() {
            self.order.push(key);
        }
        members.push(Member { id, creator: None, waited: None, pointers });
    }

    fn finish(mut self) -> Option<ThreadDump> {
        self.end_record();
        if self.count == 0 {
            return None;
        }
        let mut groups: Vec<TaskGroup> = Vec::with_capacity(self.order.len());
        for key in self.order {
            let members = self.groups.remove(&key).unwrap_or_default();
            groups.push(group(key, members));
        }
        for (holder, object) in &self.deadlock.held {
            if let Some(id) = self.ids.get(holder) {
                hold(&mut groups, *id, *object);
            }
        }
        let deadlocked = self.deadlock.is_found;
        let threads = self.threads.into_iter();
        Some(ThreadDump {
            tasks: Tasks { runtime: Runtime::Jvm, groups, deadlocked },
            threads: threads.map(|(name, count)| ThreadCount { name, count }).collect(),
        })
    }
}

impl Record {
    fn new(id: Option<u64>, name: Arc<str>) -> Record {
        Record { id, name, state: String::new(), frames: Vec::new(), pointers: Vec::new() }
    }

    /// A line that is no call: the state, or what the call above has to do with an object.
    fn note(&mut self, text: &str) {
        if let Some(state) = text.strip_prefix("java.lang.Thread.State: ") {
            state.clone_into(&mut self.state);
            return;
        }
        let Some(lock) = text.strip_prefix("- ") else { return };
        let monitor = if lock.starts_with("locked ") || lock.starts_with('<') {
            Monitor::Held
        } else if lock.starts_with("waiting to lock ") || lock.starts_with("waiting to re-lock ") {
            Monitor::Entering
        } else if lock.starts_with("parking to wait for ") {
            Monitor::Parked
        } else if lock.starts_with("waiting on ") {
            Monitor::Waiting
        } else {
            return; // `- None`, or a lock that the compiler has done away with
        };
        let frame = self.frames.len().saturating_sub(1) as u16;
        if let Some(address) = call::address(lock) {
            self.pointers.push(monitor.pointer(frame, address));
        }
    }
}

impl Deadlock {
    /// `waiting to lock monitor 0x1 (object 0x2, a Account),` or `waiting for ownable synchronizer
    /// 0x2, (a ...),` and then `which is held by "name"`.
    fn take(&mut self, text: &str) {
        let text = text.trim_start();
        self.is_found |= text.starts_with("Found one Java-level deadlock");
        if let Some((_, object)) = text.split_once("(object ") {
            self.object = call::address(object);
        } else if let Some(object) = text.strip_prefix("waiting for ownable synchronizer ") {
            self.object = call::address(object);
        } else if let Some(rest) = text.strip_prefix("which is held by \"")
            && let Some(holder) = rest.strip_suffix('"')
            && let Some(object) = self.object.take()
            && self.is_found
        {
            self.held.push((holder.to_owned(), object));
        }
    }
}

/// Notes that a thread holds an object, unless its stack says so already.
fn hold(groups: &mut [TaskGroup], id: u64, object: u64) {
    let mut members = groups.iter_mut().flat_map(|group| &mut group.members);
    let Some(member) = members.find(|member| member.id == id) else { return };
    let held = Monitor::Held.pointer(0, object);
    let is_known = |it: &Pointer| it.value == object && Monitor::of(it) == Some(Monitor::Held);
    if !member.pointers.iter().any(is_known) {
        member.pointers.push(held);
    }
}

fn group(key: Key, members: Vec<Member>) -> TaskGroup {
    let Key { name, state: text, frames } = key;
    TaskGroup {
        state: State { waiting: waiting::waiting(&text, &frames), text },
        frames,
        birth: None,
        labels: vec![(NAME.to_owned(), name.to_string())],
        count: members.len() as u64,
        members,
    }
}

/// The first line of a thread.
struct Header<'a> {
    name: &'a str,
    /// Threads of the virtual machine have none.
    id: Option<u64>,
}

impl Header<'_> {
    /// Names may have quotes in them; nothing behind a name has.
    fn parse(text: &str) -> Option<Header<'_>> {
        let (name, rest) = text.strip_prefix('"')?.rsplit_once('"')?;
        if !rest.contains(" tid=0x") {
            return None;
        }
        let id = rest.strip_prefix(" #").and_then(|rest| rest.split(' ').next()?.parse().ok());
        Some(Header { name, id })
    }
}

/// A name by which threads are counted: those of a pool have numbers.
pub(crate) fn without_digits(name: &str) -> String {
    name.chars().filter(|it| !it.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests;
