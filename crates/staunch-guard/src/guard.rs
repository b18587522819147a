//! The guard.

use std::{fmt, panic::Location, sync::Arc};

use staunch_scope::{Scope, watch};

use crate::{
    Admission, Closing, GuardOptions, GuardOptionsError, GuardStatus, Level, Priority, Refused,
    Registration, registry, sampler::Sampler, shared::Shared, shrinkers::Pressing,
};

/// Watches memory and fds, and takes on less before either runs out; clones are the same guard.
///
/// It belongs to the scope it was started in. Once that stops, nobody looks any more: the level is
/// [`Level::Normal`] from then on, and only the limit of concurrency still refuses.
///
/// # Examples
/// ```
/// use staunch_guard::{Guard, GuardOptions, Level, Priority};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ended = scope(&Context::background(), |s| async move {
///     let options = GuardOptions { memory_limit: Some(8 << 30), ..GuardOptions::default() };
///     let guard = Guard::start(&s, options)?;
///     assert_eq!(guard.level(), Level::Normal);
///
///     let mut admission = guard.admit(Priority::Normal)?;
///     // work
///     admission.answered();
///     drop(admission);
///
///     s.stop();
///     Ok::<_, BoxError>(())
/// });
/// ended.await.unwrap();
/// # });
/// ```
#[derive(Clone)]
pub struct Guard {
    pub(crate) shared: Arc<Shared>,
}

impl Guard {
    /// Takes the first look at once, and from then on one every
    /// [`interval`](GuardOptions::interval), or less often far from any mark, by a child of
    /// `scope`. What cannot be watched, for want of a limit, is logged once.
    ///
    /// # Errors
    /// [`GuardOptionsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    #[track_caller]
    pub fn start<E: Send + 'static>(
        scope: &Scope<E>,
        options: GuardOptions,
    ) -> Result<Guard, GuardOptionsError> {
        options.check()?;
        let born_at = Location::caller();
        let shared = Arc::new(Shared::new(options, born_at));
        registry::register(&shared);
        let mut sampler = Sampler::new(Arc::clone(&shared), scope.id());
        sampler.look();
        let watching = sampler.watch();
        scope.spawn_at(born_at, async {
            watching.await;
            Ok(())
        });
        Ok(Guard { shared })
    }

    /// The level, as the last look saw it. One load: ask as often as you like. A guard that rests
    /// ([`interval`](GuardOptions::interval)) goes on resting.
    pub fn level(&self) -> Level {
        self.shared.level()
    }

    /// To wait for changes of the level. Its senders are gone when the guard has stopped.
    #[track_caller]
    pub fn watch(&self) -> watch::Receiver<Level> {
        self.shared.watch()
    }

    /// Whether a request may begin; it counts as in flight until the admission is dropped.
    /// [`Priority::Critical`] always may.
    ///
    /// # Errors
    /// [`Refused`], at once: nobody waits here.
    #[track_caller]
    pub fn admit(&self, priority: Priority) -> Result<Admission, Refused> {
        self.admit_at(priority, false, Location::caller())
    }

    /// [`admit`](Guard::admit), for what lasts: a WebSocket, an event stream, a long poll. With a limit of
    /// concurrency, say when it has begun ([`Admission::answered`]): it counts until then.
    ///
    /// # Errors
    /// [`Refused`], at once.
    #[track_caller]
    pub fn admit_stream(&self, priority: Priority) -> Result<Admission, Refused> {
        self.admit_at(priority, true, Location::caller())
    }

    /// An admission that is born on that line.
    pub(crate) fn admit_at(
        &self,
        priority: Priority,
        is_stream: bool,
        born_at: &'static Location<'static>,
    ) -> Result<Admission, Refused> {
        self.shared.admit(priority, is_stream, born_at)
    }

    /// Has `shrink` called as long as the level is `level` or worse: at once when it begins, and
    /// then every [`repeat`](GuardOptions::repeat); if
    /// [`Reaction::Shrink`](crate::Reaction::Shrink) is among the reactions. Until the registration
    /// is dropped, the guard keeps whatever `shrink` holds.
    ///
    /// It is called on a thread where it may block; the others wait for it, the guard's looks do
    /// not.
    ///
    /// # Examples
    /// ```
    /// # use staunch_guard::{Guard, GuardOptions, Level};
    /// # use staunch_scope::{BoxError, Context, scope};
    /// # struct Cache; impl Cache { fn forget_half(&self) {} }
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # scope(&Context::background(), |s| async move {
    /// # let guard = Guard::start(&s, GuardOptions::default())?;
    /// # let cache = Cache;
    /// let _shrinks = guard.on(Level::Shed, "prices", move |_| cache.forget_half());
    /// # s.stop();
    /// # Ok::<_, BoxError>(())
    /// # }).await.unwrap();
    /// # });
    /// ```
    pub fn on(
        &self,
        level: Level,
        name: &'static str,
        shrink: impl Fn(Pressing) + Send + Sync + 'static,
    ) -> Registration {
        let key = self.shared.shrinkers.add(level, name, Box::new(shrink));
        Registration::new(Arc::downgrade(&self.shared), key)
    }

    /// Has `close` asked for idle connections when fds run short, if
    /// [`Reaction::CloseIdle`](crate::Reaction::CloseIdle) is among the reactions: it closes those that
    /// were idle for the longest, no more than it is asked for, and says how many. Until the registration
    /// is dropped, the guard keeps whatever `close` holds. It is called where [`on`](Guard::on) calls.
    ///
    /// # Examples
    /// ```
    /// # use staunch_guard::{Guard, GuardOptions};
    /// # use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
    /// fn watched(guard: &Guard, listener: Listener) -> (Listener, staunch_guard::Registration) {
    ///     let control = listener.control();
    ///     let closes = guard.closes_idle(move |it| control.close_idle(it.most, it.at_least));
    ///     let guard = guard.clone();
    ///     (listener.refuse_while(move || guard.refuses_connections()), closes)
    /// }
    /// ```
    pub fn closes_idle(
        &self,
        close: impl Fn(Closing) -> usize + Send + Sync + 'static,
    ) -> Registration {
        let key = self.shared.shrinkers.key();
        self.shared.closers.add(key, Arc::new(close));
        Registration::new(Arc::downgrade(&self.shared), key)
    }

    /// Whether a listener should refuse connections now
    /// ([`Reaction::RefuseConnections`](crate::Reaction::RefuseConnections)). It is taken for one that comes:
    /// a guard that rests looks again.
    pub fn refuses_connections(&self) -> bool {
        self.shared.stir.begin();
        self.shared.refuses_connections[self.level() as usize]
    }

    /// What it sees now, and has done.
    pub fn status(&self) -> GuardStatus {
        self.shared.status()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("status", &self.status()).finish()
    }
}
