//! Memory as somebody measures it.

/// Memory in use, and how much may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In use, in bytes.
    pub bytes: u64,
    /// The most that may be in use, in bytes; `None` if there is no limit.
    pub limit: Option<u64>,
}

impl Usage {
    /// Of two, the one with the greater part of its limit in use.
    pub(crate) fn nearer(self, other: Usage) -> Usage {
        let (Some(limit), Some(others)) = (self.limit, other.limit) else {
            return if self.limit.is_some() { self } else { other };
        };
        let is_nearer = u128::from(self.bytes) * u128::from(others)
            >= u128::from(other.bytes) * u128::from(limit);
        if is_nearer { self } else { other }
    }
}

/// Measures memory, in place of the kernel's figures: for a process with an accounting of its own,
/// or a test. A function that returns a [`Usage`] is one.
///
/// It is asked by the sampler, at every look: it must be quick.
pub trait MemorySource: Send + Sync + 'static {
    /// What is in use now.
    fn usage(&self) -> Usage;
}

impl<F: Fn() -> Usage + Send + Sync + 'static> MemorySource for F {
    fn usage(&self) -> Usage {
        self()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(left: (u64, Option<u64>), right: (u64, Option<u64>), nearer: (u64, Option<u64>)) {
        let usage = |(bytes, limit)| Usage { bytes, limit };
        assert_eq!(usage(left).nearer(usage(right)), usage(nearer), "{left:?} {right:?}");
        assert_eq!(usage(right).nearer(usage(left)), usage(nearer), "{right:?} {left:?}");
    }

    #[test]
    fn the_nearer_limit_is_the_one_that_counts() {
        check((80, Some(100)), (81, Some(200)), (80, Some(100)));
        check((80, Some(100)), (900, Some(1000)), (900, Some(1000)));
        check((80, Some(100)), (u64::MAX, None), (80, Some(100)));
    }
}
