//! Random schedules on a pool with keys, against a model: who has a lease of what, how many are
//! idle, which keys there are.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use proptest::prelude::*;
use staunch::testing::Runner;
use staunch_harness::{eventually, poll_times};
use staunch_pool::{Condition, KeyedLease, KeyedPoolOptions, PoolOptions};

use crate::{
    abandoning::pass,
    keyed::{limits, with_keys},
    manager::{Scripted, plain},
    schedules::condition,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    /// Somebody wants a connection of the n-th key, and does not wait.
    Acquire(usize),
    /// The n-th who has one gives it back, in this condition.
    Release(usize, Condition),
    /// Time passes.
    Advance(u64),
    /// Idle ones are ended, but for so many.
    Shrink(usize),
    Maintain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..NAMES.len()).prop_map(Step::Acquire),
        5 => (0_usize..8, condition()).prop_map(|(nth, condition)| Step::Release(nth, condition)),
        1 => (1_u64..60).prop_map(Step::Advance),
        1 => (0_usize..4).prop_map(Step::Shrink),
        1 => Just(Step::Maintain),
    ]
}

#[derive(Clone, Copy, Debug, Default)]
struct Of {
    leased: usize,
    idle: usize,
    used: usize,
}

#[derive(Debug)]
struct Model {
    max_keys: usize,
    max_total: usize,
    of_key: usize,
    keys: BTreeMap<&'static str, Of>,
}

impl Model {
    fn leased(&self) -> usize {
        self.keys.values().map(|it| it.leased).sum()
    }

    fn size(&self) -> usize {
        self.keys.values().map(|it| it.leased + it.idle).sum()
    }

    /// Of the keys for which `may` says so, the one used longest ago.
    fn oldest(&self, may: impl Fn(&Of) -> bool) -> Option<&'static str> {
        let may = self.keys.iter().filter(|(_, of)| may(of));
        may.min_by_key(|(_, of)| of.used).map(|(key, _)| *key)
    }

    /// Whether there is a lease.
    fn acquire(&mut self, key: &'static str, now: usize) -> bool {
        if !self.keys.contains_key(key) && self.keys.len() == self.max_keys {
            let Some(oldest) = self.oldest(|of| of.leased == 0) else { return false };
            self.keys.remove(oldest);
        }
        let (leased, size) = (self.leased(), self.size());
        let of = self.keys.entry(key).or_default();
        of.used = now;
        if of.leased == self.of_key || leased == self.max_total {
            return false;
        }
        of.leased += 1;
        if of.idle > 0 {
            of.idle -= 1;
        } else if size == self.max_total {
            let oldest = self.oldest(|of| of.idle > 0).expect("some are idle");
            self.keys.entry(oldest).and_modify(|of| of.idle -= 1);
        }
        true
    }

    fn shrink(&mut self, keep: usize) {
        while self.keys.values().map(|it| it.idle).sum::<usize>() > keep {
            let oldest = self.oldest(|of| of.idle > 0).expect("some are idle");
            self.keys.entry(oldest).and_modify(|of| of.idle -= 1);
        }
    }

    fn maintain(&mut self) {
        self.keys.retain(|_, of| of.leased + of.idle > 0);
    }
}

async fn run(options: KeyedPoolOptions, steps: Vec<Step>) {
    let KeyedPoolOptions { max_keys, max_total, ref per_key } = options;
    let (max_total, of_key) = (max_total.unwrap(), per_key.max_total);
    with_keys(options, async |pool, server, _| {
        let mut model = Model { max_keys, max_total, of_key, keys: BTreeMap::new() };
        let mut leases: Vec<(&str, KeyedLease<Scripted>)> = Vec::new();
        for (now, step) in steps.into_iter().enumerate() {
            match step {
                Step::Acquire(nth) => {
                    let key = NAMES[nth];
                    let expected = model.acquire(key, now + 1);
                    let mut acquiring = Box::pin(pool.acquire(&key));
                    let patience = Duration::from_millis(100);
                    let acquired = tokio::time::timeout(patience, acquiring.as_mut()).await;
                    let lease = acquired.ok().and_then(Result::ok);
                    assert_eq!(lease.is_some(), expected, "{key}");
                    leases.extend(lease.map(|lease| (key, lease)));
                }
                Step::Release(nth, condition) if nth < leases.len() => {
                    let (key, mut lease) = leases.remove(nth);
                    lease.connection().unwrap().condition = condition;
                    let of = model.keys.get_mut(key).unwrap();
                    of.leased -= 1;
                    of.idle += usize::from(condition != Condition::Broken);
                }
                Step::Release(..) => {}
                Step::Advance(seconds) => {
                    pass(Duration::from_secs(seconds)).await;

                    // The keeper's round may be due in this instant, or come in the next.
                    model.maintain();
                    pool.maintain();
                }
                Step::Shrink(keep) => {
                    model.shrink(keep);
                    pool.shrink(keep);
                }
                Step::Maintain => {
                    model.maintain();
                    pool.maintain();
                }
            }
            eventually("goodbyes are said", async || {
                let sum = pool.status().sum;
                server.live.load(Ordering::SeqCst) == sum.size && sum.leased + sum.idle == sum.size
            })
            .await;
            let status = pool.status();
            let holds = |key: &str| {
                let mut keys = status.keys.iter();
                keys.find(|it| it.key == key).map(|it| (it.status.leased, it.status.idle))
            };
            for key in NAMES {
                let expected = model.keys.get(key).map(|of| (of.leased, of.idle));
                // The keeper's own round may have come first.
                let is_gone = expected == Some((0, 0)) && holds(key).is_none();
                assert!(is_gone || holds(key) == expected, "{key}: {model:?} {status:?}");
                if is_gone {
                    model.keys.remove(key);
                }
            }
            assert!(server.most.load(Ordering::SeqCst) <= max_total, "more than there may be");
        }
        assert!(poll_times(1, async { drop(leases) }).await.is_some());
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// One of the two limits at a time: when a key gives way, its connections still say goodbye
    /// while the next one wants room, and one more may have to go than a list would say.
    #[test]
    fn keys_do_what_a_list_does(
        (max_keys, max_total) in prop_oneof![(1_usize..5, Just(99)), (Just(4), 1_usize..6)],
        of_key in 1_usize..4,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut options = limits(max_keys, max_total, of_key);
        options.per_key = PoolOptions { abandoned_timeout: Duration::from_hours(1), ..plain(of_key) };
        Runner::paused().run(run(options, steps));
    }
}
