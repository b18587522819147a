//! The tasks that drive connections, for clients that are only one end of a channel to theirs.

use std::{
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use staunch_scope::Scope;
use tokio::sync::Notify;

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts drivers as children of a scope, born on the line that made the manager.
pub(super) struct Drivers {
    pub(super) born_at: &'static Location<'static>,
    start: Box<dyn Fn(Driver) + Send + Sync>,
}

/// Ends a driver, and knows whether it has ended.
#[derive(Clone, Debug)]
pub(super) struct Switch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    off: Notify,
    has_ended: AtomicBool,
}

impl Drivers {
    #[track_caller]
    pub(super) fn new<E: Send + 'static>(scope: &Scope<E>) -> Drivers {
        let (born_at, scope) = (Location::caller(), scope.clone());
        let start = move |driver: Driver| {
            scope.spawn_daemon_at(born_at, async move {
                driver.await;
                Ok(())
            });
        };
        Drivers { born_at, start: Box::new(start) }
    }

    /// Starts one. It ends by itself, when its client is gone, or by the switch.
    #[cfg(any(feature = "http", feature = "redis"))]
    pub(super) fn start(&self, driver: impl Future<Output = ()> + Send + 'static) -> Switch {
        self.start_with(driver, || std::future::ready(()))
    }

    /// Starts one after which something is left to do if it is switched off. `once_off` says what, before
    /// the driver's client hears of its end; its task ends only when that is done, so it must be soon.
    pub(super) fn start_with<L: Future<Output = ()> + Send + 'static>(
        &self,
        driver: impl Future<Output = ()> + Send + 'static,
        once_off: impl FnOnce() -> L + Send + 'static,
    ) -> Switch {
        let switch = Switch(Arc::default());
        let state = Arc::clone(&switch.0);
        (self.start)(Box::pin(async move {
            let ends = Ends(state);
            let mut left = None;
            let is_off = async {
                ends.0.off.notified().await;
                left = Some(once_off());
            };
            tokio::select! {
                biased;
                () = is_off => {}
                () = driver => {}
            }
            drop(ends);
            if let Some(left) = left {
                left.await;
            }
        }));
        switch
    }
}

/// Says that the driver has ended, however it does.
struct Ends(Arc<State>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
impl Switch {
    /// Drops the driver, and with it the socket.
    pub(super) fn off(&self) {
        self.0.off.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Acquire)
    }
}
