//! What W3C Trace Context defines: the id of a trace, that of a span in it, and the header that
//! hands both on (<https://www.w3.org/TR/trace-context/>).

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
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

    /// The id that a `traceparent` header names; `None` if it is not as it should be, which the
    /// standard wants ignored. [`TraceParent::parse`] tells the rest of it.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::TraceId;
    /// let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let trace = TraceId::from_traceparent(header).unwrap();
    /// assert_eq!(trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
    /// ```
    pub fn from_traceparent(header: &[u8]) -> Option<TraceId> {
        TraceParent::parse(header).map(|parent| parent.trace)
    }

    /// A `traceparent` header that hands the trace on, as from a sampled span of its own.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::TraceId;
    /// let trace = TraceId::random();
    /// assert_eq!(TraceId::from_traceparent(&trace.to_traceparent()), Some(trace));
    /// ```
    pub fn to_traceparent(self) -> [u8; 55] {
        TraceParent { trace: self, span: SpanId::random(), is_sampled: true }.to_bytes()
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

/// Names one step of a trace: 8 bytes, not all zero, shown as 16 hexadecimal digits
/// (<https://www.w3.org/TR/trace-context/#parent-id>).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// A new one. Unique within its process, not secret.
    pub fn random() -> SpanId {
        SpanId(NonZeroU64::new(TraceId::random().0 as u64).unwrap_or(NonZeroU64::MIN))
    }

    /// Its bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

/// What a `traceparent` header says: to which trace a request belongs, which step of it sent the
/// request, and whether that one is recorded.
///
/// [`TraceId`] is enough for whoever only names a trace; this is for whoever passes judgement on
/// it, or has spans of its own.
///
/// # Examples
/// ```
/// use staunch_scope::{SpanId, TraceParent};
///
/// let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parent = TraceParent::parse(header).unwrap();
/// assert!(parent.is_sampled);
/// assert_eq!(&parent.to_bytes(), header);
/// let child = TraceParent { span: SpanId::random(), ..parent };
/// assert_eq!(TraceParent::parse(&child.to_bytes()), Some(child));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span that sends the request.
    pub span: SpanId,
    /// Whether that span may have been recorded, so that its children had better be, too.
    pub is_sampled: bool,
}

/// The bit of the flags that says so.
const SAMPLED: u128 = 1;

impl TraceParent {
    /// What a header says (<https://www.w3.org/TR/trace-context/#traceparent-header>); `None` if it
    /// is not as it should be, which the standard wants ignored. Of a later version what this one
    /// knows is read.
    pub fn parse(header: &[u8]) -> Option<TraceParent> {
        let (version, rest) = header.split_at_checked(2)?;
        let (trace, rest) = rest.strip_prefix(b"-")?.split_at_checked(32)?;
        let (span, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let (flags, more) = rest.strip_prefix(b"-")?.split_at_checked(2)?;
        let version = hex(version).filter(|version| *version != 0xff)?;
        // Later versions may say more, after another dash.
        let ends_well = more.is_empty() || (version > 0 && more.starts_with(b"-"));
        let flags = hex(flags).filter(|_| ends_well)?;
        let span = SpanId(NonZeroU64::new(hex(span)? as u64)?);
        let trace = hex(trace).filter(|trace| *trace != 0).map(TraceId)?;
        Some(TraceParent { trace, span, is_sampled: flags & SAMPLED != 0 })
    }

    /// The header that says so.
    pub fn to_bytes(self) -> [u8; 55] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // By hand: it is written for every request that is handed on.
        for (digit, place) in text[3..35].iter_mut().rev().enumerate() {
            *place = DIGITS[(self.trace.0 >> (4 * digit)) as usize & 15];
        }
        for (digit, place) in text[36..52].iter_mut().rev().enumerate() {
            *place = DIGITS[(self.span.0.get() >> (4 * digit)) as usize & 15];
        }
        text[54] = DIGITS[usize::from(self.is_sampled)];
        text
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

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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

    #[test]
    fn of_the_flags_one_bit_is_known() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let header = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
            let parent = TraceParent::parse(header.as_bytes()).unwrap();
            assert_eq!(parent.is_sampled, is_sampled, "{flags}");
            let told = String::from_utf8(parent.to_bytes().to_vec()).unwrap();
            assert_eq!(told, format!("00-{TRACE}-b7ad6b7169203331-0{}", u8::from(is_sampled)));
        }
    }
}
