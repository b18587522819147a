//! What is remembered of a client: its socket, the server that it leads to, and what is owed.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use staunch_guard::Admission;
use staunch_ledger::{Account, Ledger};
use staunch_net::UdpPeer;
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::Ways;
use crate::{
    core::{CoreState, Shared},
    forward::Failure,
    plan::{ServerPlan, ServicePlan},
};

/// What is remembered of a client.
#[derive(Debug, Default)]
pub(crate) struct Session {
    link: Mutex<Option<Arc<Link>>>,
}

/// A client's way to its server.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) open: OnceCell<Open>,
    /// Nobody listens there.
    pub(super) broken: CancellationToken,
    /// Its client has another one, since its server is none that may be sent to.
    pub(super) left: CancellationToken,
    /// Datagrams that the server has not answered: those for it, less those that it has sent.
    owed: AtomicU32,
    has_answered: AtomicBool,
}

/// A client's socket to its server.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) socket: UdpPeer,
    pub(super) chosen: Chosen,
    pub(super) account: Account,
    pub(super) _admission: Option<Admission>,
    /// Given back last.
    pub(super) _place: OwnedSemaphorePermit,
}

/// The server that a client's datagrams go to.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) service: Arc<ServicePlan>,
    pub(super) server: Arc<ServerPlan>,
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way of the next datagram, which is owed an answer: the one before as long as its server
    /// may be sent to.
    pub(super) fn link(&self, ways: &Ways) -> Arc<Link> {
        let state = ways.core.state();
        let mut current = self.lock();
        if let Some(left) = current.take_if(|link| !link.is_wanted(&state)) {
            left.left.cancel();
        }
        let link = current.get_or_insert_default();
        link.has_one_more();
        Arc::clone(link)
    }

    /// The same, if there is one with a socket.
    pub(super) fn open_link(&self, ways: &Ways) -> Option<Arc<Link>> {
        let state = ways.core.state();
        let current = self.lock();
        let link = current.as_ref()?;
        (link.open.initialized() && link.is_wanted(&state)).then(|| {
            link.has_one_more();
            Arc::clone(link)
        })
    }

    /// Whoever comes next begins anew.
    pub(super) fn forget(&self, link: &Arc<Link>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            *current = None;
        }
    }
}

impl Link {
    /// A datagram is for its server.
    fn has_one_more(&self) {
        self.owed.fetch_add(1, Ordering::Relaxed); // of what is counted nothing else hangs
    }

    /// A datagram was not handed on.
    pub(super) fn has_one_less(&self) {
        let one_less = |owed: u32| owed.checked_sub(1);
        let _of_none = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    /// One came back. True of the first.
    pub(super) fn answered(&self) -> bool {
        self.has_one_less();
        !self.has_answered.swap(true, Ordering::Relaxed)
    }

    /// How long an answer may still be on its way: not beyond `last_answers` after something went either way.
    pub(super) fn is_owed_for(&self, last_answers: Duration) -> Option<Duration> {
        let is_owed = self.owed.load(Ordering::Relaxed) > 0 && !self.broken.is_cancelled();
        let open = self.open.get().filter(|_| is_owed)?;
        let silence = Ledger::current().now().since(open.account.progress());
        last_answers.checked_sub(silence).filter(|left| !left.is_zero())
    }

    /// Whether the next datagram may go there: there is no socket yet, or its server is still one of those to
    /// be sent to.
    fn is_wanted(&self, state: &CoreState) -> bool {
        let is_wanted = |open: &Open| open.chosen.is_wanted(state);
        !self.broken.is_cancelled() && self.open.get().is_none_or(is_wanted)
    }
}

impl Chosen {
    /// It has said something, the first thing to this client.
    pub(super) fn answered(&self) {
        self.server.counts.answered();
        self.service.succeeded(&self.server, Instant::now());
    }

    pub(super) fn failed(&self, failure: Failure, why: &dyn fmt::Display) {
        if failure.is_servers() {
            self.service.unanswered(&self.server, failure, why, Instant::now());
        }
    }

    /// Whether it may be sent a datagram, or no other server may either.
    fn is_wanted(&self, state: &CoreState) -> bool {
        let Some((_, upstream)) = state.upstream(self.service.name) else { return false };
        let now = Instant::now();
        let server = upstream.server(&self.server);
        server.is_some_and(|server| server.may_be_asked(now) || !upstream.has_any(now))
    }

    /// Whether it still is one of its service's, well or not.
    pub(super) fn is_listed(&self, core: &Shared) -> bool {
        let state = core.state();
        let upstream = state.upstream(self.service.name);
        upstream.is_some_and(|(_, upstream)| upstream.server(&self.server).is_some())
    }
}
