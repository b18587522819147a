//! What the heap keeps of what was allocated while it was watched.
//!
//! Two profiles, both taken right behind a collection: what a line allocated between them and what of that is still
//! live. Traffic explains allocations; it does not explain that most of what was allocated is kept. So a site counts
//! if at least half of its new objects stayed, and it is told apart by what the program called: contexts, timers and
//! statements are small, but each that stays is one that nobody has ended.
//!
//! **Cannot**: tell a cache that fills up, or a list of the last thousand, from one without end: until it is full it
//! looks the same. What is small and of no kind that has to be ended is left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Frame, Heap, History, stack};

/// So many objects of one site have to stay: fewer are in use.
const OBJECTS_MIN: u64 = 10;

/// What the program called that allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// `context.WithCancel` and its like.
    Context,
    /// `time.AfterFunc`, a timer or a ticker.
    Timer,
    /// `database/sql`: a prepared statement.
    Statement,
    /// `database/sql`: a transaction.
    Transaction,
    /// `net/http`: a request.
    Request,
    /// A connection that it opened.
    Connection,
    /// Connections that were accepted, by itself or by a server that it runs.
    Accepted,
    /// A file that it opened.
    File,
    /// Anything else.
    Memory,
}

/// What a line of the program has allocated, by what it called for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Grown {
    /// Live objects of the site that keeps most bytes, at first and now: the largest part of what
    /// leaks is as a rule there once.
    pub(super) objects: (u64, u64),
    most_bytes: u64,
    /// Bytes that all sites keep more than at first.
    pub(super) bytes: u64,
    /// The types and functions of the program on the way to it.
    pub(super) owners: BTreeSet<String>,
}

/// What was allocated between two profiles, by use and line.
#[derive(Debug, Default)]
pub(super) struct Retained<'a> {
    pub(super) lines: BTreeMap<(Use, &'a Frame), Grown>,
    /// Bytes that are live now, whenever they were allocated.
    live: BTreeMap<(Use, &'a Frame), u64>,
    /// Bytes between two samples: less than a few of them are chance.
    pub(super) sampled_every: u64,
}

#[derive(Clone, Copy, Default)]
struct Values {
    live_bytes: u64,
    live_objects: u64,
    allocated_objects: u64,
}

/// What has grown between the first heap and the last; nothing if there are not two.
pub(super) fn retained(history: &History) -> Retained<'_> {
    let Some((first, last)) = ends(history) else { return Retained::default() };
    let (before, after) = (by_stack(first), by_stack(last));
    let then = |frames| before.get(frames).copied().unwrap_or_default();
    let busiest = busiest(&after, then);
    let mut retained =
        Retained { sampled_every: last.sampled_every.unwrap_or(1), ..Retained::default() };
    for (frames, now) in &after {
        let Some(origin) = origin(frames) else { continue };
        *retained.live.entry(origin).or_default() += now.live_bytes;
        let (then, most) = (then(frames), busiest.get(&origin).copied().unwrap_or(0));
        if is_kept(then, *now) && is_most(origin.0, then, *now, most) {
            retained.add(origin, then, *now, frames);
        }
    }
    retained
}

/// How many objects the busiest site of each line has made.
fn busiest<'a>(
    after: &BTreeMap<&'a [Frame], Values>,
    then: impl Fn(&'a [Frame]) -> Values,
) -> BTreeMap<(Use, &'a Frame), u64> {
    let mut busiest = BTreeMap::new();
    for (frames, now) in after {
        let Some(origin) = origin(frames) else { continue };
        let most: &mut u64 = busiest.entry(origin).or_default();
        *most = (*most).max(made(then(frames), *now));
    }
    busiest
}

impl<'a> Retained<'a> {
    fn add(&mut self, origin: (Use, &'a Frame), then: Values, now: Values, frames: &[Frame]) {
        let grown = self.lines.entry(origin).or_default();
        let bytes = now.live_bytes.saturating_sub(then.live_bytes);
        grown.bytes += bytes;
        if bytes > grown.most_bytes {
            grown.most_bytes = bytes;
            grown.objects = (then.live_objects, now.live_objects);
        }
        grown.owners.extend(stack::own_calls(frames).map(|it| stack::owner(&it.function)));
    }

    /// The line that keeps most of what was allocated for a use: of what is new, and if nothing was
    /// sampled while it was watched, of all.
    pub(super) fn line(&self, kind: Use) -> Option<&'a Frame> {
        let new = self.lines.iter().map(|(key, grown)| (*key, grown.bytes));
        let all = self.live.iter().map(|(key, bytes)| (*key, *bytes));
        most(new, kind).or_else(|| most(all, kind))
    }
}

fn most<'a>(lines: impl Iterator<Item = ((Use, &'a Frame), u64)>, kind: Use) -> Option<&'a Frame> {
    let lines = lines.filter(|((used, _), bytes)| *used == kind && *bytes > 0);
    lines.max_by_key(|(_, bytes)| *bytes).map(|((_, line), _)| line)
}

/// The first heap and the last.
pub(super) fn ends(history: &History) -> Option<(&Heap, &Heap)> {
    let mut heaps = history.instants().iter().filter_map(|it| it.snapshot.heap.as_ref());
    let first = heaps.next()?;
    Some((first, heaps.next_back()?))
}

fn by_stack(heap: &Heap) -> BTreeMap<&[Frame], Values> {
    let mut values = BTreeMap::<&[Frame], Values>::new();
    for site in &heap.sites {
        let sum = values.entry(&site.frames).or_default();
        sum.live_bytes += site.live_bytes;
        sum.live_objects += site.live_objects;
        sum.allocated_objects += site.allocated_objects;
    }
    values
}

/// Of a heap that does not say what was made (jemalloc's without `prof_accum`) nothing is known to be kept.
fn is_kept(then: Values, now: Values) -> bool {
    let (kept, made) = (now.live_objects.saturating_sub(then.live_objects), made(then, now));
    kept >= OBJECTS_MIN && made > 0 && 2 * kept >= made
}

/// Whether what is kept is some of what each call makes, and not what a library builds up beside it: the
/// busiest site makes a few objects a call.
fn is_most(kind: Use, then: Values, now: Values, busiest: u64) -> bool {
    kind == Use::Memory || PER_CALL_MAX * made(then, now) >= busiest
}

/// A library makes no more objects of one kind in one call.
const PER_CALL_MAX: u64 = 8;

fn made(then: Values, now: Values) -> u64 {
    now.allocated_objects.saturating_sub(then.allocated_objects)
}

/// The line of the program that an allocation is of, and what it called. What a database's driver
/// allocates is of whoever called `database/sql`.
pub(super) fn origin(frames: &[Frame]) -> Option<(Use, &Frame)> {
    let sql = frames.iter().rposition(|it| stack::package(&it.function) == "database/sql");
    let from = sql.map_or(0, |index| index + 1);
    let index = from + frames[from..].iter().position(|it| !stack::is_standard(&it.function))?;
    let called = index.checked_sub(1).map_or("", |index| &*frames[index].function);
    Some((use_of(called, &frames[..index]), &frames[index]))
}

fn use_of(called: &str, frames: &[Frame]) -> Use {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|it| called.starts_with(it));
    let opens = |function: &str| stack::calls(frames, function);
    if begins(&["context.WithCancel", "context.WithDeadline", "context.WithTimeout"]) {
        Use::Context
    } else if begins(&["time.AfterFunc", "time.NewT", "time.After", "time.Tick"]) {
        Use::Timer
    } else if called.starts_with("database/sql.") {
        of_database(called)
    } else if begins(&["net/http.(*Server).", "net/http.Serve", "net/http.ListenAndServe"]) {
        Use::Accepted
    } else if begins(&["net/http.(*Client).", "net/http.Get", "net/http.Post", "net/http.Head"]) {
        Use::Request
    } else if opens("net.newFD") {
        if called.contains("Accept") { Use::Accepted } else { Use::Connection }
    } else if opens("os.newFile") {
        Use::File
    } else {
        Use::Memory
    }
}

fn of_database(called: &str) -> Use {
    match called.rsplit('.').next() {
        Some("Prepare" | "PrepareContext") => Use::Statement,
        Some("Begin" | "BeginTx") => Use::Transaction,
        _ => Use::Memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(functions: &[&str]) -> Vec<Frame> {
        let frame = |it: &&str| Frame { function: (*it).into(), file: "a.go".into(), line: 1 };
        functions.iter().map(frame).collect()
    }

    fn check(functions: &[&str], used: Use, function: &str) {
        let frames = frames(functions);
        let (found, line) = origin(&frames).unwrap();
        assert_eq!((found, &*line.function), (used, function));
    }

    #[test]
    fn an_allocation_is_of_who_called_the_library() {
        check(&["context.WithCancel", "main.f"], Use::Context, "main.f");
        check(&["main.f", "main.g"], Use::Memory, "main.f");
        check(
            &[
                "driver.Prepare",
                "database/sql.(*DB).prepareDC",
                "database/sql.(*DB).Prepare",
                "main.f",
            ],
            Use::Statement,
            "main.f",
        );
        check(
            &[
                "context.WithCancel",
                "net/http.(*Transport).getConn",
                "net/http.(*Client).Get",
                "main.f",
            ],
            Use::Request,
            "main.f",
        );
        check(&["net.newFD", "net.socket", "net.Dial", "main.f"], Use::Connection, "main.f");
        check(&["net.newFD", "net.(*TCPListener).Accept", "main.f"], Use::Accepted, "main.f");
        check(&["os.newFile", "os.Open", "main.f"], Use::File, "main.f");
        assert_eq!(origin(&frames(&["net/http.(*conn).serve"])), None);
    }

    #[test]
    fn what_was_kept_before_names_a_line_as_well() {
        let site = crate::HeapSite {
            frames: frames(&["database/sql.(*DB).Begin", "main.place"]).into(),
            live_bytes: 4096,
            live_objects: 8,
            allocated_bytes: 4096,
            allocated_objects: 8,
        };
        let heap = Heap { sites: vec![site], ..Heap::default() };
        let snapshot = crate::Snapshot { heap: Some(heap), ..crate::Snapshot::default() };
        let mut history = History::single(snapshot.clone());
        history.add(std::time::Duration::from_secs(9), snapshot);
        let retained = retained(&history);
        assert!(retained.lines.is_empty(), "nothing is new");
        assert_eq!(&*retained.line(Use::Transaction).unwrap().function, "main.place");
        assert_eq!(retained.line(Use::Request), None);
    }

    #[test]
    fn only_what_stays_is_kept() {
        let values = |live_objects, allocated_objects| Values {
            live_bytes: 0,
            live_objects,
            allocated_objects,
        };
        assert!(is_kept(values(10, 10), values(30, 32)));
        assert!(!is_kept(values(10, 10), values(30, 100)), "most were freed");
        assert!(!is_kept(values(10, 10), values(15, 15)), "few");
        assert!(!is_kept(values(10, 0), values(30, 0)), "nobody counts what is made");
        assert!(is_most(Use::Context, values(0, 0), values(20, 20), 60));
        assert!(!is_most(Use::Context, values(0, 0), values(20, 20), 3_000), "beside the calls");
    }
}
