use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use super::*;

struct Server {
    name: u64,
    weight: f64,
    load: Arc<Load>,
}

impl Candidate for Server {
    fn weight(&self, _: Instant) -> f64 {
        self.weight
    }

    fn load(&self) -> &Load {
        &self.load
    }

    fn name_hash(&self) -> u64 {
        mix(self.name)
    }
}

fn servers(weights: &[f64]) -> Vec<Server> {
    let server = |(name, weight): (usize, &f64)| Server {
        name: name as u64 + 1,
        weight: *weight,
        load: Arc::default(),
    };
    weights.iter().enumerate().map(server).collect()
}

fn counts(balance: Balance, servers: &[Server], picks: u32, tried: &[usize]) -> Vec<u32> {
    let balancer = Balancer::new(balance, 0);
    let mut counts = vec![0; servers.len()];
    for pick in 0..picks {
        let client = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + pick));
        let picked =
            balancer.pick(servers, tried, Some(client), Instant::now()).expect("one is open");
        counts[picked] += 1;
    }
    counts
}

#[test]
fn round_robin_is_exact_and_weighted() {
    let of = |weights: &[f64]| counts(Balance::RoundRobin, &servers(weights), 1200, &[]);
    assert_eq!(of(&[1.0, 1.0, 1.0]), [400, 400, 400]);
    assert_eq!(of(&[2.0, 0.0, 2.0]), [600, 0, 600]);
    let weighted = of(&[1.0, 3.0, 8.0]);
    for (count, expected) in weighted.iter().zip([100_u32, 300, 800]) {
        assert!(count.abs_diff(expected) < 5, "{weighted:?}");
    }
}

#[test]
fn clients_stay_where_they_are_when_another_server_goes() {
    let balancer = Balancer::new(Balance::ClientHash, 0);
    let before = servers(&[1.0, 1.0, 1.0, 1.0]);
    let after = servers(&[1.0, 1.0, 0.0, 1.0]);
    let mut moved = [0; 4];
    for client in 0..4000 {
        let client = Some(IpAddr::V4(Ipv4Addr::from_bits(client * 77)));
        let (a, b) = (
            balancer.pick(&before, &[], client, Instant::now()),
            balancer.pick(&after, &[], client, Instant::now()),
        );
        if a != b {
            moved[a.unwrap()] += 1;
        }
    }
    assert_eq!((moved[0], moved[1], moved[3]), (0, 0, 0));
    assert!((900..1100).contains(&moved[2]), "a quarter of them: {moved:?}");
    let weighted = counts(Balance::ClientHash, &servers(&[1.0, 3.0]), 4000, &[]);
    assert!((900..1100).contains(&weighted[0]), "{weighted:?}");
}

#[test]
fn the_busy_and_the_slow_get_less() {
    let three = servers(&[1.0, 1.0, 1.0]);
    let _held: Vec<InFlight> = (0..10).map(|_| three[1].load.begin(Instant::now())).collect();
    let busy = counts(Balance::LeastRequests, &three, 900, &[]);
    assert_eq!(busy[1], 0, "always the other one of two: {busy:?}");
    let two = servers(&[1.0, 1.0]);
    let now = Instant::now();
    two[0].load.answered(Duration::from_millis(50), now);
    two[1].load.answered(Duration::from_millis(5), now);
    assert_eq!(counts(Balance::LeastRequests, &two, 100, &[]), [0, 100]);
    for _ in 0..100 {
        two[0].load.answered(Duration::from_millis(1), now);
    }
    assert_eq!(counts(Balance::LeastRequests, &two, 100, &[]), [100, 0], "it has recovered");
}

#[test]
fn who_was_slow_once_is_asked_again() {
    let two = servers(&[1.0, 1.0]);
    let (balancer, mut now) = (Balancer::new(Balance::LeastRequests, 0), Instant::now());
    two[0].load.answered(Duration::from_secs(3), now);
    two[1].load.answered(Duration::from_millis(5), now);
    let mut until = Duration::ZERO;
    while balancer.pick(&two, &[], None, now) == Some(1) {
        until += Duration::from_millis(100);
        now += Duration::from_millis(100);
        two[1].load.answered(Duration::from_millis(5), now); // who is asked answers
        assert!(until < Duration::from_mins(1), "never");
    }
    assert!(until > Duration::from_secs(5), "{until:?}: too soon for one that took three seconds");
}

#[test]
fn who_has_nothing_to_do_gets_what_its_weight_says() {
    let two = servers(&[2.0, 1.0]);
    let now = Instant::now();
    two[0].load.answered(Duration::from_millis(5), now);
    two[1].load.answered(Duration::from_millis(4), now);
    let counts = counts(Balance::LeastRequests, &two, 3000, &[]);
    assert!((1900..2100).contains(&counts[0]), "{counts:?}");
}

#[test]
fn who_was_tried_is_tried_again_only_if_there_is_nobody_else() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::ClientHash] {
        let two = servers(&[1.0, 1.0]);
        assert_eq!(counts(balance, &two, 50, &[0]), [0, 50], "{balance:?}");
        assert_eq!(counts(balance, &servers(&[1.0]), 5, &[0]), [5], "{balance:?}");
        let balancer = Balancer::new(balance, 0);
        assert_eq!(balancer.pick(&servers(&[0.0, 0.0]), &[], None, Instant::now()), None);
        assert_eq!(balancer.pick(&servers(&[]), &[], None, Instant::now()), None);
    }
}
