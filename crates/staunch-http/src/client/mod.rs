//! A client that leaves nothing behind.
//!
//! [`request`] is what is asked for; [`exchange`] gets the answer of it, following [`redirect`]s
//! and sending again what [`retry`] allows; [`answer`] and [`body`] are what is read, once it is
//! [`decode`]d; [`proxies`] and [`bypass`] say whom it goes through. A body that is not goes to the
//! [`drain`]. [`events`] asks again and again.

mod answer;
mod body;
mod bypass;
mod counts;
mod decode;
mod drain;
mod error;
mod events;
mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod options;
mod origin;
mod proxies;
mod redirect;
mod registry;
mod request;
mod retry;
mod save;
mod status;

use std::{fmt, panic::Location, sync::Arc, time::Duration};

use hyper::Method;
use staunch_ledger::{Account, EntryId, Kind, Ledger, Obligation};
use staunch_net::{LoadTlsError, TlsTrust};
use staunch_pool::{Http, HttpOptions, KeyedPool};
use staunch_scope::Scope;

pub use self::{
    answer::{Answer, AnswerLines, StatusError},
    body::AnswerBody,
    error::{ClientError, ClientOptionsError, ReadAnswerError},
    events::{EventSource, EventSourceError, EventsLost, EventsOptions, EventsRequest},
    options::{ClientOptions, DrainOptions, RetryOptions},
    proxies::{Proxies, ProxiesError},
    registry::{ClientReport, clients},
    request::ClientRequest,
    status::{Bodies, ClientStatus, Outcome},
};
use self::{drain::Drain, origin::Origin, retry::Budget};
pub use staunch_pool::RequestBody as SentBody;

/// An HTTP client; clones are the same client.
///
/// Its connections, and whatever drives them, belong to the scope it was made in, and end with it,
/// whoever still has the client or an answer: what is kept is a leak then. A request can be
/// given up in every phase: by dropping it, by its [`Context`](staunch_scope::Context), or by the
/// handle of [`ClientRequest::cancellable`].
///
/// # Examples
/// ```no_run
/// use staunch_http::{Client, ClientOptions};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let client = Client::new(&s, ClientOptions::default())?;
///     let answer = client.get("http://upstream:8080/health").send().await?;
///     println!("{}: {}", answer.status(), answer.text(64 << 10).await?);
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// Streams have an idle limit of their own ([`EventsOptions::idle`]), which comes before this one.
const STREAM: Duration = Duration::from_hours(24);

struct Inner {
    /// The scope it belongs to.
    owner: EntryId,
    born_at: &'static Location<'static>,
    ledger: Ledger,
    pool: KeyedPool<Origin, Http>,
    trust: Result<TlsTrust, Arc<LoadTlsError>>,
    drain: Arc<Drain>,
    budget: Budget,
    counts: Arc<counts::Counts>,
    options: ClientOptions,
    /// That somebody has the client: it is not to outlive its scope.
    _account: Account,
}

impl Client {
    /// A client that belongs to `scope`. If nobody is named to trust it reads the system's roots,
    /// a file, and so blocks for a moment.
    ///
    /// # Errors
    /// [`ClientOptionsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    #[track_caller]
    pub fn new<E: Send + 'static>(
        scope: &Scope<E>,
        options: ClientOptions,
    ) -> Result<Client, ClientOptionsError> {
        let trust = match &options.trust {
            Some(trust) => Ok(trust.clone()),
            None => TlsTrust::system(&["h2", "http/1.1"]).map_err(Arc::new),
        };
        let (owner, http, trusted) = (scope.clone(), options.http.clone(), trust.clone().ok());
        let make = move |origin: &Origin| {
            let address = origin.address();
            let to = match (&trusted, origin.is_secure) {
                (Some(trust), true) => {
                    Http::tls(&owner, address, origin.server_name(), trust.clone())
                }
                _ => Http::tcp(&owner, address), // without trust no secure one is asked for
            };
            let to = match &origin.proxy {
                Some(proxy) => to.through(proxy.clone()),
                None => to,
            };
            let own = http.clone();
            to.options(if origin.is_stream {
                HttpOptions { body_stall: STREAM, ..own }
            } else {
                own
            })
        };
        let pool = KeyedPool::new(scope, make, options.pool.clone())?;
        let name = options.pool.per_key.name;
        let (ledger, born_at) = (Ledger::current(), Location::caller());
        let drain = Drain::start(scope, born_at, name, options.drain);
        let (promise, owner) = (Obligation::EndsWithParent, Some(scope.id()));
        let account = ledger.open_at(born_at, Kind::OTHER, promise, owner);
        account.label(name);
        let client = Arc::new(Inner {
            owner: scope.id(),
            born_at,
            ledger,
            pool,
            trust,
            drain: Arc::new(drain),
            budget: Budget::new(options.retry),
            counts: Arc::default(),
            options,
            _account: account,
        });
        registry::register(Arc::downgrade(&client));
        Ok(Client(client))
    }

    /// A request, which is sent by [`ClientRequest::send`]. The caller's line is the one that
    /// its connection and its body are known by.
    #[track_caller]
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> ClientRequest {
        ClientRequest::new(self.clone(), Location::caller(), method, url.as_ref())
    }

    /// A `GET` request.
    #[track_caller]
    pub fn get(&self, url: impl AsRef<str>) -> ClientRequest {
        self.request(Method::GET, url)
    }

    /// A `HEAD` request.
    #[track_caller]
    pub fn head(&self, url: impl AsRef<str>) -> ClientRequest {
        self.request(Method::HEAD, url)
    }

    /// A `POST` request.
    #[track_caller]
    pub fn post(&self, url: impl AsRef<str>) -> ClientRequest {
        self.request(Method::POST, url)
    }

    /// A `PUT` request.
    #[track_caller]
    pub fn put(&self, url: impl AsRef<str>) -> ClientRequest {
        self.request(Method::PUT, url)
    }

    /// A `DELETE` request.
    #[track_caller]
    pub fn delete(&self, url: impl AsRef<str>) -> ClientRequest {
        self.request(Method::DELETE, url)
    }

    /// What it holds, and has done.
    pub fn status(&self) -> ClientStatus {
        let (pool, bodies) = (self.0.pool.status(), self.0.drain.status());
        self.0.counts.status(pool, bodies)
    }

    /// Its options.
    pub fn options(&self) -> &ClientOptions {
        &self.0.options
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish()
    }
}
