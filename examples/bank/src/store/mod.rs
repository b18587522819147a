//! The repository layer: where accounts are kept.
//!
//! [`Store`] says what the bank needs; [`PostgresStore`] and [`SqliteStore`] do it. Both keep the
//! same promises: a transfer happens wholly or not at all, one key is booked once, and two
//! transfers never wait for each other in a circle.

mod migrations;
mod postgres;
mod sqlite;

use std::{error::Error, future::Future, pin::Pin};

use staunch::BoxError;
use staunch_pool::{AcquireError, PoolStatus, Revoked};

use crate::{
    model::{Account, AccountId, Entry, EntryId, Receipt, Transfer, TransferId},
    money::Money,
    order::{Order, TransferError},
};

pub use self::{
    postgres::PostgresStore,
    sqlite::{Sqlite, SqliteError, SqliteStore},
};

/// An answer on its way.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Keeps accounts. Each answer may be dropped on its way: then a transfer is booked or not, and
/// whoever has its key can ask.
pub trait Store: Send + Sync + 'static {
    /// Opens an account with `balance` on it.
    fn open(&self, balance: Money) -> Answer<'_, Account>;

    /// The account, if there is one.
    fn account(&self, id: AccountId) -> Answer<'_, Option<Account>>;

    /// Carries out an order; or finds what came of it, if one with its key was carried out.
    fn book<'a>(&'a self, order: &'a Order) -> Answer<'a, Receipt, TransferError>;

    /// The transfer, if there is one.
    fn transfer(&self, id: TransferId) -> Answer<'_, Option<Transfer>>;

    /// At most `most` entries of an account that come after `after`, in their order.
    fn entries(&self, account: AccountId, after: EntryId, most: u16) -> Answer<'_, Vec<Entry>>;

    /// The last entry of an account; `None` if there is no such account.
    fn newest_entry(&self, account: AccountId) -> Answer<'_, Option<EntryId>>;

    /// What its pools hold.
    fn pools(&self) -> Vec<PoolStatus>;
}

/// The store has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It is busy, down or ending: try again.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] BoxError),
    /// It does not do what it should.
    #[error("the store has failed: {0}")]
    Failed(#[source] BoxError),
}

impl StoreError {
    fn failed(error: impl Into<BoxError>) -> StoreError {
        StoreError::Failed(error.into())
    }
}

impl<E: Error + Send + Sync + 'static> From<AcquireError<E>> for StoreError {
    fn from(error: AcquireError<E>) -> StoreError {
        StoreError::Unavailable(error.into())
    }
}

impl From<Revoked> for StoreError {
    fn from(error: Revoked) -> StoreError {
        StoreError::Unavailable(error.into())
    }
}

/// The row of a transfer whose key is taken: what came of it, as an answer to `order`.
fn replay(
    order: &Order,
    transfer: Transfer,
    refused_with: Option<Money>,
) -> Result<Receipt, TransferError> {
    match refused_with {
        _ if !order.asks_for(&transfer) => Err(TransferError::KeyReused),
        Some(balance) => Err(order.overdraft(balance)),
        None => Ok(Receipt { transfer, is_replay: true }),
    }
}
