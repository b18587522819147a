//! How an entry must end. Slow and leaked differ by this promise, not by a guessed threshold.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    addresses::Addresses,
    clock::{Stamp, millis},
};

/// The promise an entry is born with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obligation {
    /// It ends before its parent does. Broken when the parent is gone and it is not. Without a
    /// parent it ends with the process.
    EndsWithParent,
    /// It ends by a moment. Broken when it lives on.
    EndsBy(Deadline),
    /// It makes progress ([`Account::touch`](crate::Account::touch)) at least this often.
    /// Broken when it does not, however long it may live.
    ProgressWithin(Duration),
    /// It never ends, for this reason. Never broken, always shown with its reason.
    Perpetual(&'static str),
}

/// A moment by which something must have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Moment);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AfterBirth(Duration),
    At(Instant),
    Stamp(Stamp),
}

impl Deadline {
    /// Before every birth.
    pub(crate) const PASSED: Deadline = Deadline(Moment::Stamp(Stamp(0)));

    /// `delay` after the entry's birth.
    pub const fn after(delay: Duration) -> Deadline {
        Deadline(Moment::AfterBirth(delay))
    }

    /// At `instant`.
    pub const fn at(instant: Instant) -> Deadline {
        Deadline(Moment::At(instant))
    }

    /// The deadline on the ledger's clock, for an entry born at `now`.
    fn stamp(self, now: Stamp) -> Stamp {
        match self.0 {
            Moment::AfterBirth(delay) => now.plus(delay),
            Moment::At(instant) => now.plus(instant.saturating_duration_since(Instant::now())),
            Moment::Stamp(stamp) => stamp,
        }
    }
}

const TAG_SHIFT: u32 = 61;
const DATA: u64 = (1 << TAG_SHIFT) - 1;
const ENDS_WITH_PARENT: u64 = 0;
const ENDS_BY: u64 = 1;
const PROGRESS_WITHIN: u64 = 2;
const PERPETUAL: u64 = 3;

impl Obligation {
    /// One word, so that a reader never sees half of it.
    #[inline]
    pub(crate) fn encode(self, now: Stamp) -> u64 {
        match self {
            Obligation::EndsWithParent => ENDS_WITH_PARENT << TAG_SHIFT,
            Obligation::ProgressWithin(limit) => {
                PROGRESS_WITHIN << TAG_SHIFT | millis(limit).min(DATA)
            }
            Obligation::EndsBy(deadline) => ENDS_BY << TAG_SHIFT | deadline.stamp(now).0.min(DATA),
            Obligation::Perpetual(reason) => PERPETUAL << TAG_SHIFT | number(reason),
        }
    }

    pub(crate) fn decode(word: u64) -> Obligation {
        let data = word & DATA;
        match word >> TAG_SHIFT {
            ENDS_BY => Obligation::EndsBy(Deadline(Moment::Stamp(Stamp(data)))),
            PROGRESS_WITHIN => Obligation::ProgressWithin(Duration::from_millis(data)),
            PERPETUAL => Obligation::Perpetual(reason(data)),
            _ => Obligation::EndsWithParent,
        }
    }

    /// By how much the promise is broken at `now`; `None` while it is kept.
    pub(crate) fn overdue(self, now: Stamp, progress: Stamp, orphan: bool) -> Option<Duration> {
        match self {
            Obligation::EndsWithParent => orphan.then(|| now.since(progress)),
            Obligation::EndsBy(deadline) => {
                let deadline = deadline.stamp(now);
                (now > deadline).then(|| now.since(deadline))
            }
            Obligation::ProgressWithin(limit) => {
                now.since(progress).checked_sub(limit).filter(|by| !by.is_zero())
            }
            Obligation::Perpetual(_) => None,
        }
    }
}

impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obligation::EndsWithParent => f.write_str("ends with its parent"),
            Obligation::EndsBy(Deadline(Moment::AfterBirth(delay))) => {
                write!(f, "ends within {delay:?} of its birth")
            }
            Obligation::EndsBy(_) => f.write_str("ends by a deadline"),
            Obligation::ProgressWithin(limit) => write!(f, "makes progress within {limit:?}"),
            Obligation::Perpetual(reason) => write!(f, "perpetual: {reason}"),
        }
    }
}

/// More reasons than this are a mistake (a leaked `String` made `'static`); the surplus is
/// shown as [`TOO_MANY_REASONS`].
const MAX_REASONS: usize = 4096;
const TOO_MANY_REASONS: &str = "(not kept: more than 4096 different reasons)";

/// Reasons by number. A program states few: each is a literal in its source.
static REASONS: [OnceLock<&'static str>; MAX_REASONS] = [const { OnceLock::new() }; MAX_REASONS];

/// Numbers by the address of the literal.
static LITERALS: Addresses<{ 2 * MAX_REASONS }> = Addresses::new();

/// Numbers by what a literal says: equal ones may have different addresses.
static NUMBERS: Mutex<Option<HashMap<&'static str, u32>>> = Mutex::new(None);

/// The number of a reason.
fn number(reason: &'static str) -> u64 {
    let known = LITERALS.get(reason.as_ptr() as usize);
    // A part of a literal may begin where the whole does.
    let known = known.filter(|number| self::reason(u64::from(*number)) == reason);
    u64::from(known.unwrap_or_else(|| intern(reason)))
}

#[cold]
fn intern(reason: &'static str) -> u32 {
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    let numbers = numbers.get_or_insert_default();
    let next = numbers.len();
    let number = match numbers.get(reason) {
        Some(number) => *number,
        None if next == MAX_REASONS => return MAX_REASONS as u32,
        None => {
            REASONS[next].get_or_init(|| reason);
            numbers.insert(reason, next as u32);
            next as u32
        }
    };
    LITERALS.put(reason.as_ptr() as usize, number);
    number
}

/// The reason of a number that [`number`] returned.
fn reason(number: u64) -> &'static str {
    let reason = usize::try_from(number).ok().and_then(|number| REASONS.get(number)?.get());
    reason.copied().unwrap_or(TOO_MANY_REASONS)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_have_one_number_and_parts_of_one_their_own() {
        const WHOLE: &str = "serves until it is told to stop";
        let copy: &'static str = WHOLE.to_owned().leak();
        let part = &WHOLE[..6];
        let numbers = [WHOLE, copy, part].map(number);
        assert_eq!(numbers[0], numbers[1]);
        assert_eq!(numbers.map(reason), [WHOLE, WHOLE, "serves"]);
        assert_eq!([WHOLE, copy, part].map(number), numbers);
    }
}
