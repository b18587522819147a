//! Whether to connect at all while the server is down.
//!
//! After a failed connect, whoever needs a new connection fails at once until the pause is over.
//! Then one connect is tried, and the others still fail; if it fails too, the pause doubles. Pure.

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
}

/// The next connect is not to be tried yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) retry_in: Duration,
    pub(crate) last: String,
}

impl Circuit {
    pub(crate) fn new(first: Duration, longest: Duration) -> Circuit {
        let (retry_at, last) = (Stamp::default(), String::new());
        Circuit { first, longest, failures: 0, retry_at, probing: false, last }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.failures > 0
    }

    /// May somebody connect? Whoever may must say how it went.
    pub(crate) fn ask(&mut self, now: Stamp) -> Result<(), Refusal> {
        if self.failures == 0 {
            return Ok(());
        }
        if self.probing || now < self.retry_at {
            let retry_in = self.retry_at.since(now);
            return Err(Refusal { retry_in, last: self.last.clone() });
        }
        self.probing = true;
        Ok(())
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.probing = false;
        self.last = String::new();
    }

    pub(crate) fn failed(&mut self, now: Stamp, why: String) {
        let pause = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.plus(pause.min(self.longest));
        self.probing = false;
        self.last = why;
    }

    /// Whoever was connecting was cancelled: nothing is known.
    pub(crate) fn gave_up(&mut self) {
        self.probing = false;
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
        assert_eq!(circuit.ask(at(0)), Ok(()));
        circuit.failed(at(0), "refused".into());
        let refusal = Refusal { retry_in: ms(60), last: "refused".into() };
        assert_eq!(circuit.ask(at(40)), Err(refusal));
        assert_eq!(circuit.ask(at(100)), Ok(()), "one probes");
        assert!(circuit.ask(at(100)).is_err(), "and no other");
        circuit.failed(at(100), "refused".into());
        assert!(circuit.ask(at(299)).is_err());
        assert_eq!(circuit.ask(at(300)), Ok(()));
        circuit.gave_up();
        assert_eq!(circuit.ask(at(300)), Ok(()), "a probe that was cancelled is tried again");
        circuit.failed(at(300), "refused".into());
        assert!(circuit.ask(at(599)).is_err(), "the longest pause");
        assert_eq!(circuit.ask(at(600)), Ok(()));
        circuit.succeeded();
        assert!(!circuit.is_open());
    }
}
