//! How sure a rule is, and why: the strongest proof, shifted by what speaks for and against it.

/// A confidence in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    proof: f64,
    shift: f64,
    reasons: Vec<String>,
}

impl Score {
    /// The confidence so far.
    pub(super) fn value(&self) -> f64 {
        if self.proof == 0.0 { 0.0 } else { (self.proof + self.shift).clamp(0.0, 0.99) }
    }

    /// Why it is what it is.
    pub(super) fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// If `holds`, the confidence is at least `value`.
    pub(super) fn proof(mut self, holds: bool, value: f64, reason: impl Into<String>) -> Score {
        if holds {
            self.proof = self.proof.max(value);
            self.reasons.push(reason.into());
        }
        self
    }

    /// If `holds`, it is so much more or less sure.
    pub(super) fn shift(mut self, holds: bool, by: f64, reason: impl Into<String>) -> Score {
        if holds {
            self.shift += by;
            self.reasons.push(reason.into());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_proof_counts_and_without_proof_nothing_does() {
        let score =
            Score::default().proof(true, 0.5, "a").proof(true, 0.8, "b").proof(false, 0.9, "c");
        assert!((score.value() - 0.8).abs() < 1e-9);
        assert_eq!(score.reasons(), ["a", "b"]);
        assert!(Score::default().shift(true, 0.3, "d").value() < 1e-9);
        assert!((score.shift(true, 0.9, "e").value() - 0.99).abs() < 1e-9);
    }
}
