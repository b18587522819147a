//! Answers that come in pieces.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use futures_util::stream;
use serde::Serialize;
use staunch::{Account, BoxError, Kind, Ledger, Obligation};
use std::time::Duration;

use crate::{
    model::{AccountId, Entry, EntryId, TransferId},
    timestamp::Timestamp,
};

/// What makes an answer, piece by piece. The next piece is made when the client has taken the
/// one before, but for what the socket's buffer holds.
pub(super) trait Pieces: Sized + Send + 'static {
    /// The next piece; `None` at the end. An error breaks the answer off, so that nobody takes a
    /// part for the whole.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send;
}

/// An answer made of pieces.
pub(super) fn answer(media_type: &'static str, pieces: impl Pieces) -> Response {
    let pieces = stream::unfold(Some(pieces), async |pieces| {
        let mut pieces = pieces?;
        match pieces.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some(pieces))),
            Err(error) => {
                tracing::warn!(%error, "an answer breaks off");
                Some((Err(error), None))
            }
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The entry of a stream on the ledger: promises a piece within twice `pause`.
#[track_caller]
pub(super) fn open(account: AccountId, pause: Duration) -> Account {
    let entry = Ledger::current().open(Kind::STREAM, Obligation::ProgressWithin(pause * 2));
    entry.label(&format!("account {account}"));
    entry
}

/// An entry as it is streamed.
#[derive(Serialize)]
pub(super) struct EntryView<A> {
    id: EntryId,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<TransferId>,
    amount: A,
    balance: A,
    at: Timestamp,
}

impl<A: From<crate::Money>> From<Entry> for EntryView<A> {
    fn from(entry: Entry) -> EntryView<A> {
        let Entry { id, transfer, amount, balance, at } = entry;
        EntryView { id, transfer, amount: amount.into(), balance: balance.into(), at }
    }
}
