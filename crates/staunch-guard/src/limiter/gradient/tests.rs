use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::prelude::*;

use super::*;

/// A server with so many workers and a queue, in simulated time.
struct Server {
    gradient: Gradient,
    workers: BinaryHeap<Reverse<Duration>>,
    /// When each in flight ends, when it began, and how many were in flight then.
    in_flight: BinaryHeap<Reverse<(Duration, Duration, usize)>>,
    now: Duration,
}

/// What came of a time of load.
#[derive(Debug)]
struct Outcome {
    answered: usize,
    slowest: Duration,
}

impl Server {
    fn new(workers: usize) -> Server {
        Server {
            gradient: Gradient::new(GradientOptions::default()),
            workers: (0..workers).map(|_| Reverse(Duration::ZERO)).collect(),
            in_flight: BinaryHeap::new(),
            now: Duration::ZERO,
        }
    }

    /// Requests come at even distances for `seconds`; each takes a worker for `takes`.
    fn load(&mut self, seconds: u64, per_second: u32, takes: Duration) -> Outcome {
        let end = self.now + Duration::from_secs(seconds);
        let mut outcome = Outcome { answered: 0, slowest: Duration::ZERO };
        while self.now < end {
            self.now += Duration::from_secs(1) / per_second;
            while let Some(Reverse((ends, began, beside))) = self.in_flight.peek().copied()
                && ends <= self.now
            {
                self.in_flight.pop();
                let took = ends.saturating_sub(began);
                self.gradient.observe(ends, took, beside);
                outcome.answered += 1;
                outcome.slowest = outcome.slowest.max(took);
            }
            if self.in_flight.len() < self.gradient.limit() {
                let Reverse(free) = self.workers.pop().unwrap();
                let ends = free.max(self.now) + takes;
                self.workers.push(Reverse(ends));
                let beside = self.in_flight.len() + 1;
                self.in_flight.push(Reverse((ends, self.now, beside)));
            }
        }
        outcome
    }
}

const TAKES: Duration = Duration::from_millis(20);

#[test]
fn tenfold_load_is_answered_at_the_peak_and_not_much_more_slowly() {
    for workers in [4_u32, 20, 200] {
        let mut server = Server::new(workers as usize);
        let capacity = workers * 50; // a second
        server.load(10, capacity * 10, TAKES); // finds the limit
        let overloaded = server.load(60, capacity * 10, TAKES);
        let peak = (capacity * 60) as usize;
        assert!(overloaded.answered * 100 >= peak * 97, "{workers}: {overloaded:?} of {peak}");
        assert!(overloaded.slowest <= 4 * TAKES, "{workers}: {overloaded:?}");
        let limit = server.gradient.limit();
        let fitting = workers as usize..=workers as usize * 3;
        assert!(fitting.contains(&limit), "{workers} workers, a limit of {limit}");
    }
}

/// What ordinary load has taught is not asked for again in the middle of a rush.
#[test]
fn a_rush_after_ordinary_load_begins_without_a_probe() {
    let mut server = Server::new(20);
    server.load(10, 450, TAKES); // 9 in flight
    let rush = server.load(2, 10_000, TAKES);
    assert!(rush.answered >= 1000 * 2 * 95 / 100, "{rush:?}");
}

#[test]
fn a_limit_that_nobody_needs_does_not_grow() {
    let mut server = Server::new(100);
    let outcome = server.load(60, 300, TAKES); // 6 in flight
    assert_eq!(server.gradient.limit(), GradientOptions::default().initial);
    assert_eq!(outcome.slowest, TAKES);
    assert!(outcome.answered >= 300 * 60 - 10, "none was refused: {outcome:?}");
}

/// A database behind it gets slower for good: that is no queue, and must not shut the door.
#[test]
fn answers_that_take_longer_for_good_are_the_new_rule() {
    let mut server = Server::new(20);
    server.load(60, 10_000, TAKES);
    server.load(40, 10_000, 5 * TAKES); // one probe at least
    let after = server.load(60, 10_000, 5 * TAKES);
    let peak = 20 * 10 * 60;
    assert!(after.answered * 100 >= peak * 95, "{after:?} of {peak}");
    assert!(after.slowest <= 4 * 5 * TAKES, "{after:?}");
}

#[test]
fn short_memory_lowers_it_to_the_least_and_answers_raise_it_again() {
    let mut server = Server::new(20);
    server.load(10, 10_000, TAKES);
    for _ in 0..200 {
        server.gradient.lower();
    }
    assert_eq!(server.gradient.limit(), 3);
    server.load(10, 10_000, TAKES);
    assert!(server.gradient.limit() >= 20, "{}", server.gradient.limit());
}

/// The load ends in the middle of a probe: it must not last until the next load.
#[test]
fn a_probe_without_answers_ends() {
    let options = GradientOptions::default();
    let mut gradient = Gradient::new(options);
    let mut now = Duration::ZERO;
    while gradient.limit() > options.min {
        now += Duration::from_millis(10);
        gradient.observe(now, TAKES, gradient.limit());
        assert!(now < 2 * options.probe_interval, "no probe was begun");
    }
    gradient.observe(now + options.window * PROBE_WINDOWS, TAKES, 1);
    assert!(gradient.limit() > options.min);
}

#[test]
fn bounds_are_checked() {
    let check = |min, initial, max, expected: &str| {
        let options = GradientOptions { initial, min, max, ..GradientOptions::default() };
        let error = options.check().map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(error, expected);
    };
    check(1, 1, 1, "");
    check(
        0,
        1,
        1,
        "min is 0: once there, nothing would be admitted, and nothing learned; set at least 1",
    );
    check(2, 1, 3, "min 2, initial 1 and max 3 are not in ascending order");
    check(1, 3, 2, "min 1, initial 3 and max 2 are not in ascending order");
}

proptest! {
    #[test]
    fn a_limit_is_always_within_its_bounds(
        steps in prop::collection::vec((0_u64..1000, 0_u64..10_000, 1_usize..2000, any::<bool>()), 0..500)
    ) {
        let options = GradientOptions { min: 5, initial: 20, max: 100, ..GradientOptions::default() };
        let mut gradient = Gradient::new(options);
        let mut now = Duration::ZERO;
        for (pause, took, in_flight, short) in steps {
            now += Duration::from_millis(pause);
            gradient.observe(now, Duration::from_millis(took), in_flight);
            if short {
                gradient.lower();
            }
            prop_assert!((5..=100).contains(&gradient.limit()), "{}", gradient.limit());
        }
    }
}
