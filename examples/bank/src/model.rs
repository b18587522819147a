//! What a bank talks about: accounts, transfers, entries.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{money::Money, timestamp::Timestamp};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The number of an account.
    AccountId
}
id! {
    /// The number of a transfer.
    TransferId
}
id! {
    /// The number of an entry; those of one account are in the order they were booked.
    EntryId
}

/// An account and what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// What is on it; never negative.
    pub balance: Money,
}

/// One line of an account's statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// The transfer it belongs to; `None` for what the account was opened with.
    pub transfer: Option<TransferId>,
    /// What came, or went if negative.
    pub amount: Money,
    /// What was on the account then.
    pub balance: Money,
    /// When.
    pub at: Timestamp,
}

/// Money that has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its number.
    pub id: TransferId,
    /// Whence.
    pub from: AccountId,
    /// Whither.
    pub to: AccountId,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: Timestamp,
}

/// A transfer, and whether it was booked by an earlier request with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was booked.
    pub transfer: Transfer,
    /// By an earlier request.
    pub is_replay: bool,
}

/// Names a request, so that it can be sent again without being done again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// What is written is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 printable ASCII characters, in quotes or not")]
pub struct ParseKeyError;

impl IdempotencyKey {
    /// A key as the header has it: the draft standard wants quotes, many clients send none.
    ///
    /// # Errors
    /// [`ParseKeyError`]
    pub fn parse(text: &str) -> Result<IdempotencyKey, ParseKeyError> {
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let is_key =
            (1..=255).contains(&bare.len()) && bare.bytes().all(|b| (32..127).contains(&b));
        if is_key { Ok(IdempotencyKey(bare.to_owned())) } else { Err(ParseKeyError) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
