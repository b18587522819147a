//! Models of the ledger's concurrent parts, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p staunch-ledger --release --test loom`.
//!
//! Loom misses orders of two threads around a load that the same thread follows with a store
//! (tokio-rs/loom issues 166 and 392), and the ledger is full of those. Two rules make up for it:
//! - A reader changes nothing, so what it can see is decided by which store each of its loads
//!   picks. It is spawned before the writer's work, and runs after it: loom then tries every
//!   store, and misses no order that makes a difference.
//! - Threads that all write pass a [`Gate`] between their steps, and loom tries every order of
//!   the passages.
#![cfg(loom)]

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use loom::{
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
};
use staunch_ledger::{Account, Entry, EntryId, Kind, Ledger, Obligation};

/// For models whose reader runs after their writer.
const NO_PREEMPTION: usize = 0;

/// For models whose threads all write. Eight take seven times as long and find no more.
const FIVE_PREEMPTIONS: usize = 5;

#[test]
fn a_reader_sees_an_entry_whole_or_not_at_all() {
    let seen = Seen::default();
    let note = seen.clone();
    explore(NO_PREEMPTION, move || {
        let ledger = Ledger::new();
        let parents = [1, 2].map(|_| ledger.open(Kind::SCOPE, Obligation::EndsWithParent));
        let ids = parents.each_ref().map(Account::id);
        let (handle, note) = (*ledger, note.clone());
        let reader = spawn(move || {
            let snapshot = handle.snapshot();
            let tenants = snapshot.entries().iter().filter(|entry| entry.kind() != Kind::SCOPE);
            tenants.for_each(|entry| note.add(check_tenant(entry, ids)));
        });
        drop(tenant(&parents[0], 1));
        drop(tenant(&parents[1], 2));
        join(reader);
    });
    assert_eq!(seen.all(), HashSet::from([1, 2]));
}

#[test]
fn a_reader_sees_an_entry_whole_whose_slot_is_freed_elsewhere() {
    explore(NO_PREEMPTION, || {
        let ledger = Ledger::new();
        let parents = [1, 2].map(|_| ledger.open(Kind::SCOPE, Obligation::EndsWithParent));
        let ids = parents.each_ref().map(Account::id);
        let ender = end_elsewhere([tenant(&parents[0], 1)], &Gate::default());
        let handle = *ledger;
        let reader = spawn(move || {
            let snapshot = handle.snapshot();
            let tenants = snapshot.entries().iter().filter(|entry| entry.kind() != Kind::SCOPE);
            tenants.for_each(|entry| _ = check_tenant(entry, ids));
        });
        join(ender);
        drop(tenant(&parents[1], 2));
        join(reader);
    });
}

#[test]
fn a_reader_sees_an_entry_whole_that_another_thread_changes() {
    explore(NO_PREEMPTION, || {
        let ledger = Ledger::new();
        let parents = [1, 2].map(|_| ledger.open(Kind::SCOPE, Obligation::EndsWithParent));
        let ids = parents.each_ref().map(Account::id);
        let handed_over = loom::sync::Arc::new(loom::sync::Mutex::new(None));
        let taken = handed_over.clone();
        let changer = spawn(move || {
            let second = taken.lock().expect("no panic holds it").take();
            second.iter().for_each(|second| change_tenant(second, 2));
            second // ends on the thread of its birth
        });
        let handle = *ledger;
        let reader = spawn(move || {
            let snapshot = handle.snapshot();
            let tenants = snapshot.entries().iter().filter(|entry| entry.kind() != Kind::SCOPE);
            tenants.for_each(|entry| _ = check_tenant(entry, ids));
        });
        drop(tenant(&parents[0], 1));
        let second = parents[1].child(tenant_kind(2), promise(2));
        *handed_over.lock().expect("no panic holds it") = Some(second);
        drop(join(changer));
        join(reader);
    });
}

/// Opens the `n`th tenant of a slot: each of its fields is told by `n`.
fn tenant(parent: &Account, n: u8) -> Account {
    let account = parent.child(tenant_kind(n), promise(n));
    change_tenant(&account, n);
    account
}

fn change_tenant(account: &Account, n: u8) {
    account.add_bytes(n.into());
    account.set_fd(n.into());
}

fn promise(n: u8) -> Obligation {
    Obligation::ProgressWithin(Duration::from_millis(n.into()))
}

fn tenant_kind(n: u8) -> Kind {
    if n == 1 { Kind::CONNECTION } else { Kind::BODY }
}

/// Whether an entry is one tenant in all of its fields, and which.
fn check_tenant(entry: &Entry, parents: [EntryId; 2]) -> u8 {
    let n = if entry.parent() == Some(parents[0]) { 1 } else { 2 };
    assert_eq!(entry.parent(), Some(parents[usize::from(n) - 1]), "{entry:?}");
    assert_eq!(entry.kind(), tenant_kind(n), "{entry:?}");
    assert_eq!(entry.obligation(), promise(n), "{entry:?}");
    // These come after birth.
    assert!([0, u64::from(n)].contains(&entry.bytes()), "{entry:?}");
    assert!([None, Some(i32::from(n))].contains(&entry.fd()), "{entry:?}");
    n
}

#[test]
fn a_child_that_ends_before_its_parent_is_never_an_orphan() {
    explore(NO_PREEMPTION, || {
        let ledger = Ledger::new();
        let parent = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
        let child = parent.child(Kind::TASK, Obligation::EndsWithParent);
        let handle = *ledger;
        let ender = end_elsewhere([child], &Gate::default());
        let reader = spawn(move || {
            for entry in handle.snapshot().entries() {
                assert!(!entry.is_orphan(), "{entry:?}");
            }
        });
        join(ender);
        drop(parent);
        join(reader);
    });
}

#[test]
fn a_reader_sees_one_of_the_labels_that_were_set() {
    // The first is none. Of one length, and two 8-byte words each, so that a mixture would look well.
    const TEXTS: [&str; 4] = ["", "one and only one", "two after two...", "three for three."];
    let seen = Seen::default();
    let note = seen.clone();
    explore(NO_PREEMPTION, move || {
        let ledger = Ledger::new();
        let (handle, note) = (*ledger, note.clone());
        let reader = spawn(move || {
            let snapshot = handle.snapshot();
            let label = snapshot.entries().first().map(|entry| entry.label().to_string());
            let known = label.map(|label| TEXTS.iter().position(|text| *text == label));
            note.add(known.map(|known| known.unwrap_or_else(|| panic!("a mixture: {snapshot:?}"))));
        });
        let account = ledger.open(Kind::BODY, Obligation::EndsWithParent);
        for text in &TEXTS[1..] {
            account.label(text);
        }
        join(reader);
    });
    assert_eq!(seen.all(), HashSet::from([None, Some(0), Some(1), Some(2), Some(3)]));
}

#[test]
fn a_slot_freed_elsewhere_comes_back_once() {
    explore(FIVE_PREEMPTIONS, || {
        let ledger = Ledger::new();
        let gate = Gate::default();
        let ender = end_elsewhere([open(*ledger), open(*ledger)], &gate);
        let mut live = Vec::new();
        for _ in 0..2 {
            gate.pass();
            live.push(open(*ledger));
        }
        gate.pass();
        join(ender);
        check_live(*ledger, &live);
        check_reuse(*ledger, live, 4);
    });
}

#[test]
fn slots_freed_by_two_threads_while_the_owner_takes_come_back_once() {
    explore(FIVE_PREEMPTIONS, || {
        let ledger = Ledger::new();
        let gate = Gate::default();
        let enders = [open(*ledger), open(*ledger)].map(|account| end_elsewhere([account], &gate));
        gate.pass();
        let live = vec![open(*ledger)];
        gate.pass();
        enders.into_iter().for_each(join);
        check_live(*ledger, &live);
        check_reuse(*ledger, live, 3);
    });
}

#[test]
fn a_shard_passes_whole_from_a_thread_that_ends_to_the_next() {
    explore(FIVE_PREEMPTIONS, || {
        let ledger = Ledger::new();
        let gate = Gate::default();
        let work = {
            let (ledger, gate) = (*ledger, gate.clone());
            move || {
                gate.pass();
                let kept = open(ledger);
                drop(open(ledger));
                gate.pass();
                kept
            }
        };
        let [first, second] = [spawn(work.clone()), spawn(work)];
        let from_first = join(first);
        gate.pass();
        drop(from_first); // into the shard that the second thread may have by now
        let from_second = join(second);
        check_live(*ledger, &[from_second]);
    });
}

fn open(ledger: Ledger) -> Account {
    ledger.open(Kind::CONNECTION, Obligation::EndsWithParent)
}

/// Ends the accounts, one after another, on a thread of their own.
fn end_elsewhere<const N: usize>(accounts: [Account; N], gate: &Gate) -> JoinHandle<()> {
    let gate = gate.clone();
    spawn(move || {
        for account in accounts {
            gate.pass();
            drop(account);
        }
        gate.pass();
    })
}

/// The ledger shows exactly these accounts, each once.
fn check_live(ledger: Ledger, accounts: &[Account]) {
    let mut expected: Vec<EntryId> = accounts.iter().map(Account::id).collect();
    let mut shown: Vec<EntryId> = ledger.snapshot().entries().iter().map(Entry::id).collect();
    expected.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, expected);
    shown.dedup();
    assert_eq!(shown, expected);
}

/// The births that follow fill every slot that was freed before they take a new one.
fn check_reuse(ledger: Ledger, mut live: Vec<Account>, slots: usize) {
    while live.len() < slots {
        live.push(open(ledger));
    }
    assert!(live.iter().all(|account| index(account) < slots), "{live:?}");
    check_live(ledger, &live);
}

/// The index of an account's slot, as its id shows it.
fn index(account: &Account) -> usize {
    let id = account.id().to_string();
    id.split('.').nth(1).and_then(|index| index.parse().ok()).expect("shard.index.generation")
}

/// A point that threads pass one at a time; it orders nothing that they do before and after.
#[derive(Clone)]
struct Gate(Arc<AtomicU32>);

impl Default for Gate {
    fn default() -> Gate {
        Gate(Arc::new(AtomicU32::new(0)))
    }
}

impl Gate {
    fn pass(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was seen in any iteration of a model, to prove that the model shows what it is about.
struct Seen<T>(Arc<Mutex<HashSet<T>>>);

impl<T> Default for Seen<T> {
    fn default() -> Seen<T> {
        Seen(Arc::default())
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Seen<T> {
        Seen(self.0.clone())
    }
}

impl<T: Hash + Eq + Clone> Seen<T> {
    fn add(&self, what: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    }

    fn all(&self) -> HashSet<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Explores `model`, with at most `preemptions` switches of thread that no thread asked for.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let model = Arc::new(model);
    builder.check(move || {
        let model = model.clone();
        join(spawn(move || model()));
    });
}

/// A thread with more stack than loom's 32 KiB, which some builds of these models overflow.
fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let words = (64 << 10) / size_of::<usize>();
    thread::Builder::new().stack_size(words).spawn(f).expect("a thread of the model")
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("the thread does not panic")
}
