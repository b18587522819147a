//! The whole statement of an account, as one JSON object a line (NDJSON).
//!
//! It is read page by page, each after the last entry of the one before, and a page is read when
//! the client has taken the one before: the memory of an export is one page, however long the
//! statement. Between two pages no connection to the store is held.

use std::{marker::PhantomData, time::Duration};

use axum::{body::Bytes, extract::State, response::Response};
use staunch::{Account, BoxError, shield};

use super::{
    Api,
    extract::Number,
    problem::Problem,
    stream::{self, EntryView, Pieces},
    version::Version,
};
use crate::{
    bank::Bank,
    model::{AccountId, EntryId},
};

/// Entries of one page. 500: about 64 KiB, four packets of TLS.
const PAGE: u16 = 500;

/// The longest a client may take for a page; the listener cuts it sooner.
const PAUSE: Duration = Duration::from_mins(1);

/// `GET /accounts/{id}/statement`
pub(super) async fn export<V: Version>(
    State(api): State<Api>,
    Number(id): Number,
) -> Result<Response, Problem> {
    let account = AccountId(id);
    api.bank.account(account).await?.ok_or(Problem::no_account(account))?;
    let entry = stream::open(account, PAUSE);
    let export =
        Export::<V> { bank: api.bank, account, after: EntryId(0), entry, version: PhantomData };
    Ok(stream::answer("application/x-ndjson", export))
}

struct Export<V> {
    bank: Bank,
    account: AccountId,
    after: EntryId,
    /// Its entry on the ledger.
    entry: Account,
    version: PhantomData<fn() -> V>,
}

impl<V: Version> Pieces for Export<V> {
    /// An export that has begun is finished although the service drains.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        let page = shield(self.bank.entries(self.account, self.after, PAGE)).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = last.id;
        self.entry.touch();
        let mut lines = Vec::new();
        for entry in page {
            serde_json::to_writer(&mut lines, &EntryView::<V::Amount>::from(entry))?;
            lines.push(b'\n');
        }
        Ok(Some(lines.into()))
    }
}
