//! What a guard sees, and how it says so.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use staunch::{BoxError, Context, Kind, Ledger, channel::watch::RecvError, scope};
use staunch_guard::{
    Allocated, Allocator, Guard, GuardOptions, GuardOptionsError, Level, MemorySource, Priority,
    Usage, guards,
};

use tokio::sync::Notify;

use crate::support::{Memory, raise_open_files, until, with_guard};

fn said() -> Vec<String> {
    let observations = Ledger::current().observations();
    observations.into_iter().filter(|it| it.rule == "pressure").map(|it| it.text).collect()
}

#[staunch::test(start_paused = true)]
async fn each_change_is_said_once_and_counted() {
    let memory = Memory::default();
    with_guard(memory.options(), async |guard, _| {
        for (bytes, level) in
            [(76, Level::Warn), (91, Level::Shed), (96, Level::Refuse), (10, Level::Normal)]
        {
            memory.set(bytes);
            until(&guard, level).await;
            tokio::time::sleep(Duration::from_secs(11)).await; // many looks more
        }
        let said = said();
        assert_eq!(said.len(), 4, "{said:#?}");
        assert!(said[0].starts_with("guard: normal -> warn: "), "{said:#?}");
        assert!(said[1].contains("(91.0 %); shed begins at 90 %"), "{said:#?}");
        assert!(said[3].starts_with("guard: refuse -> normal: "), "{said:#?}");
        assert_eq!(guard.status().level_began.map(|(_, count)| count), [1; 4]);
    })
    .await;
}

/// Up and down, twice a second: worse is said at once, the rest when it is over.
#[staunch::test(start_paused = true)]
async fn a_load_that_goes_up_and_down_does_not_fill_the_log() {
    let memory = Memory::default();
    with_guard(memory.options(), async |guard, _| {
        for bytes in [91, 0, 80, 0, 91, 0, 97, 0, 80, 0] {
            memory.set(bytes);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let early = said();
        let [shed, refuse] = &early[..] else { panic!("{early:#?}") };
        assert!(shed.contains("normal -> shed") && refuse.contains("shed -> refuse"), "{early:?}");
        assert!(refuse.contains("(97.0 %), after 6 changes; refuse begins at 95 %"), "{refuse}");
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(said()[2].contains("refuse -> normal: "), "{:#?}", said());
        assert_eq!(said().len(), 3);
        assert_eq!(guard.status().level_began.map(|(_, count)| count), [5, 2, 2, 1]);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn the_first_look_is_taken_at_once_and_the_next_in_time() {
    let memory = Memory::default();
    memory.set(97);
    with_guard(memory.options(), async |guard, _| {
        assert_eq!(guard.level(), Level::Refuse);
        memory.set(0);
        let mut levels = guard.watch();
        let begun = tokio::time::Instant::now();
        levels.changed().await.unwrap();
        assert_eq!(levels.latest(), Level::Normal);
        assert!(begun.elapsed() <= GuardOptions::default().interval, "{:?}", begun.elapsed());
    })
    .await;
}

/// Memory that is looked at, and how often.
#[derive(Clone)]
struct Counted {
    used: Arc<AtomicU64>,
    looks: Arc<AtomicU64>,
    limit: u64,
}

impl Counted {
    fn new(limit: u64) -> Counted {
        Counted { used: Arc::new(AtomicU64::new(1)), looks: Arc::default(), limit }
    }

    /// What a request takes is nothing.
    fn options(&self) -> GuardOptions {
        let memory: Option<Arc<dyn MemorySource>> = Some(Arc::new(self.clone()));
        GuardOptions { memory, request_bytes: 0, request_fds: 0, ..Default::default() }
    }

    fn set(&self, bytes: u64) {
        self.used.store(bytes, Ordering::SeqCst);
    }

    fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    async fn looks_in(&self, time: Duration) -> u64 {
        let before = self.looks();
        tokio::time::sleep(time).await;
        self.looks() - before
    }
}

impl MemorySource for Counted {
    fn usage(&self) -> Usage {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Usage { bytes: self.used.load(Ordering::SeqCst), limit: Some(self.limit) }
    }
}

/// Looks are rare while nobody asks and nothing is near a mark, and only then.
#[staunch::test(start_paused = true)]
async fn a_guard_that_nobody_asks_rests() {
    let memory = Counted::new(100);
    with_guard(memory.options(), async |guard, _| {
        let in_ten_seconds = async || memory.looks_in(Duration::from_secs(10)).await;
        let looked = in_ten_seconds().await;
        assert!((30..=50).contains(&looked), "a second of 20, nine of 2: {looked}");
        let looked = in_ten_seconds().await;
        assert!((18..=22).contains(&looked), "{looked}");
        assert!(guard.status().rests);
        let admission = guard.admit(Priority::Normal).unwrap();
        let looked = in_ten_seconds().await;
        assert!((195..=205).contains(&looked), "one is in flight: {looked}");
        drop(admission);
        in_ten_seconds().await;
        memory.set(40); // of 70 that matter
        let looked = in_ten_seconds().await;
        assert!((185..=205).contains(&looked), "not far from a mark: {looked}");
    })
    .await;
}

/// Whoever asks: what is left to the lowest mark would not be taken until the next look.
#[staunch::test(start_paused = true)]
async fn looks_are_rare_far_from_all_marks() {
    const GIB: u64 = 1 << 30;
    raise_open_files();
    let memory = Counted::new(4 * GIB);
    with_guard(memory.options(), async |guard, _| {
        let _admission = guard.admit(Priority::Normal).unwrap();
        let looked = memory.looks_in(Duration::from_secs(11)).await;
        assert!((58..=64).contains(&looked), "a second of 20, ten of 4: {looked}");
        assert_eq!((guard.status().rests, guard.status().looks_every.as_millis()), (false, 250));
        memory.set(3 * GIB / 2);
        let looked = memory.looks_in(Duration::from_secs(10)).await;
        assert!((193..=205).contains(&looked), "not far from a mark: {looked}");
    })
    .await;
    assert_eq!(memory.looks_in(Duration::from_secs(1)).await, 0);
    let memory = Counted::new(GIB / 4);
    with_guard(memory.options(), async |guard, _| {
        let _admission = guard.admit(Priority::Normal).unwrap();
        let looked = memory.looks_in(Duration::from_secs(10)).await;
        assert!((195..=205).contains(&looked), "little is left, if little is used: {looked}");
    })
    .await;
}

/// The next look is due in 250 ms.
#[staunch::test(start_paused = true)]
async fn a_burst_that_takes_half_of_the_room_is_looked_at() {
    raise_open_files();
    let memory = Counted::new(4 << 30);
    let options = GuardOptions { request_bytes: 64 << 20, ..memory.options() }; // 60 find room
    with_guard(options, async |guard, _| {
        let admit = |count| -> Vec<_> {
            (0..count).map(|_| guard.admit(Priority::Normal).unwrap()).collect()
        };
        let first = admit(1);
        memory.looks_in(Duration::from_secs(2)).await;
        let burst = admit(29);
        let short = Duration::from_millis(1);
        let looked = memory.looks_in(short).await + memory.looks_in(short).await;
        assert_eq!(looked, 0, "half is left");
        let more = admit(5);
        assert_eq!(memory.looks_in(short).await, 1);
        let looked = memory.looks_in(Duration::from_millis(250)).await;
        assert!((4..=5).contains(&looked), "for a while it looks as if a mark were near: {looked}");
        drop((first, burst, more));
    })
    .await;
}

/// Whoever waits for a change learns that there will be none, and nothing is refused for ever.
#[staunch::test(start_paused = true)]
async fn a_guard_whose_scope_has_stopped_refuses_nothing() {
    let memory = Memory::default();
    memory.set(97);
    let options = memory.options();
    let ended = scope(&Context::current(), |s| async move {
        let guard = Guard::start(&s, options)?;
        s.stop();
        Ok::<_, BoxError>((guard.watch(), guard))
    });
    let (mut levels, guard) = ended.await.unwrap();
    assert_eq!(guard.level(), Level::Normal);
    assert!(guard.admit(Priority::default()).is_ok());
    levels.changed().await.unwrap();
    assert_eq!(levels.latest(), Level::Normal);
    assert!(matches!(levels.changed().await, Err(RecvError::Closed)));
    assert!(matches!(guard.watch().changed().await, Err(RecvError::Closed)));
}

#[staunch::test]
async fn a_thread_of_its_own_sees_the_same_and_reacts() {
    let (memory, shrunk) = (Memory::default(), Arc::new(Notify::new()));
    let options = GuardOptions { own_thread: true, ..memory.options() };
    with_guard(options, async |guard, _| {
        let shrinks = Arc::clone(&shrunk);
        let _registered = guard.on(Level::Shed, "test", move |_| shrinks.notify_one());
        for (bytes, level) in [(76, Level::Warn), (96, Level::Refuse), (10, Level::Normal)] {
            memory.set(bytes);
            until(&guard, level).await;
        }
        memory.set(91);
        let shrunk = tokio::time::timeout(Duration::from_secs(20), shrunk.notified()).await;
        shrunk.expect("what is registered runs");
    })
    .await;
}

/// However long it would sleep.
#[staunch::test]
async fn a_thread_of_its_own_ends_at_once() {
    let memory = Memory::default();
    memory.set(97);
    let interval = Duration::from_hours(1);
    let options = GuardOptions { own_thread: true, interval, ..memory.options() };
    for pause in [0, 1, 20] {
        let options = options.clone();
        let ended = scope(&Context::current(), |s| async move {
            let guard = Guard::start(&s, options)?;
            tokio::time::sleep(Duration::from_millis(pause)).await; // it may not have begun, or sleep
            s.stop();
            Ok::<_, BoxError>(guard)
        });
        let begun = Instant::now();
        let guard = ended.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(guard.level(), Level::Normal);
    }
}

/// Nobody has asked it then.
#[test]
fn a_thread_of_its_own_ends_with_its_runtime() {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let memory = Memory::default();
    let interval = Duration::from_hours(1);
    let options = GuardOptions { own_thread: true, interval, ..memory.options() };
    runtime.block_on(async {
        let started = scope(&Context::background(), |s| async move {
            let _guard = Guard::start(&s, options)?;
            tokio::time::sleep(Duration::from_hours(1)).await;
            Ok::<_, BoxError>(())
        });
        let given_up = tokio::time::timeout(Duration::from_millis(20), started).await;
        assert!(given_up.is_err());
    });
    drop(runtime); // which waits for its blocking threads
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[staunch::test]
async fn a_thread_that_panics_refuses_nothing_any_more() {
    let looks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&looks);
    let usage = move || {
        assert_eq!(counted.fetch_add(1, Ordering::SeqCst), 0, "the second look panics");
        Usage { bytes: 97, limit: Some(100) }
    };
    let memory = Memory::default();
    let options = GuardOptions {
        own_thread: true,
        memory: Some(Arc::new(usage)),
        interval: Duration::from_millis(1),
        ..memory.options()
    };
    with_guard(options, async |guard, _| {
        until(&guard, Level::Normal).await;
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    })
    .await;
}

/// The kernel's own figures, with a limit that leaves 64 MiB.
#[staunch::test]
async fn memory_that_is_really_taken_is_seen_and_seen_to_go() {
    const MIB: u64 = 1 << 20;
    let rss = {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let memory_limit = Some((rss + 64 * MIB) * 4); // 75 % are far above what there is
    let marks = staunch_guard::Watermarks {
        // Of the limit: what there is and 32 MiB, rounded up.
        warn_percent: u8::try_from((rss + 32 * MIB) * 25 / (rss + 64 * MIB) + 1).unwrap(),
        band_percent: 1,
        ..Default::default()
    };
    let options = GuardOptions { memory_limit, marks, ..GuardOptions::default() };
    with_guard(options, async |guard, _| {
        assert_eq!(guard.level(), Level::Normal, "{:?}", guard.status());
        let taken = black_box(vec![1_u8; 64 << 20]);
        until(&guard, Level::Warn).await;
        let status = guard.status();
        assert!(status.memory_bytes > rss + 60 * MIB, "{status:?}");
        assert_eq!(status.rss_bytes, Some(status.memory_bytes));
        assert!(status.fds > 3 && status.fds_limit > Some(status.fds), "{status:?}");
        drop(taken);
        until(&guard, Level::Normal).await;
        let files = Ledger::current().snapshot();
        let files = files.entries().iter().filter(|entry| entry.kind() == Kind::FILE).count();
        assert!(files >= 1, "what it keeps open is on the ledger");
    })
    .await;
}

/// An allocator that says what the test wants.
struct Growing(Instant);

impl Allocator for Growing {
    fn allocated(&self) -> Option<Allocated> {
        let elapsed = self.0.elapsed().as_millis() as u64;
        Some(Allocated { bytes: elapsed * 50_000, objects: Some(elapsed * 100) }) // 50 MB a second
    }

    fn purge(&self) {}
}

#[staunch::test]
async fn growth_that_lasts_warns_by_what_the_program_holds() {
    let memory = Memory::default();
    let mut options = memory.options();
    options.allocator = Some(Arc::new(Growing(Instant::now())));
    options.marks.growth_window = Duration::from_millis(1500);
    with_guard(options, async |guard, _| {
        until(&guard, Level::Warn).await;
        let status = guard.status();
        let growth = status.growth_bytes_per_second.unwrap();
        assert!((30_000_000..70_000_000).contains(&growth), "{growth}");
        let objects = status.objects_per_second.unwrap();
        assert!((60_000..140_000).contains(&objects), "{objects}");
        assert!(said()[0].contains("memory grew by 9.5 MiB a second or more for 1.5s"));
    })
    .await;
}

#[staunch::test]
async fn guards_are_known_as_long_as_they_live() {
    with_guard(GuardOptions { name: "a", ..GuardOptions::default() }, async |guard, s| {
        let other = Guard::start(s, GuardOptions { name: "b", ..GuardOptions::default() }).unwrap();
        let names = || guards(Ledger::current()).iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(), ["a", "b"]);
        drop((guard, other));
        assert_eq!(names(), ["a", "b"], "their samplers live");
    })
    .await;
    assert!(guards(Ledger::current()).is_empty());
}

#[staunch::test]
async fn options_that_make_no_sense_start_nothing() {
    let none = GuardOptions::default;
    for (options, expected) in [
        (GuardOptions { interval: Duration::ZERO, ..none() }, GuardOptionsError::NoInterval),
        (
            GuardOptions { interval: Duration::MAX, ..none() },
            GuardOptionsError::LongInterval(Duration::MAX),
        ),
        (GuardOptions { memory_limit: Some(0), ..none() }, GuardOptionsError::NoMemory),
    ] {
        let ended = scope(&Context::current(), |s| async move {
            assert_eq!(Guard::start(&s, options).err(), Some(expected));
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    }
}
