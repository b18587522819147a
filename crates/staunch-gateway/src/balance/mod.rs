//! Which server a request goes to: pure decisions over what is known of each.

mod dice;
mod health;
mod load;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use self::dice::mix;
pub(crate) use self::{
    dice::Dice,
    health::{EjectionLimits, Health},
    load::{InFlight, Load},
};
use staunch_config::Balance;
use tokio::time::Instant;

/// A server as a balancer sees it.
pub(crate) trait Candidate {
    /// Its weight, of which it has a part while it is new; 0 if no request may go there.
    fn weight(&self, now: Instant) -> f64;
    /// What this core has it do.
    fn load(&self) -> &Load;
    /// What it is called, the same in every process.
    fn name_hash(&self) -> u64;
}

/// The state of one service on one core.
#[derive(Debug)]
pub(crate) struct Balancer {
    balance: Balance,
    turn: AtomicUsize,
    dice: Dice,
}

/// The golden ratio less 1: its multiples fall evenly between 0 and 1, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl Balancer {
    /// Each core begins elsewhere.
    pub(crate) fn new(balance: Balance, core: usize) -> Balancer {
        Balancer { balance, turn: AtomicUsize::new(core), dice: Dice::new(mix(core as u64 + 1)) }
    }

    /// One of `candidates` other than those that `tried` names, unless there is no other; `None` if
    /// no request may go to any.
    pub(crate) fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        tried: &[usize],
        client: Option<IpAddr>,
        now: Instant,
    ) -> Option<usize> {
        if let [only] = candidates {
            return (only.weight(now) > 0.0).then_some(0);
        }
        let weights = |is_fresh: fn(&[usize], usize) -> bool| {
            let weigh = |(index, candidate): (usize, &C)| {
                if is_fresh(tried, index) { candidate.weight(now) } else { 0.0 }
            };
            candidates.iter().enumerate().map(weigh).collect::<Vec<f64>>()
        };
        let mut weights_left = weights(|tried, index| !tried.contains(&index));
        if weights_left.iter().all(|weight| *weight <= 0.0) {
            weights_left = weights(|_, _| true);
        }
        match self.balance {
            Balance::RoundRobin => self.in_turn(&weights_left),
            Balance::LeastRequests => self.less_loaded(candidates, &weights_left, now),
            Balance::ClientHash => match client {
                Some(client) => by_client(candidates, &weights_left, client),
                None => self.in_turn(&weights_left),
            },
        }
    }

    /// One after the other, each as often as its weight says, and evenly spread.
    fn in_turn(&self, weights: &[f64]) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let open: Vec<usize> = open(weights).collect();
        let first = *weights.get(*open.first()?)?;
        let is_like_first = |index: &usize| weights[*index].total_cmp(&first).is_eq();
        if open.iter().all(is_like_first) {
            return open.get(turn % open.len()).copied();
        }
        let all: f64 = weights.iter().sum();
        let mut left = (turn as f64 * GOLDEN).fract() * all;
        for index in &open {
            left -= weights[*index];
            if left < 0.0 {
                return Some(*index);
            }
        }
        open.last().copied()
    }

    /// The better of two (Mitzenmacher 2001, "The Power of Two Choices"). Of two that are idle and
    /// about as quick, neither is: each gets as much as its weight says.
    fn less_loaded<C: Candidate>(
        &self,
        candidates: &[C],
        weights: &[f64],
        now: Instant,
    ) -> Option<usize> {
        let open: Vec<usize> = open(weights).collect();
        if open.len() < 2 {
            return open.first().copied();
        }
        let first = self.dice.roll(open.len());
        let second = (first + 1 + self.dice.roll(open.len() - 1)) % open.len();
        let (first, second) = (open[first], open[second]);
        let [a, b] = [first, second].map(|index| candidates[index].load());
        // Of one that has not answered yet nobody knows how quick it is.
        let (quick_a, quick_b) = a.latency(now).zip(b.latency(now)).unwrap_or((1.0, 1.0));
        if a.is_idle() && b.is_idle() && quick_a.max(quick_b) <= ALIKE * quick_a.min(quick_b) {
            let both = weights[first] + weights[second];
            let is_first = self.dice.roll(FINE) as f64 * both < weights[first] * FINE as f64;
            return Some(if is_first { first } else { second });
        }
        let cost = |load: &Load, latency: f64, index: usize| load.next() * latency / weights[index];
        Some(if cost(b, quick_b, second) < cost(a, quick_a, first) { second } else { first })
    }
}

/// Latencies that differ by less say nothing.
const ALIKE: f64 = 2.0;

/// Into so many parts a chance is divided.
const FINE: usize = 1 << 20;

/// Those with a weight.
fn open(weights: &[f64]) -> impl Iterator<Item = usize> + '_ {
    weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0).map(|(index, _)| index)
}

/// The one with the highest score for this client (rendezvous hashing, Thaler and Ravishankar 1998;
/// with weights, Schindelhauer and Schomaker 2005): when one goes, only its own clients move.
fn by_client<C: Candidate>(candidates: &[C], weights: &[f64], client: IpAddr) -> Option<usize> {
    let mut hasher = DefaultHasher::new(); // the same keys in every process
    client.to_canonical().hash(&mut hasher);
    let client = hasher.finish();
    let score = |index: usize| {
        let hash = mix(client ^ candidates[index].name_hash());
        let unit = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64; // between 0 and 1
        -weights[index] / unit.ln()
    };
    open(weights).max_by(|a, b| score(*a).total_cmp(&score(*b)))
}

#[cfg(test)]
mod tests;
