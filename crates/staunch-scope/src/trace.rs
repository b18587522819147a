//! Trace ids, as W3C Trace Context defines them: 16 bytes, not all zero.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Names one piece of work across processes: 16 bytes, shown as 32 hexadecimal digits
/// (<https://www.w3.org/TR/trace-context/#trace-id>).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Differs from process to process; the operating system's randomness, by way of `RandomState`.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static NEXT: AtomicU64 = AtomicU64::new(0);

impl TraceId {
    /// A new one. Unique, not secret.
    pub fn random() -> TraceId {
        TraceId::derived(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of the work that `number` names within this process: the same number, the same
    /// id. Lets a million idle connections have trace ids without holding any.
    pub fn derived(number: u64) -> TraceId {
        let high = SEED.hash_one((0_u8, number));
        let low = SEED.hash_one((1_u8, number));
        TraceId((u128::from(high) << 64 | u128::from(low)).max(1))
    }

    /// The id with these bytes; `None` if all are zero, which W3C forbids.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<TraceId> {
        let number = u128::from_be_bytes(bytes);
        (number != 0).then_some(TraceId(number))
    }

    /// Its bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
