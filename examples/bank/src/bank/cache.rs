//! Balances that were asked for lately: at most so many, for so long.
//!
//! What a transfer changes is forgotten at once. An answer that was read before the transfer and
//! comes after it must not be remembered, so whoever asks notes how often the account's place was
//! forgotten by then ([`Asked`]), and an answer counts only if that is still so.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use staunch::{Account as Entry, Kind, Ledger, Obligation};
use tokio::time::Instant;

use crate::{model::AccountId, money::Money};

pub(super) struct BalanceCache {
    most: usize,
    time: Duration,
    cached: Mutex<Cached>,
    /// Its entry on the ledger.
    entry: Entry,
}

struct Cached {
    balances: HashMap<AccountId, Balance>,
    /// By age: all are remembered for the same time, so the first is the next to be forgotten.
    by_age: BTreeMap<u64, AccountId>,
    next: u64,
    /// How often an account was forgotten whose number ends on this place.
    forgotten: [u64; PLACES],
}

struct Balance {
    money: Money,
    number: u64,
    until: Instant,
}

/// A question that is on its way to the store.
pub(super) struct Asked {
    account: AccountId,
    forgotten: u64,
}

/// Accounts share places; who shares one with a busy account is remembered less.
const PLACES: usize = 256;

/// Roughly what one balance takes, in both maps.
const BYTES: u64 = 96;

fn place(account: AccountId) -> usize {
    usize::from(account.0.to_le_bytes()[0])
}

impl BalanceCache {
    #[track_caller]
    pub(super) fn new(most: usize, time: Duration) -> BalanceCache {
        let promise = Obligation::Perpetual("balances, bounded in number and in time");
        let entry = Ledger::current().open(Kind::BUFFER, promise);
        entry.label("balance cache");
        let cached = Cached {
            balances: HashMap::new(),
            by_age: BTreeMap::new(),
            next: 0,
            forgotten: [0; PLACES],
        };
        BalanceCache { most, time, cached: Mutex::new(cached), entry }
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn balance(&self, account: AccountId) -> Option<Money> {
        let cached = self.cached();
        let balance = cached.balances.get(&account)?;
        (Instant::now() < balance.until).then_some(balance.money)
    }

    /// To be called before the store is asked.
    pub(super) fn ask(&self, account: AccountId) -> Asked {
        Asked { account, forgotten: self.cached().forgotten[place(account)] }
    }

    /// The store's answer to a question.
    pub(super) fn remember(&self, asked: &Asked, money: Money) {
        let Asked { account, forgotten } = *asked;
        let now = Instant::now();
        let mut cached = self.cached();
        if cached.forgotten[place(account)] != forgotten {
            return;
        }
        cached.remove(account, &self.entry);
        cached.make_room(self.most, now, &self.entry);
        if self.most > 0 {
            cached.insert(account, money, now + self.time, &self.entry);
        }
    }

    /// The account may have changed.
    pub(super) fn forget(&self, account: AccountId) {
        let mut cached = self.cached();
        cached.forgotten[place(account)] += 1;
        cached.remove(account, &self.entry);
    }
}

impl Cached {
    fn insert(&mut self, account: AccountId, money: Money, until: Instant, entry: &Entry) {
        let number = self.next;
        self.next += 1;
        self.by_age.insert(number, account);
        self.balances.insert(account, Balance { money, number, until });
        entry.add_bytes(BYTES);
    }

    fn remove(&mut self, account: AccountId, entry: &Entry) {
        if let Some(balance) = self.balances.remove(&account) {
            self.by_age.remove(&balance.number);
            entry.sub_bytes(BYTES);
        }
    }

    /// Forgets what is too old, and the oldest if there is no place for another one.
    fn make_room(&mut self, most: usize, now: Instant, entry: &Entry) {
        while let Some((_, account)) = self.by_age.first_key_value() {
            let account = *account;
            let is_old = self.balances.get(&account).is_none_or(|balance| balance.until <= now);
            if !is_old && self.balances.len() < most {
                return;
            }
            self.remove(account, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn remember(cache: &BalanceCache, account: i64, cents: i64) {
        let asked = cache.ask(AccountId(account));
        cache.remember(&asked, Money::from_cents(cents));
    }

    fn balance(cache: &BalanceCache, account: i64) -> Option<i64> {
        cache.balance(AccountId(account)).map(Money::cents)
    }

    #[staunch::test(start_paused = true)]
    async fn what_is_old_or_too_much_is_forgotten() {
        let cache = BalanceCache::new(2, SECOND);
        for account in 1..=3 {
            remember(&cache, account, account * 100);
        }
        assert_eq!([1, 2, 3].map(|account| balance(&cache, account)), [None, Some(200), Some(300)]);
        tokio::time::advance(SECOND).await;
        assert_eq!(balance(&cache, 3), None);
        remember(&cache, 4, 400);
        assert_eq!(cache.cached().balances.len(), 1, "the old ones are gone");
        assert_eq!(cache.cached().by_age.len(), 1);
    }

    #[staunch::test]
    async fn an_answer_from_before_a_transfer_is_not_remembered_after_it() {
        let cache = BalanceCache::new(2, SECOND);
        let asked = cache.ask(AccountId(1));
        cache.forget(AccountId(1));
        cache.remember(&asked, Money::from_cents(100));
        assert_eq!(balance(&cache, 1), None);
        remember(&cache, 1, 50);
        assert_eq!(balance(&cache, 1), Some(50));
        cache.forget(AccountId(1));
        assert_eq!(balance(&cache, 1), None);
    }
}
