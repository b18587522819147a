//! The console: checks who asks, finds the page, has it made, answers.
//!
//! Pages read `/proc`, walk the whole ledger or sample for seconds, so each is an ordinary
//! function that may block, and runs on a blocking thread as the child of the request. At most
//! [`PAGES_AT_ONCE`] are made or sent at a time, which bounds the memory of all pages together;
//! the others wait for a turn.

use std::{
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use prometheus_client::collector::Collector;
use staunch_http::{HttpLimits, RequestBody, ServeHttpError, handler, keep_until_sent};
use staunch_ledger::Ledger;
use staunch_net::{Connection, Limits};
use staunch_scope::{Blocking, Context, JoinChildError, ScopeError, scope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    access::Access,
    query::Query,
    readiness::Readiness,
    refusal::Refusal,
    reply::Reply,
    route::{Page, ROUTES, Route, Visit},
};

/// The admin endpoint. Clones are the same console.
///
/// # Examples
/// ```no_run
/// use staunch_console::{Access, Console, ConsoleOptions, Phase, Readiness};
/// use staunch_net::{Endpoint, Listener, SocketOptions};
/// use staunch_scope::Context;
///
/// # async fn run(context: Context) -> Result<(), Box<dyn std::error::Error>> {
/// let address = "127.0.0.1:6060".parse()?;
/// let readiness = Readiness::default();
/// let console = Console::new(ConsoleOptions {
///     access: Access::new(address, None)?,
///     readiness: readiness.clone(),
/// });
/// let endpoint = Endpoint::Tcp(address);
/// let listener = Listener::bind(&endpoint, &SocketOptions::default(), Console::limits())?;
/// readiness.advance(Phase::Ready);
/// let served = listener.serve(&context, move |peer| console.clone().serve(peer)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<Shared>,
}

/// What a console needs to know.
#[derive(Debug)]
#[must_use]
pub struct ConsoleOptions {
    /// Who may ask.
    pub access: Access,
    /// What `/readyz` answers.
    pub readiness: Readiness,
}

/// Pages that are made or sent at a time. Four: a CPU profile, a scrape, a person, and one to spare.
const PAGES_AT_ONCE: usize = 4;

/// Bytes of a request body: Go's tools send the addresses of a profile, some 16 bytes each.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Time for a whole request body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A page in the making shows that it lives at least this often: far below any idle limit.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Shared {
    access: Access,
    pub(crate) readiness: Readiness,
    pub(crate) ledger: Ledger,
    http: HttpLimits,
    turns: Arc<Semaphore>,
    collectors: Mutex<Vec<Arc<dyn Collector>>>,
}

impl Shared {
    pub(crate) fn collectors(&self) -> Vec<Arc<dyn Collector>> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Console {
    /// A console that shows the current ledger ([`Ledger::current`]).
    pub fn new(options: ConsoleOptions) -> Console {
        let ConsoleOptions { access, readiness } = options;
        Console {
            shared: Arc::new(Shared {
                access,
                readiness,
                ledger: Ledger::current(),
                http: HttpLimits {
                    body_bytes: BODY_BYTES_MAX,
                    body_time: BODY_TIME,
                    ..HttpLimits::default()
                },
                turns: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
                collectors: Mutex::default(),
            }),
        }
    }

    /// Has `/metrics` show what `collector` has, too.
    pub fn collect(&self, collector: Arc<dyn Collector>) {
        let mut collectors = self.shared.collectors.lock().unwrap_or_else(PoisonError::into_inner);
        collectors.push(collector);
    }

    /// Limits for the listener of a console: 64 connections, since those who look after a
    /// service are few, and a console under attack must not take the service's files; 16 from
    /// one address, so that nobody alone keeps the others out; 4 KiB a second at least, since
    /// who reads a page takes one of few turns.
    pub fn limits() -> Limits {
        Limits {
            connections: Some(64),
            connections_per_ip: Some(16),
            min_send_rate: 4 << 10,
            message: None, // `HttpLimits` bound a request
            ..Limits::default()
        }
    }

    /// Answers the requests of one connection; for [`Listener::serve`](staunch_net::Listener::serve).
    ///
    /// # Errors
    /// [`ServeHttpError`], when the connection ended in the middle of something.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection; a page in the making is asked to stop.
    pub async fn serve(self, connection: Connection) -> Result<(), ServeHttpError> {
        let Ok(peer) = connection.peer() else { return Ok(()) }; // it has left already
        let peer = peer.map(|peer| peer.ip());
        // Hears of the end, which a request does not: nobody waits for a page then.
        let (context, shared) = (Context::current(), Arc::clone(&self.shared));
        let pages =
            handler(move |request| answer(Arc::clone(&shared), context.clone(), peer, request));
        staunch_http::serve(connection, &self.shared.http, pages).await
    }
}

async fn answer(
    shared: Arc<Shared>,
    context: Context,
    peer: Option<IpAddr>,
    request: Request<RequestBody>,
) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let reply =
        find(shared, context, peer, request).await.unwrap_or_else(|refusal| refusal.reply());
    tracing::debug!(%method, path, status = reply.status().as_u16(), "admin request");
    reply
}

async fn find(
    shared: Arc<Shared>,
    context: Context,
    peer: Option<IpAddr>,
    request: Request<RequestBody>,
) -> Result<Reply, Refusal> {
    let path = request.uri().path();
    let route = Route::find(path);
    if !route.is_some_and(|route| matches!(route.page, Page::Open(_))) {
        shared.access.check(peer, request.headers())?;
    }
    let route = route.ok_or_else(|| Refusal::NoPage { path: path.to_owned(), routes: ROUTES })?;
    let method = request.method().clone();
    if !route.takes(&method) {
        return Err(Refusal::Method { route, method });
    }
    let query = Query::parse(request.uri().query(), route.parameters)?;
    if let Page::Open(page) = route.page {
        return Ok(page(&shared));
    }
    let body = receive(request.into_body()).await?;
    let turn = context.run(Arc::clone(&shared.turns).acquire_owned()).await;
    let turn = turn.map_err(|_| Refusal::Ending)?.map_err(Refusal::failed)?;
    let make = move |work: &Blocking| {
        let visit = Visit { shared: &shared, query: &query, method: &method, body, work };
        route.page.make(&visit)
    };
    on_a_thread(&context, turn, make).await
}

/// The whole body of a request, which has its bytes and time limited already.
async fn receive(body: RequestBody) -> Result<Bytes, Refusal> {
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(Refusal::Body(error.to_string())),
    }
}

/// Has a page made where it may block. The turn ends when the page is sent; if its client leaves
/// before, it ends with the work, not with the wait for it.
async fn on_a_thread(
    context: &Context,
    turn: OwnedSemaphorePermit,
    make: impl FnOnce(&Blocking) -> Result<Reply, Refusal> + Send + 'static,
) -> Result<Reply, Refusal> {
    let made = scope(context, |s| async move {
        let page = s.blocking(move |work| Ok::<_, JoinChildError>((make(work), turn)));
        let mut page = pin!(page.join());
        loop {
            tokio::select! {
                biased;
                made = &mut page => break made,
                // Being polled is the sign of life: see `staunch_http::serve`.
                () = tokio::time::sleep(SIGN_OF_LIFE) => {}
            }
        }
    });
    match made.await {
        Ok((page, turn)) => Ok(send_within(turn, page?)),
        Err(ScopeError::Cancelled(_)) => Err(Refusal::Ending),
        Err(error) => Err(Refusal::failed(error)),
    }
}

/// The page, which keeps its turn until it is sent.
fn send_within(turn: OwnedSemaphorePermit, page: Reply) -> Reply {
    page.map(|body| match body.into_inner() {
        Some(bytes) => Full::new(keep_until_sent(bytes, turn)),
        None => Full::default(),
    })
}
