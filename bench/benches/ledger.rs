//! The ledger against `sharded-slab`, the fastest concurrent registry we know of.
//!
//! Each case is a criterion group, each subject a function in it, named so that
//! `cargo xtask bench ledger` can run them one at a time. Times are wall time per pair of a birth
//! and a death:
//!
//! - `pair_1thread`: one thread, one pair after the other;
//! - `pair_2threads`: two threads, each with pairs of its own, at the same time;
//! - `pair_cross_thread`: one thread gives birth, another ends; they hand over in batches;
//! - `snapshot_100k`: the ledger alone, for a slab cannot be read while others write to it.
//!
//! The slab's entry is as large as what the ledger notes, but its facts are constants: the slab
//! is spared reading the clock and the birth line.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use sharded_slab::Slab;
use staunch_ledger::{Account, Kind, Ledger, Obligation};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    compare(&mut criterion, "pair_1thread", one_thread, one_thread);
    compare(&mut criterion, "pair_2threads", two_threads, two_threads);
    compare(&mut criterion, "pair_cross_thread", across, across);
    snapshot(&mut criterion);
    criterion.final_summary();
}

/// Where things are entered at their birth and struck off at their death.
trait Registry: Sync {
    type Key: Send;

    fn birth(&self) -> Self::Key;
    fn death(&self, key: Self::Key);
}

impl Registry for Ledger {
    type Key = Account;

    fn birth(&self) -> Account {
        self.open(Kind::CONNECTION, Obligation::EndsWithParent)
    }

    fn death(&self, key: Account) {
        drop(key);
    }
}

/// What a ledger entry holds, as plain words.
type Facts = [u64; 6];

impl Registry for Slab<Facts> {
    type Key = usize;

    fn birth(&self) -> usize {
        self.insert([1; 6]).expect("the slab has room for one batch")
    }

    fn death(&self, key: usize) {
        self.remove(key);
    }
}

/// One case for both subjects, each as a function that times a number of pairs.
fn compare(
    criterion: &mut Criterion,
    case: &str,
    of_ledger: fn(&Ledger, u64) -> Duration,
    of_slab: fn(&Slab<Facts>, u64) -> Duration,
) {
    let ledger = Ledger::new();
    let slab = Slab::new();
    let mut group = criterion.benchmark_group(case);
    group.bench_function("staunch", |bencher| {
        bencher.iter_custom(|pairs| of_ledger(&ledger, pairs));
    });
    group.bench_function("sharded-slab", |bencher| {
        bencher.iter_custom(|pairs| of_slab(&slab, pairs));
    });
    group.finish();
}

fn live_and_die(registry: &impl Registry, pairs: u64) {
    for _ in 0..pairs {
        registry.death(black_box(registry.birth()));
    }
}

fn one_thread(registry: &impl Registry, pairs: u64) -> Duration {
    let start = Instant::now();
    live_and_die(registry, pairs);
    start.elapsed()
}

fn two_threads(registry: &impl Registry, pairs: u64) -> Duration {
    let both_start = Barrier::new(2);
    let mut start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            both_start.wait();
            live_and_die(registry, pairs);
        });
        both_start.wait();
        start = Instant::now();
        live_and_die(registry, pairs);
    });
    start.elapsed()
}

/// Keys handed over at a time, so that the hand-over is a small part of a pair.
const BATCH: u64 = 256;
/// Batches on their way to either side.
const BATCHES: usize = 4;

fn across<R: Registry>(registry: &R, pairs: u64) -> Duration {
    let (to_death, born) = sync_channel::<Vec<R::Key>>(BATCHES);
    let (to_birth, empty) = sync_channel::<Vec<R::Key>>(BATCHES);
    for _ in 0..BATCHES {
        to_birth.send(Vec::with_capacity(BATCH as usize)).expect("the receiver lives");
    }
    let both_start = Barrier::new(2);
    let mut start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            both_start.wait();
            for mut batch in born {
                batch.drain(..).for_each(|key| registry.death(key));
                to_birth.send(batch).expect("the receiver lives");
            }
        });
        both_start.wait();
        start = Instant::now();
        let mut left = pairs;
        while left > 0 {
            let mut batch = empty.recv().expect("the sender lives");
            let count = left.min(BATCH);
            batch.extend((0..count).map(|_| registry.birth()));
            to_death.send(batch).expect("the receiver lives");
            left -= count;
        }
        drop(to_death);
    });
    start.elapsed()
}

fn snapshot(criterion: &mut Criterion) {
    let ledger = Ledger::new();
    let live: Vec<Account> = (0..100_000).map(|_| ledger.birth()).collect();
    let mut group = criterion.benchmark_group("snapshot_100k");
    group.bench_function("staunch", |bencher| {
        bencher.iter(|| assert_eq!(ledger.snapshot().entries().len(), live.len()));
    });
    group.finish();
}
