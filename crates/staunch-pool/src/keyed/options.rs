//! The limits of a keyed pool.

use crate::options::{PoolOptions, PoolOptionsError};

/// How a [`KeyedPool`](crate::KeyedPool) behaves.
///
/// # Examples
/// ```
/// use staunch_pool::{KeyedPoolOptions, PoolOptions};
/// let per_key = PoolOptions { name: "upstreams", max_total: 8, ..PoolOptions::default() };
/// let options = KeyedPoolOptions { max_keys: 50, per_key, ..KeyedPoolOptions::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct KeyedPoolOptions {
    /// Keys at a time. When there are as many, the one that was used longest ago gives way, if
    /// nobody has a lease of it. Default 1 000: more upstreams than a proxy has, fewer than the
    /// names that a client can invent.
    pub max_keys: usize,
    /// Connections at a time, of all keys together. When there are as many, idle ones of other
    /// keys give way, those of the key that was used longest ago first. Default 500: half of the
    /// descriptors a process may have by default. `None`: `max_keys` times `max_total` of a key.
    pub max_total: Option<usize>,
    /// The pool of each key. Its `name` is that of all of them; its `acquire_timeout` counts for
    /// all the waiting there is.
    pub per_key: PoolOptions,
}

impl Default for KeyedPoolOptions {
    fn default() -> KeyedPoolOptions {
        KeyedPoolOptions { max_keys: 1000, max_total: Some(500), per_key: PoolOptions::default() }
    }
}

/// Options that contradict each other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyedPoolOptionsError {
    /// A pool of nothing.
    #[error("max_keys is 0: nobody could ever lease a connection; set at least 1")]
    NoKeys,
    /// A pool of nothing, in another way.
    #[error(
        "max_total is 0: nobody could ever lease a connection; set at least 1, or None for no limit of all keys together"
    )]
    NoConnections,
    /// A key that keeps connections would never vanish.
    #[error(
        "min_idle of a key is {min_idle}: a key that always has connections never vanishes; set 0"
    )]
    KeepsIdle {
        /// `min_idle`
        min_idle: usize,
    },
    /// The options of the keys' pools.
    #[error(transparent)]
    PerKey(#[from] PoolOptionsError),
}

impl KeyedPoolOptions {
    /// Whether they make sense together.
    ///
    /// # Errors
    /// [`KeyedPoolOptionsError`]
    pub fn check(&self) -> Result<(), KeyedPoolOptionsError> {
        if self.max_keys == 0 {
            return Err(KeyedPoolOptionsError::NoKeys);
        }
        if self.max_total == Some(0) {
            return Err(KeyedPoolOptionsError::NoConnections);
        }
        self.per_key.check()?;
        match self.per_key.min_idle {
            0 => Ok(()),
            min_idle => Err(KeyedPoolOptionsError::KeepsIdle { min_idle }),
        }
    }
}
