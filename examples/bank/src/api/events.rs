//! The entries of an account as they are booked: server-sent events.
//!
//! A stream begins after the entry that `Last-Event-ID` names, or with what comes from now on. It
//! shows that it lives every heartbeat, and ends, with an event that says why, after its life or
//! when the service drains. What a slow client has yet to take is one page of entries at most;
//! who cannot keep up reads later, from the store.

use std::{collections::VecDeque, marker::PhantomData};

use axum::{body::Bytes, extract::State, http::HeaderMap, response::Response};
use staunch::{Account, BoxError, Cancelled, shield, timeout};
use tokio::time::Instant;

use super::{
    Api, ApiLimits,
    extract::{Number, number_in},
    problem::Problem,
    stream::{self, EntryView, Pieces},
    version::Version,
};
use crate::{
    bank::{Bank, Follower},
    model::{AccountId, Entry, EntryId},
};

/// Entries that wait for the client.
const PAGE: u16 = 100;

/// `GET /accounts/{id}/events`
pub(super) async fn follow<V: Version>(
    State(api): State<Api>,
    Number(id): Number,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let account = AccountId(id);
    // First the follower: what is booked after it is not missed.
    let follower = api.bank.follow(account)?;
    let newest = api.bank.newest_entry(account).await?.ok_or(Problem::no_account(account))?;
    let events = Events::<V> {
        entry: stream::open(account, api.limits.heartbeat),
        until: Instant::now() + api.limits.stream_life,
        follower,
        bank: api.bank,
        limits: api.limits,
        account,
        after: number_in(&headers, "last-event-id").map_or(newest, EntryId),
        page: VecDeque::new(),
        stage: Stage::Greeting,
        version: PhantomData,
    };
    Ok(stream::answer("text/event-stream", events))
}

struct Events<V> {
    bank: Bank,
    limits: ApiLimits,
    follower: Follower,
    account: AccountId,
    /// The last entry that was sent.
    after: EntryId,
    page: VecDeque<Entry>,
    until: Instant,
    stage: Stage,
    /// Its entry on the ledger.
    entry: Account,
    version: PhantomData<fn() -> V>,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Nothing was sent.
    Greeting,
    /// Entries are sent as they come.
    Following,
    /// The last event was sent.
    Ended,
}

/// What a stream has waited for.
enum Woken {
    Changed,
    Heartbeat,
    End(&'static str),
}

impl<V: Version> Pieces for Events<V> {
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        self.entry.touch();
        match self.stage {
            Stage::Ended => return Ok(None),
            Stage::Greeting => {
                self.stage = Stage::Following;
                return Ok(Some(Bytes::from_static(b": entries as they are booked\n\n")));
            }
            Stage::Following => {}
        }
        loop {
            if let Some(entry) = self.page.pop_front() {
                return self.event(entry).map(Some);
            }
            if self.read().await? {
                continue;
            }
            match self.wait().await {
                Woken::Changed => {}
                Woken::Heartbeat => return Ok(Some(Bytes::from_static(b": heartbeat\n\n"))),
                Woken::End(reason) => {
                    self.stage = Stage::Ended;
                    let last = format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n");
                    return Ok(Some(last.into()));
                }
            }
        }
    }
}

impl<V: Version> Events<V> {
    /// Reads what has been booked meanwhile, here or by another process; whether there is any.
    async fn read(&mut self) -> Result<bool, BoxError> {
        let page = shield(self.bank.entries(self.account, self.after, PAGE)).await?;
        self.page = page.into();
        Ok(!self.page.is_empty())
    }

    fn event(&mut self, entry: Entry) -> Result<Bytes, BoxError> {
        self.after = entry.id;
        let data = serde_json::to_string(&EntryView::<V::Amount>::from(entry))?;
        Ok(format!("event: entry\nid: {}\ndata: {data}\n\n", self.after).into())
    }

    async fn wait(&mut self) -> Woken {
        let left = self.until.saturating_duration_since(Instant::now());
        let pause = self.limits.heartbeat.min(left);
        match timeout(pause, self.follower.changed()).await {
            _ if left.is_zero() => Woken::End("it has been open for long enough; come again"),
            Ok(Ok(())) => Woken::Changed,
            Err(Cancelled::DeadlineExceeded) => Woken::Heartbeat,
            Ok(Err(_)) | Err(Cancelled::Requested) => Woken::End("the service is ending"),
        }
    }
}
