//! What is done at each level.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use staunch_guard::{Allocated, Allocator, Cause, Level, Priority, Reaction, Reactions};

use crate::support::{Memory, until, with_guard};

/// Counts what it is asked for.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Allocator for Counter {
    fn allocated(&self) -> Option<Allocated> {
        None
    }

    fn purge(&self) {
        self.add();
    }
}

#[staunch::test(start_paused = true)]
async fn whoever_is_registered_is_called_at_its_level_and_again_while_that_lasts() {
    let memory = Memory::default();
    let purges = Counter::default();
    let mut options = memory.options();
    options.allocator = Some(Arc::new(purges.clone()));
    with_guard(options, async |guard, _| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |name| {
            let seen = Arc::clone(&seen);
            move |pressing: staunch_guard::Pressing| {
                assert_eq!(pressing.cause, Cause::Memory);
                seen.lock().unwrap().push((name, pressing.level));
            }
        };
        let _shed = guard.on(Level::Shed, "shed", note("shed"));
        let refuse = guard.on(Level::Refuse, "refuse", note("refuse"));
        memory.set(80);
        until(&guard, Level::Warn).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!((purges.count(), seen.lock().unwrap().len()), (1, 0), "warn purges only");
        memory.set(96);
        until(&guard, Level::Refuse).await;
        tokio::time::sleep(Duration::from_millis(140)).await; // a tenth of the time, and a look
        let both = [("shed", Level::Refuse), ("refuse", Level::Refuse)];
        assert_eq!(*seen.lock().unwrap(), [both, both].concat());
        drop(refuse);
        memory.set(91);
        tokio::time::sleep(Duration::from_millis(100)).await; // still refused: within the band
        assert_eq!(seen.lock().unwrap().last(), Some(&("shed", Level::Refuse)));
        memory.set(0);
        until(&guard, Level::Normal).await;
        let (purged, called) = (purges.count(), seen.lock().unwrap().len());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((purges.count(), seen.lock().unwrap().len()), (purged, called));
        assert_eq!(guard.status().shrinkers, [(Level::Shed, "shed", 3)]);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn what_is_not_listed_is_not_done() {
    let memory = Memory::default();
    let (purges, calls) = (Counter::default(), Counter::default());
    let mut options = memory.options();
    options.allocator = Some(Arc::new(purges.clone()));
    options.repeat = Duration::from_hours(1);
    options.reactions =
        Reactions { warn: vec![Reaction::Shrink], shed: vec![Reaction::Purge], refuse: vec![] };
    with_guard(options, async |guard, _| {
        let counted = calls.clone();
        let _all = guard.on(Level::Warn, "all", move |_| counted.add());
        for (bytes, level, expected) in
            [(80, Level::Warn, (0, 1)), (91, Level::Shed, (1, 1)), (96, Level::Refuse, (1, 1))]
        {
            memory.set(bytes);
            until(&guard, level).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!((purges.count(), calls.count()), expected, "{level}");
            assert!(guard.admit(Priority::default()).is_ok(), "nothing is shed");
        }
    })
    .await;
}

/// One that blocks, and one that panics: the looks go on, and so do the others.
#[staunch::test]
async fn a_reaction_that_blocks_or_panics_holds_up_nobody() {
    let memory = Memory::default();
    let mut options = memory.options();
    options.repeat = Duration::from_millis(1);
    with_guard(options, async |guard, _| {
        let (go_on, wait) = mpsc::sync_channel::<()>(0);
        let (wait, called) = (Mutex::new(wait), Counter::default());
        let (blocked, counted) = (Counter::default(), called.clone());
        let blocks = blocked.clone();
        let _panics = guard.on(Level::Shed, "panics", |_| panic!("as it should"));
        let _blocks = guard.on(Level::Shed, "blocks", move |_| {
            blocks.add();
            let _ = wait.lock().unwrap().recv();
        });
        let _counts = guard.on(Level::Shed, "counts", move |_| counted.add());
        memory.set(91);
        until(&guard, Level::Shed).await;
        while blocked.count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await; // its thread has yet to come to it
        }
        for (bytes, level) in [(0, Level::Normal), (91, Level::Shed), (97, Level::Refuse)] {
            memory.set(bytes);
            until(&guard, level).await;
        }
        assert_eq!((blocked.count(), called.count()), (1, 0), "one round at a time");
        drop(go_on);
        let mut levels = guard.watch();
        while called.count() < 2 {
            let _ = tokio::time::timeout(Duration::from_millis(5), levels.changed()).await;
        }
    })
    .await;
}
