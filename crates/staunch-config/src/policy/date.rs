//! Dates, as seconds since 1970 in UTC.

use toml::de::DeValue;
use toml_datetime::{Date, Datetime, Offset, Time};

use crate::reader::kinds::Parsed;

/// A day (`2026-12-31`, from its first second in UTC), or a second (`2026-12-31T12:00:00Z`).
pub(super) fn date(value: &DeValue<'_>) -> Parsed<u64> {
    let expected = "must be a date such as 2026-12-31 or 2026-12-31T12:00:00Z, without quotes, from \
                    1970 to 9999";
    value.as_datetime().and_then(seconds).ok_or_else(|| expected.to_owned())
}

fn seconds(written: &Datetime) -> Option<u64> {
    let midnight = days(written.date?) * 86_400;
    let second = match (written.time, written.offset) {
        (None, None) => midnight,
        (Some(time), Some(offset)) => midnight + of_day(time) - beyond_utc(offset),
        _ => return None, // nobody knows where it is that late
    };
    u64::try_from(second).ok()
}

fn of_day(time: Time) -> i64 {
    let [hour, minute, second] = [time.hour, time.minute, time.second.unwrap_or(0)].map(i64::from);
    (hour * 60 + minute) * 60 + second
}

fn beyond_utc(offset: Offset) -> i64 {
    match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    }
}

/// Days from 1970-01-01. The year begins in March here, so that a leap day is its last.
fn days(date: Date) -> i64 {
    let [year, month, day] = [i64::from(date.year), date.month.into(), date.day.into()];
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leaps + before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date -u -d TEXT +%s` has it.
    #[test]
    fn dates_are_seconds() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("1969-12-31", None),
            ("2000-02-29", Some(951_782_400)),
            ("2024-12-31T23:59:59Z", Some(1_735_689_599)),
            ("2026-03-01", Some(1_772_323_200)),
            ("2026-01-01T01:30:00+01:30", Some(1_767_225_600)),
            ("9999-12-31", Some(253_402_214_400)),
            ("2026-01-01T01:30:00", None),
            ("01:30:00", None),
        ] {
            assert_eq!(seconds(&text.parse().unwrap()), expected, "{text}");
        }
    }

    /// Each day is the one after the day before.
    #[test]
    fn no_day_is_left_out() {
        let mut expected = 0;
        for year in 1970..2405_u16 {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if is_leap { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(days(Date { year, month, day }), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }
}
