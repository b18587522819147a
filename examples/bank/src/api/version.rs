//! The versions of the API. They differ in how an amount is written, and in what a transfer needs.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::problem::Problem;
use crate::money::{CURRENCY, Money};

/// What distinguishes a version.
pub(super) trait Version: Send + Sync + 'static {
    /// How an amount is written.
    type Amount: Serialize + DeserializeOwned + From<Money> + Send + 'static;

    /// Where its routes are.
    const PREFIX: &'static str;

    /// Whether a transfer must have an `Idempotency-Key`.
    const NEEDS_KEY: bool;

    /// The money of an amount.
    fn money(amount: Self::Amount) -> Result<Money, Problem>;
}

/// Deprecated: an amount is a bare text, and a transfer without a key may be booked twice.
pub(super) struct V1;

impl Version for V1 {
    type Amount = Money;
    const PREFIX: &'static str = "/v1";
    const NEEDS_KEY: bool = false;

    fn money(amount: Money) -> Result<Money, Problem> {
        Ok(amount)
    }
}

/// An amount says its currency, and a transfer has a key.
pub(super) struct V2;

/// `{"amount":"100.00","currency":"EUR"}`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithCurrency {
    amount: Money,
    currency: String,
}

impl From<Money> for WithCurrency {
    fn from(amount: Money) -> WithCurrency {
        WithCurrency { amount, currency: CURRENCY.to_owned() }
    }
}

impl Version for V2 {
    type Amount = WithCurrency;
    const PREFIX: &'static str = "/v2";
    const NEEDS_KEY: bool = true;

    fn money(amount: WithCurrency) -> Result<Money, Problem> {
        if amount.currency == CURRENCY { Ok(amount.amount) } else { Err(Problem::currency()) }
    }
}
