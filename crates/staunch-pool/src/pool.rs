//! The pool.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::Location,
    sync::Arc,
    task::Poll,
};

use staunch_scope::{Scope, Wait};
use tokio::time::Instant;

use crate::{
    error::AcquireError,
    keeper,
    lease::Lease,
    manager::Manager,
    options::{PoolOptions, PoolOptionsError},
    registry,
    shared::Shared,
    status::{Destroyed, Holder, PoolStatus},
};

/// A pool of connections; clones are the same pool.
///
/// It belongs to the scope it was made in: when that stops, or the last clone is dropped, idle
/// connections end, leased ones end with their leases, and nobody leases any more.
///
/// # Examples
/// ```
/// use staunch_pool::{Manager, Pool, PoolOptions};
/// use staunch_scope::{BoxError, Context, scope};
///
/// struct Words;
///
/// impl Manager for Words {
///     type Connection = String;
///     type Error = std::convert::Infallible;
///     async fn connect(&self) -> Result<String, Self::Error> {
///         Ok("hello".to_owned())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ended = scope(&Context::background(), |s| async move {
///     let pool = Pool::new(&s, Words, PoolOptions::default())?;
///     let mut lease = pool.acquire().await?;
///     lease.connection()?.push_str(", world");
///     drop(lease);
///     assert_eq!(*pool.acquire().await?.connection()?, "hello, world");
///     Ok::<_, BoxError>(())
/// });
/// ended.await.unwrap();
/// # });
/// ```
pub struct Pool<M: Manager> {
    owner: Arc<Owner<M>>,
}

/// Closes the pool when the last handle is dropped. Records refer to [`Shared`] only, or the
/// idle ones would keep their own pool alive.
struct Owner<M: Manager>(Arc<Shared<M>>);

impl<M: Manager> Drop for Owner<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool { owner: Arc::clone(&self.owner) }
    }
}

impl<M: Manager> Pool<M> {
    /// A pool that belongs to `scope`.
    ///
    /// # Errors
    /// [`PoolOptionsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    #[track_caller]
    pub fn new<E: Send + 'static>(
        scope: &Scope<E>,
        manager: M,
        options: PoolOptions,
    ) -> Result<Pool<M>, PoolOptionsError> {
        options.check()?;
        let born_at = Location::caller();
        let shared = Arc::new(Shared::new(manager, options, scope.id(), born_at));
        registry::register(Arc::downgrade(&shared));
        let keeping = keeper::keep(Arc::clone(&shared));
        scope.spawn_daemon_at(born_at, async {
            keeping.await;
            Ok(())
        });
        Ok(Pool { owner: Arc::new(Owner(shared)) })
    }

    fn shared(&self) -> &Arc<Shared<M>> {
        &self.owner.0
    }

    /// Leases a connection: an idle one, or a new one if there is room, or whichever comes back
    /// first; who waits longest is served first.
    ///
    /// # Errors
    /// [`AcquireError`]; when the pool is exhausted it names who has the connections.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    #[track_caller]
    pub fn acquire(
        &self,
    ) -> impl Future<Output = Result<Lease<M>, AcquireError<M::Error>>> + Send + use<'_, M> {
        self.acquire_at(Location::caller())
    }

    /// A lease that is born on this line.
    pub(crate) fn acquire_at(
        &self,
        born_at: &'static Location<'static>,
    ) -> impl Future<Output = Result<Lease<M>, AcquireError<M::Error>>> + Send + use<'_, M> {
        let shared = self.shared();
        async move {
            let mut wait = Wait::new();
            let asked = poll_fn(|cx| match wait.poll_cancelled(cx) {
                Poll::Ready(cause) => Poll::Ready(Some(cause)),
                Poll::Pending => Poll::Ready(None),
            });
            if let Some(cause) = asked.await {
                return Err(cause.into());
            }
            if let Some(record) = shared.take_at_once() {
                return Ok(Lease::new(record, born_at));
            }
            let begun = Instant::now();
            let acquired = shared.acquire(begun).await;
            shared.counters.waited(begun.elapsed(), acquired.is_ok());
            acquired.map(|record| Lease::new(record, born_at))
        }
    }

    /// [`acquire`](Pool::acquire) by the name that deadpool and bb8 give it.
    ///
    /// # Errors
    /// [`AcquireError`]
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost but the turn.
    #[track_caller]
    pub fn get(
        &self,
    ) -> impl Future<Output = Result<Lease<M>, AcquireError<M::Error>>> + Send + use<'_, M> {
        self.acquire()
    }

    /// Ends idle connections but for `keep`: for when memory or descriptors run short. How many
    /// it ended.
    pub fn shrink(&self, keep: usize) -> usize {
        let shared = self.shared();
        let ended = shared.stock.extract(|_, left| left > keep);
        for record in &ended {
            shared.destroy(record, Destroyed::Closed);
        }
        ended.len()
    }

    /// What it holds now, and what it has done.
    pub fn status(&self) -> PoolStatus {
        self.shared().status()
    }

    /// Who has leases: the line that leased, how many, since when; those with the most first.
    pub fn holders(&self) -> Vec<Holder> {
        self.shared().holders()
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.shared().manager
    }

    /// Its options.
    pub fn options(&self) -> &PoolOptions {
        &self.shared().options
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("status", &self.status()).finish()
    }
}
