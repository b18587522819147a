//! What may happen a thousand times a second is said once in a while, with how often it was.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Stamp;

/// Between two times that something is said.
const PAUSE: Duration = Duration::from_secs(10);

/// How often something has happened that may happen a thousand times a second: it is said at once, and
/// then once in ten seconds at most.
///
/// # Examples
/// ```
/// use staunch_ledger::{Ledger, Seldom};
/// let refused = Seldom::default();
/// let now = Ledger::current().now();
/// if let Some(times) = refused.happened(now) {
///     println!("refused {times} times");
/// }
/// assert_eq!(refused.happened(now), None, "it was said just now");
/// ```
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    at: Option<Stamp>,
    /// Times since then.
    since: u64,
}

impl Seldom {
    /// It has happened. Returns how often since it was said last, if it is to be said now.
    pub fn happened(&self, now: Stamp) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.since += 1;
        if said.at.is_some_and(|at| now.since(at) < PAUSE) {
            return None;
        }
        said.at = Some(now);
        Some(std::mem::take(&mut said.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_with_how_often_it_was() {
        let (seldom, start) = (Seldom::default(), Stamp::default());
        let at = |seconds| seldom.happened(start.plus(Duration::from_secs(seconds)));
        assert_eq!((at(0), at(1), at(9)), (Some(1), None, None));
        assert_eq!((at(10), at(11)), (Some(3), None));
        assert_eq!(at(1000), Some(2));
    }
}
