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
static SEED: LazyLock<[u64; 2]> =
    LazyLock::new(|| [0_u8, 1].map(|n| RandomState::new().hash_one(n)));
static NEXT: AtomicU64 = AtomicU64::new(0);

impl TraceId {
    /// A new one. Unique, not secret.
    pub fn random() -> TraceId {
        TraceId::derived(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of the work that `number` names within this process: the same number, the same
    /// id. Lets a million idle connections have trace ids without holding any.
    pub fn derived(number: u64) -> TraceId {
        let [high, low] = SEED.map(|seed| mixed(seed ^ number));
        TraceId((u128::from(high) << 64 | u128::from(low)).max(1))
    }

    /// The id that a `traceparent` header names
    /// (<https://www.w3.org/TR/trace-context/#traceparent-header>); `None` if it is not as it
    /// should be, which the standard wants ignored.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::TraceId;
    /// let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let trace = TraceId::from_traceparent(header).unwrap();
    /// assert_eq!(trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
    /// ```
    pub fn from_traceparent(header: &[u8]) -> Option<TraceId> {
        let (version, rest) = header.split_at_checked(2)?;
        let (trace, rest) = rest.strip_prefix(b"-")?.split_at_checked(32)?;
        let (parent, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let (flags, more) = rest.strip_prefix(b"-")?.split_at_checked(2)?;
        let version = hex(version).filter(|version| *version != 0xff)?;
        // Later versions may say more, after another dash.
        let ends_well = more.is_empty() || (version > 0 && more.starts_with(b"-"));
        hex(flags).filter(|_| ends_well)?;
        hex(parent).filter(|parent| *parent != 0)?;
        hex(trace).filter(|trace| *trace != 0).map(TraceId)
    }

    /// A `traceparent` header that hands the trace on, as from a span of its own.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::TraceId;
    /// let trace = TraceId::random();
    /// assert_eq!(TraceId::from_traceparent(&trace.to_traceparent()), Some(trace));
    /// ```
    pub fn to_traceparent(self) -> [u8; 55] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let span = (TraceId::random().0 as u64).max(1);
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        // By hand: it is written for every request that is handed on.
        for (digit, place) in text[3..35].iter_mut().rev().enumerate() {
            *place = DIGITS[(self.0 >> (4 * digit)) as usize & 15];
        }
        for (digit, place) in text[36..52].iter_mut().rev().enumerate() {
            *place = DIGITS[(span >> (4 * digit)) as usize & 15];
        }
        text
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

/// The bits of a number spread over all of its bits, so that numbers that follow each other look
/// unlike; different numbers stay different (SplitMix64's last step:
/// <https://doi.org/10.1145/2714064.2660195>).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Lower-case digits only, as the standard has them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_have_ids_unlike() {
        let ids: Vec<_> = (0..1000).map(|number| TraceId::derived(number).0).collect();
        assert_eq!(TraceId::derived(0).0, ids[0]);
        for pair in ids.windows(2) {
            let differ = (pair[0] ^ pair[1]).count_ones();
            assert!((24..=104).contains(&differ), "{differ} of 128 bits differ");
        }
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[track_caller]
    fn check(header: &str, is_known: bool) {
        let trace = TraceId::from_traceparent(header.as_bytes()).map(|trace| trace.to_string());
        assert_eq!(trace.as_deref(), is_known.then_some(TRACE), "{header}");
    }

    #[test]
    fn a_traceparent_is_known_or_ignored() {
        let parent = "b7ad6b7169203331";
        check(&format!("00-{TRACE}-{parent}-01"), true);
        check(&format!("01-{TRACE}-{parent}-00"), true);
        check(&format!("01-{TRACE}-{parent}-00-more"), true);
        check(&format!("00-{TRACE}-{parent}-01-more"), false);
        check(&format!("01-{TRACE}-{parent}-00more"), false);
        check(&format!("ff-{TRACE}-{parent}-01"), false);
        check(&format!("00-{}-{parent}-01", TRACE.to_uppercase()), false);
        check(&format!("00-{TRACE}-0000000000000000-01"), false);
        check(&format!("00-{}-{parent}-01", "0".repeat(32)), false);
        check(&format!("00-{TRACE}-{parent}"), false);
        check("00-é", false);
        check("", false);
    }
}
