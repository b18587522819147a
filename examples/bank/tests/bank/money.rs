//! Amounts are exact.

use bank::{Money, ParseMoneyError};
use proptest::prelude::*;

fn check(text: &str, expected: Result<i64, ParseMoneyError>) {
    assert_eq!(text.parse().map(Money::cents), expected, "{text}");
}

#[test]
fn amounts_are_digits_and_at_most_two_decimals() {
    check("1000.00", Ok(100_000));
    check("1000", Ok(100_000));
    check("0.5", Ok(50));
    check("-0.01", Ok(-1));
    check("007", Ok(700));
    for text in
        ["", "-", ".", ".5", "5.", "1.234", "1,00", "+1", "1e3", " 1", "1 ", "--1", "1.-1", "٣"]
    {
        check(text, Err(ParseMoneyError::Form));
    }
}

#[test]
fn the_ends_of_the_range_are_amounts_and_more_is_none() {
    check("92233720368547758.07", Ok(i64::MAX));
    check("-92233720368547758.08", Ok(i64::MIN));
    check("92233720368547758.08", Err(ParseMoneyError::Range));
    check("-92233720368547758.09", Err(ParseMoneyError::Range));
    check("99999999999999999999999999", Err(ParseMoneyError::Range));
    assert_eq!(Money::from_cents(i64::MIN).to_string(), "-92233720368547758.08");
    assert_eq!(Money::MAX.checked_add(Money::from_cents(1)), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(cents: i64) {
        let money = Money::from_cents(cents);
        prop_assert_eq!(money.to_string().parse::<Money>(), Ok(money));
        let json = serde_json::to_string(&money).unwrap();
        prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
    }

    #[test]
    fn sums_are_exact_or_none(a: i64, b: i64) {
        let (left, right) = (Money::from_cents(a), Money::from_cents(b));
        prop_assert_eq!(left.checked_add(right).map(Money::cents), a.checked_add(b));
        prop_assert_eq!(left.checked_sub(right).map(Money::cents), a.checked_sub(b));
    }

    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<Money>();
    }

    #[test]
    fn whatever_looks_like_an_amount_is_one(text in "-?[0-9]{1,15}(\\.[0-9]{1,2})?") {
        prop_assert!(text.parse::<Money>().is_ok());
    }
}
