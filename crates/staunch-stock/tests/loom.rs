//! Models of what threads do to each other, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p staunch-stock --release --test loom`.
//!
//! Each thread has a shelf of its own. Who waits is parked until it is woken, so a lost turn is a
//! deadlock, which loom reports.
#![cfg(loom)]

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use loom::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use staunch_stock::{Answer, Ask, Given, Grant, Limits, Order, Settled, Stock, sit_at_shelf};

struct World {
    stock: Stock<u32, u32>,
    /// Things that somebody has.
    lent: AtomicUsize,
    most: usize,
    ended: AtomicUsize,
}

impl World {
    fn new(most: usize, most_idle: usize) -> Arc<World> {
        let limits = Limits { most, most_idle, most_waiting: 8, order: Order::Lifo };
        let (lent, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(World { stock: Stock::new(limits), lent, most, ended })
    }

    /// Takes something, or makes it, or waits for it.
    fn acquire(&self) -> u32 {
        let item = self.stock.take().unwrap_or_else(|| match self.wait() {
            Answer::Granted(Grant::Idle(item)) => item,
            Answer::Granted(Grant::Place) => 7,
            answer => panic!("{answer:?}"),
        });
        let before = self.lent.fetch_add(1, Ordering::SeqCst);
        assert!(before < self.most, "more than there may be");
        item
    }

    fn wait(&self) -> Answer<u32> {
        let mut turn = None;
        block_on(poll_fn(|cx| {
            let Some(turn) = &turn else {
                match self.stock.ask(0, cx.waker()) {
                    Ask::Granted(grant) => return Poll::Ready(Answer::Granted(grant)),
                    Ask::Wait { turn: new, .. } => turn = Some(new),
                    Ask::Full => panic!("the line is long enough"),
                    Ask::Closed => return Poll::Ready(Answer::Closed),
                }
                return Poll::Pending;
            };
            self.stock.collect(turn, cx.waker()).map_or(Poll::Pending, Poll::Ready)
        }))
    }

    fn release(&self, item: u32) {
        self.lent.fetch_sub(1, Ordering::SeqCst);
        self.give(item);
    }

    fn give(&self, item: u32) {
        match self.stock.give(item) {
            Given::Kept => {}
            Given::Handed(waker) => waker.wake(),
            Given::Surplus(_) => _ = self.ended.fetch_add(1, Ordering::SeqCst),
            Given::Settled(settled) => self.see_to(settled),
        }
    }

    fn see_to(&self, Settled { woken, surplus }: Settled<u32>) {
        woken.into_iter().for_each(Waker::wake);
        self.ended.fetch_add(surplus.len(), Ordering::SeqCst);
    }

    /// Total, idle and ended at the end, when nobody has or wants anything.
    fn count(&self) -> (usize, usize, usize) {
        let count = self.stock.count();
        assert_eq!(count.waiting, 0);
        (count.total, count.idle, self.ended.load(Ordering::SeqCst))
    }
}

fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn spawn(
    shelf: usize,
    world: &Arc<World>,
    f: impl FnOnce(&World) + 'static,
) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || {
        sit_at_shelf(shelf);
        f(&world);
    })
}

#[test]
fn whoever_waits_is_served() {
    explore(4, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let waits = spawn(1, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.release(item);
        waits.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
    });
}

#[test]
fn two_who_wait_are_both_served() {
    explore(2, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let once = |world: &World| {
            let item = world.acquire();
            world.release(item);
        };
        let waits = [spawn(1, &world, once), spawn(2, &world, once)];
        world.release(item);
        for one in waits {
            one.join().unwrap();
        }
        assert_eq!(world.count(), (1, 1, 0));
    });
}

#[test]
fn there_are_never_more_than_may_be() {
    explore(2, || {
        let world = World::new(2, 2);
        let twice = |world: &World| {
            let item = world.acquire();
            world.release(item);
            let item = world.acquire();
            world.release(item);
        };
        let others = [spawn(1, &world, twice), spawn(2, &world, twice)];
        twice(&world);
        for other in others {
            other.join().unwrap();
        }
        let (total, idle, ended) = world.count();
        assert!(total == idle && total <= 2 && ended == 0);
    });
}

#[test]
fn who_gives_up_while_it_is_served_takes_nothing_away() {
    explore(3, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let gives_up = spawn(1, &world, |world| match world.stock.ask(0, Waker::noop()) {
            Ask::Granted(Grant::Idle(item)) => world.give(item),
            Ask::Wait { turn, .. } => {
                if let Some(Grant::Idle(item)) = world.stock.leave(turn) {
                    world.give(item);
                }
            }
            other => panic!("{other:?}"),
        });
        let waits = spawn(2, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.release(item);
        gives_up.join().unwrap();
        waits.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
    });
}

#[test]
fn a_place_that_is_given_back_goes_to_whoever_waits() {
    explore(3, || {
        let world = World::new(1, 1);
        world.acquire();
        let waits = spawn(1, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.lent.fetch_sub(1, Ordering::SeqCst);
        world.stock.give_place().into_iter().for_each(Waker::wake); // it broke
        waits.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
    });
}

/// Two break while nothing can be made in their places: the last of them goes to whoever waits.
#[test]
fn who_waits_while_places_are_kept_back_hears_that_nothing_is_lent_any_more() {
    explore(3, || {
        let world = World::new(2, 2);
        world.acquire();
        world.acquire();
        let waits = spawn(1, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        let breaks = |world: &World| {
            world.lent.fetch_sub(1, Ordering::SeqCst);
            world.stock.keep_place_back().into_iter().for_each(Waker::wake);
        };
        let broken = spawn(2, &world, breaks);
        breaks(&world);
        broken.join().unwrap();
        waits.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
    });
}

/// One breaks, another comes back: it is for whoever waits, also when a place is offered meanwhile.
#[test]
fn who_waits_while_a_place_is_kept_back_has_what_comes_back() {
    explore(3, || {
        let world = World::new(2, 2);
        world.acquire();
        let item = world.acquire();
        let waits = spawn(1, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.lent.fetch_sub(1, Ordering::SeqCst);
        world.stock.keep_place_back().into_iter().for_each(Waker::wake);
        let offers = spawn(2, &world, |world| {
            world.stock.offer_place().into_iter().for_each(Waker::wake);
        });
        world.release(item);
        offers.join().unwrap();
        waits.join().unwrap();
        let (total, idle, ended) = world.count();
        assert!(total == idle && (1..=2).contains(&total) && ended == 0);
    });
}

#[test]
fn what_is_idle_beyond_the_most_is_ended_whoever_gives_first() {
    explore(3, || {
        let world = World::new(2, 1);
        let (first, second) = (world.acquire(), world.acquire());
        let gives = spawn(1, &world, move |world| world.release(first));
        world.release(second);
        gives.join().unwrap();
        assert_eq!(world.count(), (1, 1, 1));
    });
}

#[test]
fn a_crowd_that_comes_while_one_gives_leaves_no_more_idle_than_may_be() {
    explore(3, || {
        let world = World::new(2, 1);
        let first = world.acquire();
        let other = spawn(1, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.release(first);
        other.join().unwrap();
        let (total, idle, ended) = world.count();
        assert_eq!((total, idle), (1, 1), "{ended} ended");
    });
}

#[test]
fn nothing_is_idle_after_the_end() {
    explore(3, || {
        let world = World::new(2, 2);
        let (first, second) = (world.acquire(), world.acquire());
        let gives = spawn(1, &world, move |world| world.release(first));
        let closes = spawn(2, &world, |world| {
            let settled = world.stock.close();
            world.see_to(settled);
        });
        world.release(second);
        gives.join().unwrap();
        closes.join().unwrap();
        assert_eq!(world.count(), (0, 0, 2));
    });
}

#[test]
fn who_waits_at_the_end_hears_of_it() {
    explore(3, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let waits = spawn(1, &world, |world| match world.stock.take() {
            Some(item) => world.give(item),
            None => match world.wait() {
                Answer::Granted(Grant::Idle(item)) => world.give(item),
                Answer::Granted(Grant::Place) => panic!("it was closed"),
                Answer::TimedOut | Answer::Closed => {}
            },
        });
        let closes = spawn(2, &world, |world| {
            let settled = world.stock.close();
            world.see_to(settled);
        });
        world.release(item);
        waits.join().unwrap();
        closes.join().unwrap();
        assert_eq!(world.count(), (0, 0, 1));
    });
}

#[test]
fn what_is_taken_out_for_a_look_is_given_to_whoever_waits_meanwhile() {
    explore(3, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let looks = spawn(1, &world, |world| {
            for item in world.stock.extract(|_, _| true) {
                world.give(item);
            }
        });
        let waits = spawn(2, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.release(item);
        looks.join().unwrap();
        waits.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
    });
}

#[test]
fn the_place_of_what_is_taken_out_and_ended_goes_to_whoever_waits_meanwhile() {
    explore(3, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let ends = spawn(1, &world, |world| {
            for _ in world.stock.extract(|_, left| left > 0) {
                world.ended.fetch_add(1, Ordering::SeqCst);
                world.stock.give_place().into_iter().for_each(Waker::wake);
            }
        });
        let waits = spawn(2, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.release(item);
        ends.join().unwrap();
        waits.join().unwrap();
        let (total, idle, ended) = world.count();
        assert!(total == idle && idle <= 1 && ended <= 1);
    });
}

#[test]
fn who_waits_for_too_long_is_served_or_told_and_not_both() {
    explore(3, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let waits = spawn(1, &world, |world| match world.stock.take() {
            Some(item) => world.give(item),
            None => match world.wait() {
                Answer::Granted(Grant::Idle(item)) => world.give(item),
                Answer::TimedOut => {}
                answer => panic!("{answer:?}"),
            },
        });
        let looks = spawn(2, &world, |world| {
            world.stock.expire(&0).into_iter().flatten().for_each(Waker::wake);
        });
        world.release(item);
        waits.join().unwrap();
        looks.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
        assert_eq!(world.stock.take(), Some(7), "the sign is down again");
    });
}

#[test]
fn who_leaves_while_it_times_out_keeps_nobody_behind_it_waiting() {
    explore(2, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let gives_up = spawn(1, &world, |world| match world.stock.ask(0, Waker::noop()) {
            Ask::Granted(Grant::Idle(item)) => world.give(item),
            Ask::Wait { turn, .. } => {
                if let Some(Grant::Idle(item)) = world.stock.leave(turn) {
                    world.give(item);
                }
            }
            other => panic!("{other:?}"),
        });
        let looks = spawn(2, &world, |world| {
            world.stock.expire(&0).into_iter().flatten().for_each(Waker::wake);
        });
        world.release(item);
        gives_up.join().unwrap();
        looks.join().unwrap();
        assert_eq!(world.count(), (1, 1, 0));
        assert_eq!(world.stock.take(), Some(7), "the sign is down again");
    });
}

#[test]
fn a_place_ahead_of_need_is_one_of_those_there_may_be() {
    explore(3, || {
        let world = World::new(2, 2);
        let item = world.acquire();
        let makes = spawn(1, &world, |world| {
            if world.stock.take_place_ahead(1) {
                let before = world.lent.fetch_add(1, Ordering::SeqCst);
                assert!(before < world.most, "more than there may be");
                world.release(8);
            }
        });
        let wants = spawn(2, &world, |world| {
            let item = world.acquire();
            world.release(item);
        });
        world.release(item);
        makes.join().unwrap();
        wants.join().unwrap();
        let (total, idle, ended) = world.count();
        assert!(total == idle && (1..=2).contains(&total) && ended == 0);
    });
}

#[test]
fn who_leaves_with_a_grant_while_it_is_closed_leaves_nothing_idle() {
    explore(3, || {
        let world = World::new(1, 1);
        let item = world.acquire();
        let Ask::Wait { turn, .. } = world.stock.ask(0, Waker::noop()) else {
            panic!("there is nothing");
        };
        let leaves = spawn(1, &world, move |world| match world.stock.leave(turn) {
            Some(Grant::Idle(item)) => world.give(item),
            Some(Grant::Place) => panic!("nothing broke"),
            None => {}
        });
        let closes = spawn(2, &world, |world| {
            let settled = world.stock.close();
            world.see_to(settled);
        });
        world.release(item);
        leaves.join().unwrap();
        closes.join().unwrap();
        assert_eq!(world.count(), (0, 0, 1));
    });
}

#[test]
fn a_place_that_was_granted_while_it_is_closed_is_free_again() {
    explore(3, || {
        let world = World::new(1, 1);
        world.acquire();
        world.lent.fetch_sub(1, Ordering::SeqCst);
        let Ask::Wait { turn, .. } = world.stock.ask(0, Waker::noop()) else {
            panic!("there is nothing");
        };
        let leaves = spawn(1, &world, move |world| match world.stock.leave(turn) {
            Some(Grant::Place) => assert!(world.stock.give_place().is_none()),
            Some(Grant::Idle(item)) => panic!("{item} was lent"),
            None => {}
        });
        let closes = spawn(2, &world, |world| {
            let settled = world.stock.close();
            world.see_to(settled);
        });
        world.stock.give_place().into_iter().for_each(Waker::wake); // it broke
        leaves.join().unwrap();
        closes.join().unwrap();
        assert_eq!(world.count(), (0, 0, 0));
    });
}
