//! Birth sites: the lines that open entries.
//!
//! A site is interned once and known by a small number. Looking it up is one read of a table
//! without locks, keyed by the address of the `Location` that `#[track_caller]` passes
//! ([`Addresses`]); only the first birth at an address takes the lock. Sites are as many as
//! there are calls in the program's source, so the table is bounded by the program itself, and
//! by [`MAX_SITES`].
//!
//! A site under suspicion can be *escalated*: from then on each birth there records a full
//! backtrace. Presence is free, the dear record is paid only where it is wanted.

use std::{
    backtrace::Backtrace,
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use crate::{addresses::Addresses, ledger::EntryId};

/// More call sites than this share one unnamed site. No program comes near: it would need a
/// million lines that open entries.
const MAX_SITES: usize = 1 << 20;
const PAGE: usize = 256;

/// Backtraces kept per escalated site: the latest births.
pub const MAX_BACKTRACES_PER_SITE: usize = 16;

/// A line that opens entries.
pub struct Site {
    location: &'static Location<'static>,
    escalated: AtomicBool,
    backtraces: Mutex<Vec<(EntryId, Arc<Backtrace>)>>,
}

impl Site {
    /// Where it is.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Whether births here record a backtrace.
    pub fn is_escalated(&self) -> bool {
        self.escalated.load(Ordering::Relaxed)
    }

    /// From now on, births here record a full backtrace (about 10 µs each); the latest
    /// [`MAX_BACKTRACES_PER_SITE`] are kept. Whether that is new.
    pub fn escalate(&self) -> bool {
        let new = !self.escalated.swap(true, Ordering::Relaxed);
        if new {
            ESCALATED.fetch_add(1, Ordering::Relaxed);
        }
        new
    }

    /// Stops recording and forgets what was recorded.
    pub fn calm(&self) {
        if self.escalated.swap(false, Ordering::Relaxed) {
            ESCALATED.fetch_sub(1, Ordering::Relaxed);
        }
        self.kept().clear();
    }

    /// The backtraces kept, with the entries born there.
    pub fn backtraces(&self) -> Vec<(EntryId, Arc<Backtrace>)> {
        self.kept().clone()
    }

    fn record(&self, id: EntryId) {
        let backtrace = Arc::new(Backtrace::force_capture());
        let mut kept = self.kept();
        if kept.len() == MAX_BACKTRACES_PER_SITE {
            kept.remove(0);
        }
        kept.push((id, backtrace));
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(EntryId, Arc<Backtrace>)>> {
        self.backtraces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sites are interned: each line has one.
impl PartialEq for Site {
    fn eq(&self, other: &Site) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Site {}

impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self).hash(state);
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.location)
    }
}

/// How many sites are escalated: births look at nothing else while it is zero.
static ESCALATED: AtomicU32 = AtomicU32::new(0);

type Page = [OnceLock<Site>; PAGE];
static PAGES: [OnceLock<Box<Page>>; MAX_SITES / PAGE] =
    [const { OnceLock::new() }; MAX_SITES / PAGE];

/// Numbers by the address of the `Location`.
static LOCATIONS: Addresses<{ 1 << 14 }> = Addresses::new();

/// Two `Location`s of one line may have different addresses, so the key is what they say.
type Key = (&'static str, u32, u32);
static NUMBERS: Mutex<Option<HashMap<Key, u32>>> = Mutex::new(None);

/// The number of a site.
#[inline]
pub(crate) fn number(location: &'static Location<'static>) -> u32 {
    LOCATIONS.get(address(location)).unwrap_or_else(|| intern(location))
}

fn address(location: &'static Location<'static>) -> usize {
    std::ptr::from_ref(location) as usize
}

#[cold]
fn intern(location: &'static Location<'static>) -> u32 {
    let key = (location.file(), location.line(), location.column());
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    let numbers = numbers.get_or_insert_default();
    if let Some(number) = numbers.get(&key) {
        LOCATIONS.put(address(location), *number);
        return *number;
    }
    let number = numbers.len().min(MAX_SITES - 1);
    let page = PAGES[number / PAGE].get_or_init(|| Box::new([const { OnceLock::new() }; PAGE]));
    page[number % PAGE].get_or_init(|| Site {
        location,
        escalated: AtomicBool::new(false),
        backtraces: Mutex::new(Vec::new()),
    });
    if numbers.len() < MAX_SITES {
        numbers.insert(key, number as u32);
    }
    LOCATIONS.put(address(location), number as u32);
    number as u32
}

/// The site of a number that [`number`] returned.
pub(crate) fn site(number: u32) -> &'static Site {
    let number = number as usize;
    PAGES[number / PAGE]
        .get()
        .and_then(|page| page[number % PAGE].get())
        .expect("a site's number is given out after the site is in its place")
}

/// Every site seen so far.
pub fn sites() -> impl Iterator<Item = &'static Site> {
    PAGES.iter().map_while(OnceLock::get).flat_map(|page| page.iter()).map_while(OnceLock::get)
}

/// Records a backtrace for a birth at an escalated site.
#[inline]
pub(crate) fn born(number: u32, id: impl FnOnce() -> EntryId) {
    if ESCALATED.load(Ordering::Relaxed) > 0 {
        record_if_escalated(number, id());
    }
}

#[cold]
fn record_if_escalated(number: u32, id: EntryId) {
    let site = site(number);
    if site.is_escalated() {
        site.record(id);
    }
}
