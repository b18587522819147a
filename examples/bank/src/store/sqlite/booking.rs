//! What is written, each in one transaction of the one connection that writes.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::transfer;
use crate::{
    model::{Account, AccountId, IdempotencyKey, Receipt, Transfer, TransferId},
    money::Money,
    order::{Order, TransferError},
    store::{StoreError, replay},
    timestamp::Timestamp,
};

/// Takes the file's write lock at once: a transaction that reads first and writes later may find
/// that somebody else has written meanwhile, and fail.
pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn open(connection: &mut Connection, balance: Money) -> Result<Account, StoreError> {
    let transaction = begin(connection)?;
    transaction.execute("INSERT INTO accounts (balance) VALUES (?1)", params![balance.cents()])?;
    let id = AccountId(transaction.last_insert_rowid());
    enter(&transaction, id, None, balance, balance, Timestamp::now())?;
    transaction.commit()?;
    Ok(Account { id, balance })
}

pub(super) fn balance(connection: &Connection, id: AccountId) -> rusqlite::Result<Option<Money>> {
    let mut statement = connection.prepare_cached("SELECT balance FROM accounts WHERE id = ?1")?;
    let cents = statement.query_row(params![id.0], |row| row.get(0)).optional()?;
    Ok(cents.map(Money::from_cents))
}

pub(super) fn book(connection: &mut Connection, order: &Order) -> Result<Receipt, TransferError> {
    let transaction = begin(connection)?;
    if let Some((transfer, refused_with)) = by_key(&transaction, order)? {
        return replay(order, transfer, refused_with);
    }
    let from = balance(&transaction, order.from())?;
    let to = balance(&transaction, order.to())?;
    match order.settle(from, to) {
        Ok((left, right)) => {
            let transfer = record(&transaction, order, None)?;
            let Transfer { id, from, to, amount, at } = transfer;
            let out = Money::from_cents(-amount.cents());
            change(&transaction, from, left)?;
            change(&transaction, to, right)?;
            enter(&transaction, from, Some(id), out, left, at)?;
            enter(&transaction, to, Some(id), amount, right, at)?;
            transaction.commit()?;
            Ok(Receipt { transfer, is_replay: false })
        }
        Err(refusal) => {
            if let TransferError::Overdraft { balance, .. } = refusal {
                record(&transaction, order, Some(balance))?;
                transaction.commit()?;
            }
            Err(refusal)
        }
    }
}

/// What came of an order with the same key.
fn by_key(
    transaction: &Transaction<'_>,
    order: &Order,
) -> rusqlite::Result<Option<(Transfer, Option<Money>)>> {
    let Some(key) = order.key() else { return Ok(None) };
    let mut statement = transaction.prepare_cached(
        "SELECT id, from_account, to_account, amount, at_ms, refused_with FROM transfers \
         WHERE key = ?1",
    )?;
    let found = statement.query_row(params![key.as_str()], |row| {
        Ok((transfer(row)?, row.get::<_, Option<i64>>(5)?.map(Money::from_cents)))
    });
    found.optional()
}

fn record(
    transaction: &Transaction<'_>,
    order: &Order,
    refused_with: Option<Money>,
) -> rusqlite::Result<Transfer> {
    let (from, to, amount, at) = (order.from(), order.to(), order.amount(), Timestamp::now());
    let mut statement = transaction.prepare_cached(
        "INSERT INTO transfers (key, from_account, to_account, amount, refused_with, at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let key = order.key().map(IdempotencyKey::as_str);
    let refused_with = refused_with.map(Money::cents);
    let values = params![key, from.0, to.0, amount.cents(), refused_with, at.millis()];
    let id = TransferId(statement.insert(values)?);
    Ok(Transfer { id, from, to, amount, at })
}

fn change(transaction: &Transaction<'_>, id: AccountId, balance: Money) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("UPDATE accounts SET balance = ?2 WHERE id = ?1")?;
    statement.execute(params![id.0, balance.cents()]).map(drop)
}

fn enter(
    transaction: &Transaction<'_>,
    account: AccountId,
    transfer: Option<TransferId>,
    amount: Money,
    balance: Money,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO entries (account, transfer, amount, balance, at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let transfer = transfer.map(|transfer| transfer.0);
    let values = params![account.0, transfer, amount.cents(), balance.cents(), at.millis()];
    statement.execute(values).map(drop)
}
