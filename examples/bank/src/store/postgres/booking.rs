//! A transfer, in one transaction.
//!
//! First its key is taken: who has the same key waits here, holding nothing, and then finds what
//! was done. Then both accounts are locked, the one with the smaller number first, so that no two
//! transfers wait for each other in a circle.

use staunch_pool::{PostgresConnection, PostgresTransaction};
use tokio_postgres::Row;

use super::transfer;
use crate::{
    model::{AccountId, IdempotencyKey, Receipt, Transfer, TransferId},
    money::Money,
    order::{Order, TransferError},
    store::replay,
    timestamp::Timestamp,
};

type PgResult<T> = Result<T, tokio_postgres::Error>;

/// Carries out `order`.
///
/// # Cancel safety
/// Dropped on its way, the transaction is rolled back, or committed if that was on its way.
pub(super) async fn book(
    connection: &mut PostgresConnection,
    order: &Order,
) -> Result<Receipt, TransferError> {
    let transaction = connection.transaction().await?;
    let Some(transfer) = record(&transaction, order).await? else {
        let (transfer, refused_with) = by_key(&transaction, order).await?;
        transaction.rollback().await?;
        return replay(order, transfer, refused_with);
    };
    let [from, to] = lock(&transaction, [order.from(), order.to()]).await?;
    match order.settle(from, to) {
        Ok(balances) => {
            settle(&transaction, &transfer, balances).await?;
            transaction.commit().await?;
            Ok(Receipt { transfer, is_replay: false })
        }
        Err(refusal) => {
            if let TransferError::Overdraft { balance, .. } = refusal {
                refuse(&transaction, transfer.id, balance).await?;
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Err(refusal)
        }
    }
}

/// Writes down the transfer; `None` if its key is taken.
async fn record(
    transaction: &PostgresTransaction<'_>,
    order: &Order,
) -> PgResult<Option<Transfer>> {
    let (from, to, amount, at) = (order.from(), order.to(), order.amount(), Timestamp::now());
    let key = order.key().map(IdempotencyKey::as_str);
    let row = transaction
        .query_opt_cached(
            "INSERT INTO transfers (key, from_account, to_account, amount, at_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO NOTHING RETURNING id",
            &[&key, &from.0, &to.0, &amount.cents(), &at.millis()],
        )
        .await?;
    let made = |row: &Row| Ok(Transfer { id: TransferId(row.try_get(0)?), from, to, amount, at });
    row.as_ref().map(made).transpose()
}

/// What came of an order with the same key.
async fn by_key(
    transaction: &PostgresTransaction<'_>,
    order: &Order,
) -> PgResult<(Transfer, Option<Money>)> {
    let key = order.key().map(IdempotencyKey::as_str);
    let row = transaction
        .query_one_cached(
            "SELECT id, from_account, to_account, amount, at_ms, refused_with FROM transfers \
             WHERE key = $1",
            &[&key],
        )
        .await?;
    Ok((transfer(&row)?, row.try_get::<_, Option<i64>>(5)?.map(Money::from_cents)))
}

/// Locks accounts, the smallest number first, and says what is on each.
async fn lock(
    transaction: &PostgresTransaction<'_>,
    accounts: [AccountId; 2],
) -> PgResult<[Option<Money>; 2]> {
    let lock = "SELECT id, balance FROM accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE";
    let rows = transaction.query_cached(lock, &[&accounts[0].0, &accounts[1].0]).await?;
    let mut balances = [None; 2];
    for row in &rows {
        let id = AccountId(row.try_get(0)?);
        let balance = Money::from_cents(row.try_get(1)?);
        for (account, place) in accounts.iter().zip(&mut balances) {
            if *account == id {
                *place = Some(balance);
            }
        }
    }
    Ok(balances)
}

async fn settle(
    transaction: &PostgresTransaction<'_>,
    transfer: &Transfer,
    (left, right): (Money, Money),
) -> PgResult<()> {
    // The types are said where PostgreSQL would take numbers for text.
    transaction
        .execute_cached(
            "WITH changed AS (UPDATE accounts \
                              SET balance = CASE id WHEN $1 THEN $3::bigint ELSE $4::bigint END \
                              WHERE id IN ($1, $2)) \
             INSERT INTO entries (account, transfer, amount, balance, at_ms) \
             VALUES ($1, $5::bigint, -$6::bigint, $3, $7::bigint), ($2, $5, $6, $4, $7)",
            &[
                &transfer.from.0,
                &transfer.to.0,
                &left.cents(),
                &right.cents(),
                &transfer.id.0,
                &transfer.amount.cents(),
                &transfer.at.millis(),
            ],
        )
        .await
        .map(drop)
}

async fn refuse(
    transaction: &PostgresTransaction<'_>,
    id: TransferId,
    balance: Money,
) -> PgResult<()> {
    let refuse = "UPDATE transfers SET refused_with = $2 WHERE id = $1";
    transaction.execute_cached(refuse, &[&id.0, &balance.cents()]).await.map(drop)
}
