//! When a certificate is valid, read from its DER.
//!
//! rustls does not tell, and for two dates no ASN.1 library is needed: RFC 5280, section 4.1,
//! puts them fifth in a sequence. What this does not understand it leaves to rustls to refuse;
//! it only serves warnings.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Date,
    pub(crate) not_after: Date,
}

/// A moment in UTC, as certificates write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

impl Validity {
    /// The validity of a certificate in DER; `None` if that is not what the bytes are.
    pub(crate) fn of(mut certificate: &[u8]) -> Option<Validity> {
        let mut certificate = take(&mut certificate, SEQUENCE)?;
        let mut fields = take(&mut certificate, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            take(&mut fields, VERSION)?;
        }
        for skipped in [INTEGER, SEQUENCE, SEQUENCE] {
            take(&mut fields, skipped)?; // serial number, signature algorithm, issuer
        }
        let mut validity = take(&mut fields, SEQUENCE)?;
        let not_before = Date::take(&mut validity)?;
        let not_after = Date::take(&mut validity)?;
        Some(Validity { not_before, not_after })
    }

    /// Why the certificate is of no use at `now`; `None` when it is valid.
    pub(crate) fn complaint(&self, now: SystemTime) -> Option<String> {
        if now < self.not_before.moment() {
            return Some(format!("is not valid before {}", self.not_before));
        }
        (now > self.not_after.moment()).then(|| format!("expired on {}", self.not_after))
    }
}

/// Takes the element at the front, if it has this tag, and returns its contents (X.690, 8.1).
fn take<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_first()?;
    let (length, mut rest) = rest.split_first()?;
    let mut length = usize::from(*length);
    if length >= 0x80 {
        // The long form: so many bytes of length follow.
        let (digits, after) = rest.split_at_checked(length - 0x80).filter(|_| length <= 0x84)?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (contents, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    (*first == tag).then_some(contents)
}

impl Date {
    fn take(bytes: &mut &[u8]) -> Option<Date> {
        if bytes.first() == Some(&UTC_TIME) {
            let (year, rest) = take(bytes, UTC_TIME)?.split_at_checked(2)?;
            let year = number(year)?;
            let century = if year < 50 { 2000 } else { 1900 }; // RFC 5280, 4.1.2.5.1
            return Date::of(century + year, rest);
        }
        let (year, rest) = take(bytes, GENERALIZED_TIME)?.split_at_checked(4)?;
        Date::of(number(year)?, rest)
    }

    /// `rest` is `MMDDHHMMSSZ`.
    fn of(year: u16, rest: &[u8]) -> Option<Date> {
        let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
        let two = |at: usize| number(&digits[at..at + 2]).map(|number| number as u8);
        Some(Date {
            year,
            month: two(0).filter(|month| (1..=12).contains(month))?,
            day: two(2).filter(|day| (1..=31).contains(day))?,
            hour: two(4)?,
            minute: two(6)?,
            second: two(8)?,
        })
    }

    /// Before 1970 everything is the same to us.
    fn moment(self) -> SystemTime {
        let seconds = self.days_since_epoch() * 86_400
            + i64::from(self.hour) * 3_600
            + i64::from(self.minute) * 60
            + i64::from(self.second);
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Days in the Gregorian calendar, by counting years from March: then the leap day is the
    /// last of its year, and months before a month have 30.6 days on average
    /// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
    fn days_since_epoch(self) -> i64 {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let days = 365 * year + leap_days + (153 * month + 2) / 5 + i64::from(self.day) - 1;
        days - 719_468 // days of 1970-01-01, so counted
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day, hour, minute, second } = self;
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |number: u16, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    type Ymd = (i32, u8, u8);

    /// The DER of a certificate that is valid from `from` to `to`.
    fn certificate(from: Ymd, to: Ymd) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn days(days: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400)
    }

    #[test]
    fn both_forms_of_dates_are_read() {
        let validity = Validity::of(&certificate((1999, 12, 31), (2049, 1, 2))).unwrap();
        assert_eq!(validity.not_before.to_string(), "1999-12-31 00:00:00 UTC");
        assert_eq!(validity.not_after.to_string(), "2049-01-02 00:00:00 UTC");
        let validity = Validity::of(&certificate((2050, 1, 1), (3000, 2, 28))).unwrap();
        assert_eq!(validity.not_before.to_string(), "2050-01-01 00:00:00 UTC");
        assert_eq!(validity.not_after.to_string(), "3000-02-28 00:00:00 UTC");
    }

    #[test]
    fn dates_are_moments() {
        let check = |year, month, day, expected: u64| {
            let date = Date { year, month, day, hour: 0, minute: 0, second: 0 };
            assert_eq!(date.moment(), days(expected), "{date}");
        };
        check(1970, 1, 1, 0);
        check(1970, 3, 1, 59);
        check(1972, 2, 29, 789);
        check(2000, 2, 29, 11_016);
        check(2000, 3, 1, 11_017);
        check(2024, 12, 31, 20_088);
        check(2100, 3, 1, 47_541);
        check(1950, 1, 1, 0);
    }

    #[test]
    fn complaints_name_the_date() {
        let validity = Validity::of(&certificate((2000, 3, 1), (2024, 12, 31))).unwrap();
        assert_eq!(validity.complaint(days(15_000)), None);
        assert_eq!(
            validity.complaint(days(11_016)).unwrap(),
            "is not valid before 2000-03-01 00:00:00 UTC"
        );
        assert_eq!(validity.complaint(days(20_089)).unwrap(), "expired on 2024-12-31 00:00:00 UTC");
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Validity::of(&bytes);
        }

        #[test]
        fn a_damaged_certificate_does_no_harm(at in 0_usize..200, value: u8, cut in 0_usize..600) {
            let mut bytes = certificate((2000, 3, 1), (2024, 12, 31));
            bytes[at] = value;
            bytes.truncate(cut);
            if let Some(validity) = Validity::of(&bytes) {
                let _ = validity.complaint(SystemTime::now());
            }
        }
    }
}
