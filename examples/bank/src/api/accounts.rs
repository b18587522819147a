//! Accounts.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    extract::{Number, Payload},
    problem::Problem,
    version::Version,
};
use crate::{
    model::{Account, AccountId},
    money::Money,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount<A> {
    balance: A,
}

#[derive(Serialize)]
struct AccountView<A> {
    id: AccountId,
    balance: A,
}

fn view<V: Version>(account: Account) -> Json<AccountView<V::Amount>> {
    Json(AccountView { id: account.id, balance: account.balance.into() })
}

/// `POST /accounts`
pub(super) async fn open<V: Version>(
    State(api): State<Api>,
    Payload(new): Payload<NewAccount<V::Amount>>,
) -> Result<Response, Problem> {
    let balance = V::money(new.balance)?;
    if balance < Money::ZERO {
        return Err(Problem::negative_balance());
    }
    let account = api.bank.open(balance).await?;
    let location = format!("{}/accounts/{}", V::PREFIX, account.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], view::<V>(account)).into_response())
}

/// `GET /accounts/{id}`
pub(super) async fn show<V: Version>(
    State(api): State<Api>,
    Number(id): Number,
) -> Result<Response, Problem> {
    let id = AccountId(id);
    let account = api.bank.account(id).await?.ok_or(Problem::no_account(id))?;
    Ok(view::<V>(account).into_response())
}
