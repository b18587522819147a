//! Random schedules as in `schedules`, with what goes wrong besides: leases are forgotten and
//! revoked, the server goes down and comes back, idle connections turn out to be dead, and who
//! waits runs out of patience. After each step the pool holds what the model says, and everybody
//! has been served or refused as it says.
//!
//! The runtime's clock moves patience, the ledger's everything else, each by a step of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context as Poller, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use staunch::{Ledger, testing::Runner};
use staunch_pool::{AcquireError, Condition, Lease, Pool, PoolOptions};

use crate::{
    manager::{Down, Scripted, plain, with_pool},
    schedules::condition,
};

#[derive(Clone, Debug)]
enum Step {
    /// Somebody wants a connection.
    Acquire,
    /// The n-th who waits gives up.
    Cancel(usize),
    /// The n-th who has one gives it back, in this condition.
    Release(usize, Condition),
    /// The same, and it dies while it is idle.
    ReleaseDying(usize),
    /// The n-th who has one forgets it.
    Forget(usize),
    /// Idle ones are ended, but for so many.
    Shrink(usize),
    /// The server goes down, or comes back.
    Down(bool),
    /// Time passes until whoever waits has waited for too long.
    TimeOut,
    /// So much time passes that what was forgotten is revoked, and a server that was down is
    /// tried again.
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => Just(Step::Acquire),
        1 => (0_usize..8).prop_map(Step::Cancel),
        5 => (0_usize..8, condition()).prop_map(|(nth, condition)| Step::Release(nth, condition)),
        2 => (0_usize..8).prop_map(Step::ReleaseDying),
        1 => (0_usize..8).prop_map(Step::Forget),
        1 => (0_usize..4).prop_map(Step::Shrink),
        2 => any::<bool>().prop_map(Step::Down),
        1 => Just(Step::TimeOut),
        1 => Just(Step::Pass),
    ]
}

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Exhausted,
    CannotConnect,
    Down,
}

/// Who is where, by number; of each connection, whether it is dead.
#[derive(Debug, Default)]
struct Model {
    most: usize,
    tests_on_borrow: bool,
    idle: VecDeque<bool>,
    holders: Vec<(usize, bool)>,
    forgotten: usize,
    line: VecDeque<usize>,
    refused: BTreeMap<usize, Refused>,
    is_server_down: bool,
    connecting: Connecting,
}

/// What the pool knows of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Connecting {
    #[default]
    Succeeds,
    /// The last one failed, and it is too early for another.
    Failed,
    /// The last one failed; one may be tried.
    MayBeTried,
}

impl Model {
    fn size(&self) -> usize {
        self.idle.len() + self.holders.len() + self.forgotten
    }

    fn is_served_by(&self, is_dead: bool) -> bool {
        !self.tests_on_borrow || !(is_dead || self.is_server_down)
    }

    fn acquire(&mut self, who: usize) {
        if self.line.is_empty()
            && let Some(is_dead) = self.idle.pop_back()
        {
            if self.is_served_by(is_dead) {
                self.holders.push((who, is_dead));
            } else {
                self.connect(who); // in its place
            }
        } else if self.line.is_empty() && self.size() < self.most {
            self.connect(who);
        } else {
            self.line.push_back(who);
        }
    }

    /// Whether it succeeded.
    fn connect(&mut self, who: usize) -> bool {
        let refused = match self.connecting {
            Connecting::Failed => Refused::Down,
            Connecting::Succeeds | Connecting::MayBeTried if self.is_server_down => {
                Refused::CannotConnect
            }
            Connecting::Succeeds | Connecting::MayBeTried => {
                self.connecting = Connecting::Succeeds;
                self.holders.push((who, false));
                return true;
            }
        };
        self.connecting = Connecting::Failed;
        self.refused.insert(who, refused);
        false
    }

    fn give(&mut self, is_dead: bool) {
        let Some(next) = self.line.pop_front() else { return self.idle.push_back(is_dead) };
        if self.is_served_by(is_dead) {
            self.holders.push((next, is_dead));
        } else if !self.connect(next) {
            self.give_place();
        }
    }

    /// A place is of no use to those in line while nobody may connect, but to say that there is
    /// nothing to wait for.
    fn give_place(&mut self) {
        while self.connecting != Connecting::Failed || self.size() == 0 {
            let Some(next) = self.line.pop_front() else { return };
            if self.connect(next) {
                return;
            }
        }
    }

    /// The n-th who has one does not have it any more: who it was.
    fn release(&mut self, nth: usize, condition: Condition, dies: bool) -> usize {
        let (who, was_dead) = self.holders.remove(nth);
        match condition {
            Condition::Dirty if self.is_server_down => self.give_place(), // no reset
            Condition::Broken => self.give_place(),
            Condition::Clean | Condition::Dirty => self.give(was_dead || dies),
        }
        who
    }

    fn time_out(&mut self) {
        let is_refused = self.connecting != Connecting::Succeeds;
        let why = if is_refused { Refused::Down } else { Refused::Exhausted };
        for who in self.line.drain(..) {
            self.refused.insert(who, why);
        }
    }
}

type Acquired = Result<Lease<Scripted>, AcquireError<Down>>;
type Acquiring<'p> = Pin<Box<dyn Future<Output = Acquired> + Send + 'p>>;

/// The pool's side: the same people, with real futures and leases.
struct World<'p> {
    pool: &'p Pool<Scripted>,
    waiting: BTreeMap<usize, Acquiring<'p>>,
    leases: BTreeMap<usize, Lease<Scripted>>,
    forgotten: Vec<Lease<Scripted>>,
    refused: BTreeMap<usize, Refused>,
}

impl World<'_> {
    /// Lets everybody who waits look, as often as one may have to wait for another, and the
    /// keeper work.
    async fn settle(&mut self) {
        for _ in 0..8 + self.waiting.len() {
            tokio::task::yield_now().await;
            let mut answered = Vec::new();
            for (who, acquiring) in &mut self.waiting {
                let mut cx = Poller::from_waker(Waker::noop());
                if let Poll::Ready(acquired) = acquiring.as_mut().poll(&mut cx) {
                    answered.push((*who, acquired));
                }
            }
            for (who, acquired) in answered {
                self.waiting.remove(&who);
                let refused = match acquired {
                    Ok(lease) => {
                        self.leases.insert(who, lease);
                        continue;
                    }
                    Err(AcquireError::Exhausted(_)) => Refused::Exhausted,
                    Err(AcquireError::Connect { .. }) => Refused::CannotConnect,
                    Err(AcquireError::Down { .. }) => Refused::Down,
                    Err(other) => panic!("{who}: {other}"),
                };
                self.refused.insert(who, refused);
            }
        }
    }

    fn release(&mut self, who: usize, condition: Condition, dies: bool) {
        let mut lease = self.leases.remove(&who).unwrap();
        let mut in_use = lease.connection().unwrap();
        in_use.condition = condition;
        in_use.is_dead |= dies;
    }

    /// Two minutes: more than a lease may be unused, and than the pause after a failed connect.
    async fn pass(&mut self) {
        let short = Duration::from_secs(15);
        for _ in 0..8 {
            Ledger::current().advance_clock(short);
            self.leases.values().for_each(Lease::touch);
            tokio::time::sleep(short).await;
        }
        for mut lease in self.forgotten.drain(..) {
            assert!(lease.connection().is_err(), "it was revoked");
        }
    }
}

async fn run(most: usize, test_on_borrow: bool, steps: Vec<Step>) {
    let (pause, long) = (Duration::from_mins(1), Duration::from_hours(1000));
    let options = PoolOptions {
        test_on_borrow,
        min_evictable_idle: long,
        backoff: pause,
        backoff_max: pause,
        ..plain(most)
    };
    with_pool(options, async |pool, server, _| {
        let mut model = Model { most, tests_on_borrow: test_on_borrow, ..Model::default() };
        let mut world = World {
            pool: &pool,
            waiting: BTreeMap::new(),
            leases: BTreeMap::new(),
            forgotten: Vec::new(),
            refused: BTreeMap::new(),
        };
        for (who, step) in steps.into_iter().enumerate() {
            let said = format!("{who}: {step:?}");
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
                    let who = model.release(nth, condition, false);
                    world.release(who, condition, false);
                }
                Step::ReleaseDying(nth) if nth < model.holders.len() => {
                    let who = model.release(nth, Condition::Clean, true);
                    world.release(who, Condition::Clean, true);
                }
                Step::Forget(nth) if nth < model.holders.len() => {
                    let (who, _) = model.holders.remove(nth);
                    model.forgotten += 1;
                    world.forgotten.extend(world.leases.remove(&who));
                }
                Step::Shrink(keep) => {
                    let surplus = model.idle.len().saturating_sub(keep);
                    model.idle.drain(..surplus);
                    assert_eq!(pool.shrink(keep), surplus, "{said}");
                }
                Step::Down(is_down) => {
                    model.is_server_down = is_down;
                    server.is_down.store(is_down, Ordering::SeqCst);
                }
                Step::TimeOut => {
                    model.time_out();
                    tokio::time::sleep(Duration::from_secs(6)).await;
                }
                Step::Pass => {
                    model.time_out(); // long before anything is revoked
                    model.forgotten = 0;
                    if model.connecting == Connecting::Failed {
                        model.connecting = Connecting::MayBeTried;
                    }
                    world.pass().await;
                }
                Step::Cancel(_) | Step::Release(..) | Step::ReleaseDying(_) | Step::Forget(_) => {}
            }
            world.settle().await;
            let mut expected: Vec<usize> = model.holders.iter().map(|(who, _)| *who).collect();
            expected.sort_unstable();
            let held: Vec<usize> = world.leases.keys().copied().collect();
            assert_eq!(held, expected, "who has a connection after {said}");
            assert_eq!(world.refused, model.refused, "who was refused after {said}");
            let status = pool.status();
            let leased = model.holders.len() + model.forgotten;
            assert_eq!((status.leased, status.idle), (leased, model.idle.len()), "{said}");
            assert_eq!((status.size, status.waiters), (model.size(), model.line.len()), "{said}");
            let is_down = model.connecting == Connecting::Failed;
            assert_eq!(status.is_down, is_down, "{said}");
            assert_eq!(server.live.load(Ordering::SeqCst), status.size, "{said}");
        }
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_pool_does_what_a_list_does_in_trouble_too(
        most in 1_usize..5,
        test_on_borrow in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        Runner::paused().run(run(most, test_on_borrow, steps));
    }
}
