//! Who wants to know when an account changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use staunch::channel::{RecvError, watch};

use crate::model::AccountId;

/// Those who follow an account; at most so many.
pub(super) struct Feed {
    most: usize,
    followed: Mutex<HashMap<AccountId, Followed>>,
}

struct Followed {
    changes: watch::Sender<u64>,
    followers: usize,
}

/// Is told when an account changes, until it is dropped.
pub struct Follower {
    feed: Arc<Feed>,
    account: AccountId,
    changes: watch::Receiver<u64>,
}

/// As many follow accounts as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} streams are open already, which is as many as there may be")]
pub struct TooManyFollowersError(usize);

impl Feed {
    pub(super) fn new(most: usize) -> Feed {
        Feed { most, followed: Mutex::new(HashMap::new()) }
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<AccountId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn follow(
        feed: &Arc<Feed>,
        account: AccountId,
    ) -> Result<Follower, TooManyFollowersError> {
        let mut followed = feed.followed();
        if followed.values().map(|it| it.followers).sum::<usize>() >= feed.most {
            return Err(TooManyFollowersError(feed.most));
        }
        let one = followed.entry(account).or_insert_with(|| {
            let (changes, _) = watch::channel(0);
            Followed { changes, followers: 0 }
        });
        one.followers += 1;
        let changes = one.changes.subscribe();
        Ok(Follower { feed: Arc::clone(feed), account, changes })
    }

    pub(super) fn changed(&self, account: AccountId) {
        if let Some(followed) = self.followed().get(&account) {
            followed.changes.modify(|number| *number = number.wrapping_add(1));
        }
    }
}

impl Follower {
    /// Waits until the account has changed since the last time.
    ///
    /// # Errors
    /// [`RecvError`] when the task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        self.changes.changed().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followed = self.feed.followed();
        if let Some(one) = followed.get_mut(&self.account) {
            one.followers -= 1;
            if one.followers == 0 {
                followed.remove(&self.account);
            }
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("account", &self.account).finish_non_exhaustive()
    }
}
