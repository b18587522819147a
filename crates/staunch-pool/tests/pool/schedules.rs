//! Random schedules of acquire, cancel, release, breaking and shrinking, against a model: after
//! each step the pool holds exactly what a list of who is where says, and serves in the same
//! order. A failure is kept in `schedules.proptest-regressions`, and replayed first.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context as Poller, Poll, Waker},
};

use proptest::prelude::*;
use staunch::testing::Runner;
use staunch_pool::{AcquireError, Condition, Lease, Pool, PoolOptions};

use crate::manager::{Down, Scripted, plain, with_pool};

#[derive(Clone, Debug)]
enum Step {
    /// Somebody wants a connection.
    Acquire,
    /// The n-th who waits gives up.
    Cancel(usize),
    /// The n-th who has one gives it back, in this condition.
    Release(usize, Condition),
    /// Idle ones are ended, but for so many.
    Shrink(usize),
}

/// In which condition a connection is given back.
pub(crate) fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Clean),
        1 => Just(Condition::Dirty),
        1 => Just(Condition::Broken),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Acquire),
        2 => (0_usize..8).prop_map(Step::Cancel),
        5 => (0_usize..8, condition()).prop_map(|(nth, condition)| Step::Release(nth, condition)),
        1 => (0_usize..4).prop_map(Step::Shrink),
    ]
}

type Acquired = Result<Lease<Scripted>, AcquireError<Down>>;
type Acquiring<'p> = Pin<Box<dyn Future<Output = Acquired> + Send + 'p>>;

/// Who is where, by number.
#[derive(Debug, Default)]
struct Model {
    most: usize,
    most_idle: usize,
    idle: usize,
    holders: Vec<usize>,
    line: VecDeque<usize>,
}

impl Model {
    fn acquire(&mut self, who: usize) {
        if self.idle > 0 {
            self.idle -= 1;
            self.holders.push(who);
        } else if self.holders.len() < self.most {
            self.holders.push(who);
        } else {
            self.line.push_back(who);
        }
    }

    fn release(&mut self, who: usize, condition: Condition) {
        self.holders.retain(|holder| *holder != who);
        if let Some(next) = self.line.pop_front() {
            self.holders.push(next);
        } else if condition != Condition::Broken && self.idle < self.most_idle {
            self.idle += 1;
        }
    }
}

/// The pool's side: the same people, with real futures and leases.
struct World<'p> {
    pool: &'p Pool<Scripted>,
    waiting: HashMap<usize, Acquiring<'p>>,
    leases: HashMap<usize, Lease<Scripted>>,
}

impl World<'_> {
    /// Lets everybody who waits look, and the keeper work.
    async fn settle(&mut self) {
        for _ in 0..8 {
            tokio::task::yield_now().await;
            let mut served = Vec::new();
            for (who, acquiring) in &mut self.waiting {
                let mut cx = Poller::from_waker(Waker::noop());
                if let Poll::Ready(lease) = acquiring.as_mut().poll(&mut cx) {
                    served.push((*who, lease.expect("nothing fails here")));
                }
            }
            for (who, lease) in served {
                self.waiting.remove(&who);
                self.leases.insert(who, lease);
            }
        }
    }
}

async fn run(most: usize, most_idle: usize, steps: Vec<Step>) {
    let options = PoolOptions { max_idle: most_idle, ..plain(most) };
    with_pool(options, async |pool, server, _| {
        let mut model = Model { most, most_idle, ..Model::default() };
        let (waiting, leases) = (HashMap::new(), HashMap::new());
        let mut world = World { pool: &pool, waiting, leases };
        for (who, step) in steps.into_iter().enumerate() {
            match step {
                Step::Acquire => {
                    model.acquire(who);
                    world.waiting.insert(who, Box::pin(world.pool.acquire()));
                }
                Step::Cancel(nth) if nth < model.line.len() => {
                    let who = model.line.remove(nth).unwrap();
                    world.waiting.remove(&who);
                }
                Step::Release(nth, condition) if nth < model.holders.len() => {
                    let who = model.holders[nth];
                    model.release(who, condition);
                    let mut lease = world.leases.remove(&who).unwrap();
                    lease.connection().unwrap().condition = condition;
                }
                Step::Shrink(keep) => {
                    model.idle = model.idle.min(keep);
                    pool.shrink(keep);
                }
                Step::Cancel(_) | Step::Release(..) => {}
            }
            world.settle().await;
            let mut held: Vec<usize> = world.leases.keys().copied().collect();
            let mut expected = model.holders.clone();
            held.sort_unstable();
            expected.sort_unstable();
            assert_eq!(held, expected, "who has a connection");
            let status = pool.status();
            assert_eq!((status.leased, status.idle), (model.holders.len(), model.idle));
            assert_eq!(status.size, model.holders.len() + model.idle);
            assert_eq!(status.waiters, model.line.len());
            assert_eq!(server.live.load(Ordering::SeqCst), status.size);
            assert!(server.most.load(Ordering::SeqCst) <= most + 1, "one more while it ends");
        }
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_pool_does_what_a_list_does(
        most in 1_usize..5,
        most_idle in 0_usize..5,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        Runner::paused().run(run(most, most_idle.min(most), steps));
    }
}
