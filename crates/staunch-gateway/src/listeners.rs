//! The listeners of a gateway, bound for each core.
//!
//! Which of them are wanted is part of the plan, so that a listener and the routes of its name come
//! and go as one. Each core takes its share of those that are new to it, and stops those that are no
//! longer there; it does not matter how often that changes before a core looks.

use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use staunch_config::IpRange;
use staunch_http::HttpLimits;
use staunch_net::{
    BindError, Endpoint, InheritedSockets, SharedSocket, TlsConfig, UnattachedListener,
};

use crate::{
    core::{Share, Speaks},
    gateway::Setup,
    reports::Reports,
};

/// Listeners that are bound and that nobody accepts from yet: those that a gateway begins with, or
/// those that [`Control::reload`](crate::Control::reload) is to add.
#[derive(Debug)]
pub struct Listeners {
    cores: NonZeroUsize,
    all: Vec<Arc<Listening>>,
}

/// They cannot be what the configuration says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// It cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The sockets cannot be kept for a successor.
    #[error("{endpoint}: cannot keep its sockets for a successor: {source}")]
    Share {
        /// Where it would listen.
        endpoint: Endpoint,
        /// What is wrong.
        source: io::Error,
    },
}

/// A listener, bound for each core.
#[derive(Debug)]
pub(crate) struct Listening {
    name: String,
    endpoint: Endpoint,
    /// Those of each core that it has not taken yet.
    shares: Mutex<Vec<Vec<UnattachedListener>>>,
    /// How many there are, of all cores together.
    count: usize,
    /// Its sockets once more, for a successor: of another process, or in the next plan. None once it
    /// is to end.
    sockets: Mutex<Vec<Arc<SharedSocket>>>,
    tls: Option<TlsConfig>,
    speaks: Speaks,
    /// Who is believed for whom it speaks.
    proxies: Arc<[IpRange]>,
}

impl Listeners {
    pub(crate) fn new(cores: NonZeroUsize) -> Listeners {
        Listeners { cores, all: Vec::new() }
    }

    /// Has the requests of a listener go where the routes of its name lead. Of `sockets` it takes
    /// those that listen there.
    ///
    /// # Errors
    /// [`ListenError`]
    #[track_caller]
    pub fn http(
        &mut self,
        name: &str,
        setup: Setup,
        limits: HttpLimits,
        sockets: &mut InheritedSockets,
    ) -> Result<(), ListenError> {
        self.listen(name, setup, Speaks::Http(limits), sockets)
    }

    /// Has the connections of a listener go to a service. Of `sockets` it takes those that listen
    /// there.
    ///
    /// # Errors
    /// [`ListenError`]
    #[track_caller]
    pub fn tcp(
        &mut self,
        name: &str,
        setup: Setup,
        service: &str,
        sockets: &mut InheritedSockets,
    ) -> Result<(), ListenError> {
        self.listen(name, setup, Speaks::Tcp(service.into()), sockets)
    }

    #[track_caller]
    fn listen(
        &mut self,
        name: &str,
        setup: Setup,
        speaks: Speaks,
        sockets: &mut InheritedSockets,
    ) -> Result<(), ListenError> {
        let Setup { endpoint, options, limits, tls, proxies } = setup;
        let cores = self.cores.get();
        let each =
            UnattachedListener::bind_or_inherit_each(&endpoint, &options, limits, cores, sockets)?;
        let endpoint = each.first().map_or(endpoint, |first| first.endpoint().clone());
        let kept = each.iter().map(|one| one.share().map(Arc::new)).collect::<io::Result<_>>();
        let kept =
            kept.map_err(|source| ListenError::Share { endpoint: endpoint.clone(), source })?;
        let count = each.len();
        // A predecessor may have had more of them than there are cores.
        let mut shares: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
        for (index, one) in each.into_iter().enumerate() {
            shares[index % cores].push(one.named(name));
        }
        self.all.push(Arc::new(Listening {
            name: name.to_owned(),
            endpoint,
            shares: Mutex::new(shares),
            count,
            sockets: Mutex::new(kept),
            tls,
            speaks,
            proxies: proxies.into(),
        }));
        Ok(())
    }

    /// By name, and where.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, String)> {
        self.all.iter().map(|it| (it.name.as_str(), it.endpoint.to_string()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn into_all(self) -> Vec<Arc<Listening>> {
        self.all
    }
}

impl Listening {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How many sockets accept for it.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The part of a core, which it takes once.
    pub(crate) fn take(&self, core: usize, reports: &Reports) -> Vec<Share> {
        let taken = self.shares().get_mut(core).map(std::mem::take).unwrap_or_default();
        let access = reports.source(core, &self.name, self.tls.is_some());
        let share = |listener| Share {
            name: self.name.clone(),
            listener,
            tls: self.tls.clone(),
            speaks: self.speaks.clone(),
            proxies: Arc::clone(&self.proxies),
            access: access.clone(),
        };
        taken.into_iter().map(share).collect()
    }

    /// Its sockets, for a successor.
    pub(crate) fn sockets(&self) -> Vec<Arc<SharedSocket>> {
        self.kept().clone()
    }

    /// Somebody else has its sockets: the file of a Unix socket stays.
    pub(crate) fn is_handed_over(&self) {
        self.kept().iter().for_each(|socket| socket.is_handed_over());
    }

    /// It is to end: what is kept for successors would have the kernel go on taking connections.
    pub(crate) fn close(&self) {
        let (kept, shares) =
            (std::mem::take(&mut *self.kept()), std::mem::take(&mut *self.shares()));
        drop((kept, shares)); // not while they are locked
    }

    fn shares(&self) -> MutexGuard<'_, Vec<Vec<UnattachedListener>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Arc<SharedSocket>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speaks::Http(_) => f.write_str("http"),
            Speaks::Tcp(service) => write!(f, "tcp {service}"),
        }
    }
}
