//! A transfer, in one transaction.
//!
//! First its key is taken: who has the same key waits here, holding nothing, and then finds what
//! was done. Then both accounts are locked, the one with the smaller number first, so that no two
//! transfers wait for each other in a circle.

use staunch_pool::PostgresConnection;
use tokio_postgres::{
    Row, Transaction,
    types::{ToSql, Type},
};

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
async fn record(transaction: &Transaction<'_>, order: &Order) -> PgResult<Option<Transfer>> {
    let (from, to, amount, at) = (order.from(), order.to(), order.amount(), Timestamp::now());
    let key = order.key().map(IdempotencyKey::as_str);
    let rows = ask(
        transaction,
        "INSERT INTO transfers (key, from_account, to_account, amount, at_ms) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO NOTHING RETURNING id",
        &[
            (&key, Type::TEXT),
            (&from.0, Type::INT8),
            (&to.0, Type::INT8),
            (&amount.cents(), Type::INT8),
            (&at.millis(), Type::INT8),
        ],
    )
    .await?;
    let made = |row: &Row| Ok(Transfer { id: TransferId(row.try_get(0)?), from, to, amount, at });
    rows.first().map(made).transpose()
}

/// What came of an order with the same key.
async fn by_key(
    transaction: &Transaction<'_>,
    order: &Order,
) -> PgResult<(Transfer, Option<Money>)> {
    let key = order.key().map(IdempotencyKey::as_str);
    let row = transaction
        .query_one(
            "SELECT id, from_account, to_account, amount, at_ms, refused_with FROM transfers \
             WHERE key = $1",
            &[&key],
        )
        .await?;
    Ok((transfer(&row)?, row.try_get::<_, Option<i64>>(5)?.map(Money::from_cents)))
}

/// Locks accounts, the smallest number first, and says what is on each.
async fn lock(
    transaction: &Transaction<'_>,
    accounts: [AccountId; 2],
) -> PgResult<[Option<Money>; 2]> {
    let rows = ask(
        transaction,
        "SELECT id, balance FROM accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE",
        &[(&accounts[0].0, Type::INT8), (&accounts[1].0, Type::INT8)],
    )
    .await?;
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
    transaction: &Transaction<'_>,
    transfer: &Transfer,
    (left, right): (Money, Money),
) -> PgResult<()> {
    ask(
        transaction,
        "WITH changed AS (UPDATE accounts SET balance = CASE id WHEN $1 THEN $3 ELSE $4 END \
                          WHERE id IN ($1, $2)) \
         INSERT INTO entries (account, transfer, amount, balance, at_ms) \
         VALUES ($1, $5, -$6, $3, $7), ($2, $5, $6, $4, $7)",
        &[
            (&transfer.from.0, Type::INT8),
            (&transfer.to.0, Type::INT8),
            (&left.cents(), Type::INT8),
            (&right.cents(), Type::INT8),
            (&transfer.id.0, Type::INT8),
            (&transfer.amount.cents(), Type::INT8),
            (&transfer.at.millis(), Type::INT8),
        ],
    )
    .await
    .map(drop)
}

async fn refuse(transaction: &Transaction<'_>, id: TransferId, balance: Money) -> PgResult<()> {
    ask(
        transaction,
        "UPDATE transfers SET refused_with = $2 WHERE id = $1",
        &[(&id.0, Type::INT8), (&balance.cents(), Type::INT8)],
    )
    .await
    .map(drop)
}

/// One round trip: the types are given, so the server need not be asked for them.
async fn ask(
    transaction: &Transaction<'_>,
    statement: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> PgResult<Vec<Row>> {
    transaction.query_typed(statement, parameters).await
}
