//! Whether to connect at all while the server is down.
//!
//! After a failed connect, whoever needs a new connection fails at once until the pause is over.
//! Then one connect is tried, and the others still fail; if it fails too, the pause doubles. It is
//! about new connections only: whoever stands in line waits on for one that is lent. Connects
//! that were begun before the last failure say nothing new by failing too: an outage that meets many
//! of them counts once. Pure.

use std::time::Duration;

use staunch_ledger::Stamp;

#[derive(Debug)]
pub(crate) struct Circuit {
    first: Duration,
    longest: Duration,
    /// Failures in a row.
    failures: u32,
    retry_at: Stamp,
    probing: bool,
    last: String,
    /// Counts what has become known: a try knows whether it is of now.
    round: u64,
}

/// The right to connect; whoever has it must say how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Try(u64);

/// The next connect is not to be tried yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) retry_in: Duration,
    pub(crate) last: String,
}

impl Circuit {
    pub(crate) fn new(first: Duration, longest: Duration) -> Circuit {
        let (retry_at, last) = (Stamp::default(), String::new());
        Circuit { first, longest, failures: 0, retry_at, probing: false, last, round: 0 }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.failures > 0
    }

    /// May somebody connect?
    pub(crate) fn ask(&mut self, now: Stamp) -> Result<Try, Refusal> {
        self.look(now)?;
        self.probing = self.is_open();
        Ok(Try(self.round))
    }

    /// Whether somebody might.
    pub(crate) fn look(&self, now: Stamp) -> Result<(), Refusal> {
        if self.is_shut(now) { Err(self.refusal(now)) } else { Ok(()) }
    }

    /// What is known of a server that is down, also when it may be tried again.
    pub(crate) fn refusal(&self, now: Stamp) -> Refusal {
        Refusal { retry_in: self.retry_at.since(now), last: self.last.clone() }
    }

    /// Whether nobody might.
    pub(crate) fn is_shut(&self, now: Stamp) -> bool {
        self.is_open() && (self.probing || now < self.retry_at)
    }

    /// The server answers, whenever the connect was begun.
    pub(crate) fn succeeded(&mut self) {
        if self.is_open() {
            self.round += 1;
            self.failures = 0;
            self.probing = false;
            self.last = String::new();
        }
    }

    pub(crate) fn failed(&mut self, of: Try, now: Stamp, why: String) {
        if of != Try(self.round) {
            return;
        }
        self.round += 1;
        let pause = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.plus(pause.min(self.longest));
        self.probing = false;
        self.last = why;
    }

    /// Whoever was connecting was cancelled: nothing is known.
    pub(crate) fn gave_up(&mut self, of: Try) {
        self.probing &= of != Try(self.round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_one_probes() {
        let ms = Duration::from_millis;
        let at = |millis: u64| Stamp::default().plus(ms(1000 + millis));
        let mut circuit = Circuit::new(ms(100), ms(300));
        let first = circuit.ask(at(0)).unwrap();
        circuit.failed(first, at(0), "refused".into());
        let refusal = Refusal { retry_in: ms(60), last: "refused".into() };
        assert_eq!(circuit.ask(at(40)), Err(refusal));
        let probe = circuit.ask(at(100)).unwrap();
        assert!(circuit.ask(at(100)).is_err(), "one probes, and no other");
        circuit.failed(probe, at(100), "refused".into());
        assert!(circuit.ask(at(299)).is_err());
        let probe = circuit.ask(at(300)).unwrap();
        circuit.gave_up(probe);
        let probe = circuit.ask(at(300)).expect("a probe that was cancelled is tried again");
        circuit.failed(probe, at(300), "refused".into());
        assert!(circuit.ask(at(599)).is_err(), "the longest pause");
        assert!(circuit.ask(at(600)).is_ok());
        circuit.succeeded();
        assert!(!circuit.is_open());
    }

    #[test]
    fn an_outage_that_meets_many_counts_once_and_stragglers_change_nothing() {
        let ms = Duration::from_millis;
        let at = |millis: u64| Stamp::default().plus(ms(1000 + millis));
        let mut circuit = Circuit::new(ms(100), ms(10_000));
        let many = [(); 20].map(|()| circuit.ask(at(0)).unwrap());
        let (stragglers, met) = many.split_at(2);
        for of in met {
            circuit.failed(*of, at(0), "reset".into());
        }
        let probe = circuit.ask(at(100)).expect("after one pause");
        circuit.gave_up(stragglers[0]);
        circuit.failed(stragglers[1], at(100), "reset".into());
        assert!(circuit.ask(at(100)).is_err(), "there is a probe still");
        circuit.failed(probe, at(100), "reset".into());
        assert!(circuit.ask(at(299)).is_err() && circuit.ask(at(300)).is_ok());
    }
}
