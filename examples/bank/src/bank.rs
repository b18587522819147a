//! The business layer: what a bank does, whoever asks and wherever the accounts are kept.

mod cache;
mod feed;

use std::{fmt, sync::Arc, time::Duration};

use staunch_pool::PoolStatus;

use self::{cache::BalanceCache, feed::Feed};
use crate::{
    model::{Account, AccountId, Entry, EntryId, IdempotencyKey, Receipt, Transfer, TransferId},
    money::Money,
    order::{Order, TransferError},
    store::{Store, StoreError},
};

pub use self::feed::{Follower, TooManyFollowersError};

/// What a bank may hold.
#[derive(Clone, Debug)]
pub struct BankLimits {
    /// Balances that are remembered. Default 10 000: about 1 MiB.
    pub cached_balances: usize,
    /// How long a balance is remembered. Default 1 s: what another process books shows by then.
    pub cache_time: Duration,
    /// Streams of entries at a time. Default 1 000.
    pub followers: usize,
}

impl Default for BankLimits {
    fn default() -> BankLimits {
        BankLimits { cached_balances: 10_000, cache_time: Duration::from_secs(1), followers: 1000 }
    }
}

/// The bank. Clones are the same one.
#[derive(Clone)]
pub struct Bank {
    shared: Arc<Shared>,
}

struct Shared {
    store: Box<dyn Store>,
    cache: BalanceCache,
    feed: Arc<Feed>,
}

impl Bank {
    /// A bank whose accounts are in `store`.
    #[track_caller]
    pub fn new(store: Box<dyn Store>, limits: &BankLimits) -> Bank {
        let cache = BalanceCache::new(limits.cached_balances, limits.cache_time);
        let feed = Arc::new(Feed::new(limits.followers));
        Bank { shared: Arc::new(Shared { store, cache, feed }) }
    }

    /// Opens an account with `balance` on it.
    ///
    /// # Errors
    /// [`StoreError`]
    ///
    /// # Cancel safety
    /// Dropped on its way, the account is opened or not.
    pub async fn open(&self, balance: Money) -> Result<Account, StoreError> {
        self.shared.store.open(balance).await
    }

    /// An account; its balance may be as old as the cache remembers.
    ///
    /// # Errors
    /// [`StoreError`]
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let Shared { store, cache, .. } = &*self.shared;
        if let Some(balance) = cache.balance(id) {
            return Ok(Some(Account { id, balance }));
        }
        let asked = cache.ask(id);
        let account = store.account(id).await?;
        if let Some(account) = account {
            cache.remember(&asked, account.balance);
        }
        Ok(account)
    }

    /// Moves money, once for each key.
    ///
    /// # Errors
    /// [`TransferError`]. After one of the store, the same order may be sent again with its key.
    ///
    /// # Cancel safety
    /// Dropped on its way, the transfer is booked or not; the same order with its key tells.
    pub async fn transfer(
        &self,
        key: Option<IdempotencyKey>,
        from: AccountId,
        to: AccountId,
        amount: Money,
    ) -> Result<Receipt, TransferError> {
        let order = Order::new(key, from, to, amount)?;
        // Whatever becomes of it: it may have been booked although nobody hears of it.
        let _changed = Changed { shared: &self.shared, accounts: [from, to] };
        let receipt = self.shared.store.book(&order).await?;
        #[cfg(feature = "leaky")]
        crate::leaky::booked(receipt.transfer);
        Ok(receipt)
    }

    /// A transfer.
    ///
    /// # Errors
    /// [`StoreError`]
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn find_transfer(&self, id: TransferId) -> Result<Option<Transfer>, StoreError> {
        self.shared.store.transfer(id).await
    }

    /// At most `most` entries of an account after `after`.
    ///
    /// # Errors
    /// [`StoreError`]
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn entries(
        &self,
        account: AccountId,
        after: EntryId,
        most: u16,
    ) -> Result<Vec<Entry>, StoreError> {
        self.shared.store.entries(account, after, most).await
    }

    /// The last entry of an account; `None` if there is no such account.
    ///
    /// # Errors
    /// [`StoreError`]
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn newest_entry(&self, account: AccountId) -> Result<Option<EntryId>, StoreError> {
        self.shared.store.newest_entry(account).await
    }

    /// To be told when an account changes.
    ///
    /// # Errors
    /// [`TooManyFollowersError`]
    pub fn follow(&self, account: AccountId) -> Result<Follower, TooManyFollowersError> {
        Feed::follow(&self.shared.feed, account)
    }

    /// What the pools of its store hold.
    pub fn pools(&self) -> Vec<PoolStatus> {
        self.shared.store.pools()
    }
}

impl fmt::Debug for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bank").field("pools", &self.pools()).finish_non_exhaustive()
    }
}

/// Says when dropped that accounts may have changed.
struct Changed<'a> {
    shared: &'a Shared,
    accounts: [AccountId; 2],
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        for account in self.accounts {
            self.shared.cache.forget(account);
            self.shared.feed.changed(account);
        }
    }
}
