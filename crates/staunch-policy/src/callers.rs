//! Who still calls a version that is deprecated.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests by the name of their key; those without one are counted together. The names are those of
/// the configuration, and so few.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    named: Vec<(String, AtomicU64)>,
    others: AtomicU64,
}

impl Callers {
    /// `before` has what was counted until now.
    pub(crate) fn new<'n>(
        names: impl Iterator<Item = &'n str>,
        before: Option<&Callers>,
    ) -> Callers {
        let known = |name: &str| before?.named.iter().find(|(known, _)| known == name);
        let named = names.map(|name| {
            let count = known(name).map_or(0, |(_, count)| count.load(Ordering::Relaxed));
            (name.to_owned(), AtomicU64::new(count))
        });
        let others = before.map_or(0, |before| before.others.load(Ordering::Relaxed));
        Callers { named: named.collect(), others: AtomicU64::new(others) }
    }

    /// By the place of the key.
    pub(crate) fn count(&self, caller: Option<usize>) {
        let named = caller.and_then(|place| self.named.get(place));
        named.map_or(&self.others, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> impl Iterator<Item = (&str, u64)> {
        let named = self.named.iter().map(|(name, count)| (name.as_str(), count));
        named.chain([("", &self.others)]).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}
