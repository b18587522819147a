//! What may be chosen about a diagnosis.

/// What may be chosen about a diagnosis.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Findings below this confidence are left out. The default is the one at which the healthy
    /// programs of the corpus stay silent; below it, guesses begin.
    pub confidence_min: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options { confidence_min: 0.7 }
    }
}
