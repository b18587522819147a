//! A bank, layered as services are: routes, business, repository.
//!
//! | layer | |
//! | --- | --- |
//! | `api` | routes, versions, errors as RFC 9457 |
//! | [`Bank`] | the rules, the cache of balances, who follows an account |
//! | [`store`] | accounts in PostgreSQL or SQLite |
//!
//! [`Service`] puts them together on a listener; [`run`](run()) is what `main` calls.

mod api;
mod bank;
#[cfg(feature = "leaky")]
mod leaky;
mod model;
mod money;
mod order;
mod run;
mod service;
mod settings;
pub mod store;
mod timestamp;

pub use crate::{
    api::ApiLimits,
    bank::{Bank, BankLimits, Follower, TooManyFollowersError},
    model::{
        Account, AccountId, Entry, EntryId, IdempotencyKey, ParseKeyError, Receipt, Transfer,
        TransferId,
    },
    money::{CURRENCY, Money, ParseMoneyError},
    order::{Order, TransferError},
    run::run,
    service::{Application, Service},
    settings::{Database, Settings, SettingsError},
    timestamp::Timestamp,
};
