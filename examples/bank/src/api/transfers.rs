//! Transfers.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    extract::{Key, Number, Payload},
    problem::Problem,
    version::Version,
};
use crate::{
    model::{AccountId, Receipt, Transfer, TransferId},
    timestamp::Timestamp,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTransfer<A> {
    from: AccountId,
    to: AccountId,
    amount: A,
}

#[derive(Serialize)]
struct TransferView<A> {
    id: TransferId,
    from: AccountId,
    to: AccountId,
    amount: A,
    at: Timestamp,
}

fn view<V: Version>(transfer: Transfer) -> Json<TransferView<V::Amount>> {
    let Transfer { id, from, to, amount, at } = transfer;
    Json(TransferView { id, from, to, amount: amount.into(), at })
}

/// Tells a client that its transfer was booked by an earlier try.
const REPLAYED: &str = "idempotent-replayed";

/// `POST /transfers`
pub(super) async fn book<V: Version>(
    State(api): State<Api>,
    Key(key): Key,
    Payload(new): Payload<NewTransfer<V::Amount>>,
) -> Result<Response, Problem> {
    if V::NEEDS_KEY && key.is_none() {
        return Err(Problem::KEY_MISSING);
    }
    let amount = V::money(new.amount)?;
    let Receipt { transfer, is_replay } = api.bank.transfer(key, new.from, new.to, amount).await?;
    let location = format!("{}/transfers/{}", V::PREFIX, transfer.id);
    let answer = (StatusCode::CREATED, [(LOCATION, location)], view::<V>(transfer));
    let replayed = is_replay.then_some([(REPLAYED, "true")]);
    Ok((replayed, answer).into_response())
}

/// `GET /transfers/{id}`
pub(super) async fn show<V: Version>(
    State(api): State<Api>,
    Number(id): Number,
) -> Result<Response, Problem> {
    let id = TransferId(id);
    let transfer = api.bank.find_transfer(id).await?.ok_or(Problem::no_transfer(id))?;
    Ok(view::<V>(transfer).into_response())
}
