//! An order to move money, and the rules it is carried out by. Pure: the stores call it between
//! reading and writing.

use crate::{
    model::{AccountId, IdempotencyKey, Transfer},
    money::Money,
    store::StoreError,
};

/// An order that could be carried out: its accounts differ, its amount is positive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    key: Option<IdempotencyKey>,
    from: AccountId,
    to: AccountId,
    amount: Money,
}

/// No money was moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// From an account to itself.
    #[error("from and to are both account {0}")]
    SameAccount(AccountId),
    /// Nothing, or less than nothing.
    #[error("the amount {0} is not positive")]
    NotPositive(Money),
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// More than there is.
    #[error("account {account} has {balance}, which is less than {amount}")]
    Overdraft {
        /// Whence it should have gone.
        account: AccountId,
        /// What was on it when the order came.
        balance: Money,
        /// What was wanted.
        amount: Money,
    },
    /// The account would hold more than can be written down.
    #[error("account {0} cannot hold so much")]
    TooMuch(AccountId),
    /// The key has been used for another order.
    #[error("the idempotency key has been used for another transfer")]
    KeyReused,
    /// The store has failed. With a key the order can be sent again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Order {
    /// An order to move `amount`.
    ///
    /// # Errors
    /// [`TransferError::SameAccount`], [`TransferError::NotPositive`]
    pub fn new(
        key: Option<IdempotencyKey>,
        from: AccountId,
        to: AccountId,
        amount: Money,
    ) -> Result<Order, TransferError> {
        if from == to {
            return Err(TransferError::SameAccount(from));
        }
        if amount <= Money::ZERO {
            return Err(TransferError::NotPositive(amount));
        }
        Ok(Order { key, from, to, amount })
    }

    /// Its key.
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    /// Whence.
    pub fn from(&self) -> AccountId {
        self.from
    }

    /// Whither.
    pub fn to(&self) -> AccountId {
        self.to
    }

    /// How much.
    pub fn amount(&self) -> Money {
        self.amount
    }

    /// Whether the transfer is what the order asks for.
    pub(crate) fn asks_for(&self, transfer: &Transfer) -> bool {
        (self.from, self.to, self.amount) == (transfer.from, transfer.to, transfer.amount)
    }

    /// What the two accounts hold afterwards, given what they hold now; `None` if there is no
    /// such account.
    pub(crate) fn settle(
        &self,
        from: Option<Money>,
        to: Option<Money>,
    ) -> Result<(Money, Money), TransferError> {
        let from = from.ok_or(TransferError::UnknownAccount(self.from))?;
        let to = to.ok_or(TransferError::UnknownAccount(self.to))?;
        let left = from.checked_sub(self.amount).filter(|left| *left >= Money::ZERO);
        let left = left.ok_or(self.overdraft(from))?;
        Ok((left, to.checked_add(self.amount).ok_or(TransferError::TooMuch(self.to))?))
    }

    /// The refusal of an account that has `balance` only.
    pub(crate) fn overdraft(&self, balance: Money) -> TransferError {
        TransferError::Overdraft { account: self.from, balance, amount: self.amount }
    }
}
