//! Who may have a stream: decided before anything of it exists.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, Hash},
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{
    Response, StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use staunch_ledger::{Kind, Ledger, Obligation};
use staunch_scope::{Context, Piece, current_task};

use super::{body::StreamBody, limits::StreamLimits, registry};

/// The streams of one route. Clones are the same.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use staunch_http::{Event, RequestBody, StreamBody, StreamLimits, Streams, peer};
/// use hyper::{Request, Response};
///
/// async fn ticks(streams: Streams, _: Request<RequestBody>) -> Response<StreamBody> {
///     match streams.admit(peer().map(|peer| peer.ip())) {
///         Err(refused) => refused.answer(), // 403, or 503 with Retry-After
///         Ok(admitted) => admitted.events(|mut events| async move {
///             for tick in 1.. {
///                 events.send(&Event::data(format!("tick {tick}"))).await?;
///                 staunch_scope::sleep(Duration::from_secs(1)).await?;
///             }
///             Ok(())
///         }),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Streams(pub(super) Arc<Route>);

pub(super) struct Route {
    pub(super) name: &'static str,
    pub(super) born_at: &'static Location<'static>,
    pub(super) ledger: Ledger,
    limits: StreamLimits,
    open: AtomicUsize,
    /// How many each client has that has any; a client is a hash of what it is known by.
    clients: Mutex<HashMap<u64, usize>>,
    hasher: RandomState,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    unknown: AtomicU64,
    full: AtomicU64,
    ended: [AtomicU64; Ending::COUNT],
}

/// Streams of all routes.
static IN_PROCESS: AtomicUsize = AtomicUsize::new(0);

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its client left, or the connection was cut.
    Left,
    /// Whoever makes it came to an end.
    Whole,
    /// Whoever makes it failed.
    Failed,
    Idle,
    Lifetime,
    /// The server is to stop.
    Draining,
}

impl Ending {
    const COUNT: usize = 6;

    /// What an observation of it is called.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Ending::Left => "stream-left",
            Ending::Whole => "stream-whole",
            Ending::Failed => "stream-failed",
            Ending::Idle => "stream-idle",
            Ending::Lifetime => "stream-lifetime",
            Ending::Draining => "stream-draining",
        }
    }

    /// What a client is told.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Ending::Lifetime => "lifetime",
            Ending::Idle => "idle",
            _ => "draining",
        }
    }
}

/// What became of the streams of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCounts {
    /// That live.
    pub open: usize,
    /// Clients that have one.
    pub clients: usize,
    /// That ever began.
    pub opened: u64,
    /// Refused, since nobody knew whose they would be.
    pub unknown: u64,
    /// Refused, since there were enough.
    pub full: u64,
    /// Ended, because the client left or was cut.
    pub left: u64,
    /// Ended by themselves.
    pub whole: u64,
    /// Ended in an error of whoever made them.
    pub failed: u64,
    /// Ended, because nothing was made for too long.
    pub idle: u64,
    /// Ended at the end of their lifetime.
    pub lifetime: u64,
    /// Ended, because the server was to stop.
    pub draining: u64,
}

/// Why there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamRefused {
    /// Nobody knows who asks.
    #[error("nobody knows whose stream it would be")]
    Unknown,
    /// There are enough.
    #[error("{of} has {limit} streams, and no more (`{key}`)")]
    Full {
        /// The one who has so many.
        of: &'static str,
        /// How many.
        limit: usize,
        /// The limit's name in [`StreamLimits`].
        key: &'static str,
        /// When there may be room.
        retry_after: Duration,
    },
}

impl StreamRefused {
    /// What the client is told: 403, or 503 with `Retry-After`.
    pub fn answer(&self) -> Response<StreamBody> {
        let mut answer = Response::new(StreamBody::whole(format!("No stream: {self}.\n")));
        *answer.status_mut() = match self {
            StreamRefused::Unknown => StatusCode::FORBIDDEN,
            StreamRefused::Full { retry_after, .. } => {
                let seconds = retry_after.as_millis().div_ceil(1000) as u64;
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        answer
    }
}

/// A stream that may begin. Its place is free again when this, or the stream, is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Admitted {
    pub(super) held: Held,
    born_at: &'static Location<'static>,
}

/// The place of a stream.
pub(super) struct Held {
    route: Arc<Route>,
    client: u64,
    /// How the stream ends; before it has begun `None`.
    ending: Option<Ending>,
}

impl Streams {
    /// Streams within these limits. Metrics know them by the caller's line.
    #[track_caller]
    pub fn new(limits: StreamLimits) -> Streams {
        Streams::named("", limits)
    }

    /// Streams that metrics know by a name, such as that of their route; several of one name are one.
    #[track_caller]
    pub fn named(name: &'static str, limits: StreamLimits) -> Streams {
        let route = Arc::new(Route {
            name,
            born_at: Location::caller(),
            ledger: Ledger::current(),
            limits,
            open: AtomicUsize::new(0),
            clients: Mutex::default(),
            hasher: RandomState::new(),
            counters: Counters::default(),
        });
        registry::register(Arc::downgrade(&route));
        Streams(route)
    }

    /// Admits a stream of `client`: whatever the client is known by once it has said who it is; its
    /// address, when everybody may have one. `None` when nobody knows.
    ///
    /// # Errors
    /// [`StreamRefused`], and nothing was begun.
    #[track_caller]
    pub fn admit(&self, client: Option<impl Hash>) -> Result<Admitted, StreamRefused> {
        let born_at = Location::caller();
        let Some(client) = client else {
            self.0.counters.unknown.fetch_add(1, Ordering::Relaxed);
            return Err(StreamRefused::Unknown);
        };
        let client = self.0.hasher.hash_one(client);
        match self.0.admit(client) {
            Ok(()) => {
                let held = Held { route: Arc::clone(&self.0), client, ending: None };
                Ok(Admitted { held, born_at })
            }
            Err(refused) => {
                self.0.counters.full.fetch_add(1, Ordering::Relaxed);
                Err(refused)
            }
        }
    }

    /// What became of them so far.
    pub fn counts(&self) -> StreamCounts {
        let Counters { opened, unknown, full, ended } = &self.0.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [left, whole, failed, idle, lifetime, draining] = ended.each_ref().map(get);
        let (open, clients) = (self.0.open.load(Ordering::Relaxed), self.0.clients().len());
        let (opened, unknown, full) = (get(opened), get(unknown), get(full));
        StreamCounts {
            open,
            clients,
            opened,
            unknown,
            full,
            left,
            whole,
            failed,
            idle,
            lifetime,
            draining,
        }
    }
}

impl Route {
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, client: u64) -> Result<(), StreamRefused> {
        let limits = &self.limits;
        let full = |of, key, limit| StreamRefused::Full {
            of,
            limit,
            key,
            retry_after: limits.retry_after,
        };
        let mut clients = self.clients();
        let its = clients.get(&client).copied().unwrap_or(0);
        if its >= limits.per_client {
            return Err(full("this client", "per_client", limits.per_client));
        }
        take(&self.open, limits.streams)
            .map_err(|Enough| full("this route", "streams", limits.streams))?;
        if take(&IN_PROCESS, limits.in_process).is_err() {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(full("this process", "in_process", limits.in_process));
        }
        clients.insert(client, its + 1);
        Ok(())
    }
}

struct Enough;

fn take(count: &AtomicUsize, most: usize) -> Result<(), Enough> {
    let one_more = |now: usize| (now < most).then(|| now + 1);
    match count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
        Ok(_) => Ok(()),
        Err(_) => Err(Enough),
    }
}

impl Admitted {
    /// The line that it was admitted on.
    #[cfg(feature = "files")]
    pub(crate) fn born_at(&self) -> &'static Location<'static> {
        self.born_at
    }

    /// Bytes of a piece that fills the room there is.
    #[cfg(feature = "files")]
    pub(crate) fn piece_bytes(&self) -> usize {
        self.held.limits().buffer.max(1)
    }

    /// It begins: the stream's account, below the request's, and a context that ends with its lifetime rather
    /// than with the request's time.
    pub(super) fn begin(&mut self) -> Piece {
        self.held.begins();
        let limits = self.held.limits();
        let promise = Obligation::ProgressWithin(limits.idle.saturating_add(limits.heartbeat));
        let ledger = Ledger::current();
        let account = ledger.open_at(self.born_at, Kind::STREAM, promise, current_task());
        if let Some(request) = current_task().and_then(|request| ledger.entry(request)) {
            account.label(&request.label().to_string());
        }
        let context = Context::current().without_cancel().with_timeout(limits.lifetime);
        Piece::new(account, context)
    }
}

impl Held {
    pub(super) fn limits(&self) -> &StreamLimits {
        &self.route.limits
    }

    fn begins(&mut self) {
        self.ending = Some(Ending::Left);
        self.route.counters.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// How it ends, unless its client leaves it.
    pub(super) fn ends(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut clients = self.route.clients();
        if let Some(its) = clients.get_mut(&self.client) {
            *its -= 1;
            if *its == 0 {
                clients.remove(&self.client);
            }
        }
        self.route.open.fetch_sub(1, Ordering::Relaxed);
        IN_PROCESS.fetch_sub(1, Ordering::Relaxed);
        if let Some(ending) = self.ending {
            self.route.counters.ended[ending as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("client", &self.client).finish_non_exhaustive()
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("limits", &self.limits)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
