//! The handle of a keyed pool.

use std::{
    fmt::{self, Display},
    future::Future,
    hash::Hash,
    panic::Location,
    sync::Arc,
};

use staunch_scope::Scope;
use tokio::time::Instant;

use super::{
    book::{Book, keep},
    error::KeyedAcquireError,
    lease::KeyedLease,
    options::{KeyedPoolOptions, KeyedPoolOptionsError},
    status::KeyedStatus,
    sub::check_cancelled,
};
use crate::{manager::Manager, registry, status::Holder};

/// A pool for each key, such as each upstream of a proxy; clones are the same pool.
///
/// A key's pool is made when somebody first acquires from it. It vanishes when it has neither a
/// connection, nor a lease, nor anybody who waits: within a `maintenance_interval`, or at once if
/// another key needs its place. It belongs to the scope that the keyed pool was made in.
///
/// For a fixed set of servers that are known from the start, a [`Pool`](crate::Pool) each is
/// simpler.
///
/// # Examples
/// ```
/// use staunch_pool::{KeyedPool, KeyedPoolOptions, Manager};
/// use staunch_scope::{BoxError, Context, scope};
///
/// /// Greets whoever it is made for.
/// struct Greeter(String);
///
/// impl Manager for Greeter {
///     type Connection = String;
///     type Error = std::convert::Infallible;
///     async fn connect(&self) -> Result<String, Self::Error> {
///         Ok(format!("hello, {}", self.0))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ended = scope(&Context::background(), |s| async move {
///     let make = |name: &String| Greeter(name.clone());
///     let pool = KeyedPool::new(&s, make, KeyedPoolOptions::default())?;
///     let mut lease = pool.acquire(&"world".to_owned()).await?;
///     assert_eq!(*lease.connection()?, "hello, world");
///     assert_eq!(pool.status().keys[0].key, "world");
///     Ok::<_, BoxError>(())
/// });
/// ended.await.unwrap();
/// # });
/// ```
pub struct KeyedPool<K: Key, M: Manager> {
    owner: Arc<Owner<K, M>>,
}

/// What can name a pool. It is shown in `/debug/pools`.
pub trait Key: Hash + Eq + Clone + Display + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Display + Send + Sync + 'static> Key for K {}

/// Closes the pools when the last handle is dropped.
struct Owner<K: Key, M: Manager>(Arc<Book<K, M>>);

impl<K: Key, M: Manager> Drop for Owner<K, M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<K: Key, M: Manager> Clone for KeyedPool<K, M> {
    fn clone(&self) -> Self {
        KeyedPool { owner: Arc::clone(&self.owner) }
    }
}

impl<K: Key, M: Manager> KeyedPool<K, M> {
    /// A pool that belongs to `scope`, and makes the manager of each key by `make`.
    ///
    /// # Errors
    /// [`KeyedPoolOptionsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    #[track_caller]
    pub fn new<E: Send + 'static>(
        scope: &Scope<E>,
        make: impl Fn(&K) -> M + Send + Sync + 'static,
        options: KeyedPoolOptions,
    ) -> Result<KeyedPool<K, M>, KeyedPoolOptionsError> {
        options.check()?;
        let born_at = Location::caller();
        let book = Book::new(scope, born_at, Box::new(make), options);
        registry::register(Arc::downgrade(&book));
        let kept = Arc::clone(&book);
        scope.spawn_daemon_at(born_at, async {
            keep(kept).await;
            Ok(())
        });
        Ok(KeyedPool { owner: Arc::new(Owner(book)) })
    }

    fn book(&self) -> &Arc<Book<K, M>> {
        &self.owner.0
    }

    /// Leases a connection of a key: an idle one, or a new one if there is room, or whichever
    /// comes back first; who waits longest is served first. If all keys together have as many as
    /// they may, an idle one of another key gives way.
    ///
    /// # Errors
    /// [`KeyedAcquireError`]; when the key's pool or all of them are exhausted it names who has
    /// the connections.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    #[track_caller]
    pub fn acquire(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<KeyedLease<M>, KeyedAcquireError<M::Error>>> + Send + use<K, M>
    {
        self.acquire_at(key, Location::caller())
    }

    /// [`acquire`](Self::acquire) on behalf of somebody else's line.
    pub(crate) fn acquire_at(
        &self,
        key: &K,
        born_at: &'static Location<'static>,
    ) -> impl Future<Output = Result<KeyedLease<M>, KeyedAcquireError<M::Error>>> + Send + use<K, M>
    {
        // From here on the key stays, so whoever removes empty ones does no harm.
        let sub = self.book().visit(key);
        let book = Arc::clone(self.book());
        async move {
            check_cancelled().await?;
            let (begun, sub) = (Instant::now(), sub?);
            let right = book.right(&sub, begun).await;
            let right = right.inspect_err(|_| sub.part.failed(begun))?;
            let lease = sub.part.acquire(born_at, begun).await;
            let lease = lease.map_err(|denied| book.denied(denied, begun))?;
            Ok(KeyedLease::new(lease, right))
        }
    }

    /// Ends idle connections, of the key that was used longest ago first, but for `keep`: for
    /// when memory or descriptors run short. How many it ended.
    pub fn shrink(&self, keep: usize) -> usize {
        let subs = self.book().by_age();
        let idle: usize = subs.iter().map(|sub| sub.part.status().idle).sum();
        let mut wanted = idle.saturating_sub(keep);
        let mut ended = 0;
        for sub in &subs {
            while wanted > 0 && sub.part.end_an_idle_one(&mut None) {
                wanted -= 1;
                ended += 1;
            }
        }
        ended
    }

    /// Removes the keys that are empty. The pool does so by itself, each `maintenance_interval`.
    /// How many it removed.
    pub fn maintain(&self) -> usize {
        self.book().remove_empty()
    }

    /// What each key holds now, and what all of them have done.
    pub fn status(&self) -> KeyedStatus {
        self.book().status()
    }

    /// Who has leases, of whatever key; those with the most first.
    pub fn holders(&self) -> Vec<Holder> {
        self.book().holders()
    }

    /// Its options.
    pub fn options(&self) -> &KeyedPoolOptions {
        &self.book().options
    }
}

impl<K: Key, M: Manager> fmt::Debug for KeyedPool<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPool").field("status", &self.status()).finish()
    }
}
