//! A listener at work: accept, run a handler for each connection, drain.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;
use staunch_ledger::{Kind, Seldom, State};
use staunch_scope::{
    Cancelled, Context, Isolate, Scope, ScopeBuilder, Wait, serve_subject, with_current_account,
};
use tokio::task::yield_now;

use super::{Listener, Served};
use crate::{
    activity::Reading,
    admission::{Admitted, Source, TooMany},
    connection::Connection,
    counts::Refused,
    limits::Limits,
    observe::observe,
    proxied::introduced,
    resources::out_of_resources,
    socket::Socket,
};

/// As [`serve`]; those that are handed on say first whose they are. Others hold nothing for that.
pub(crate) async fn serve_introduced<H, F, E, M>(
    listener: Listener,
    context: Context,
    born_at: &'static Location<'static>,
    handler: Arc<H>,
    meanwhile: impl FnOnce(Scope<Infallible>) -> M,
) -> Served
where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
    M: Future<Output = ()>,
{
    listener.counts(); // from now on they are there
    if listener.listening.proxies().is_none() {
        return serve(listener, context, born_at, handler, meanwhile).await;
    }
    let handle = move |connection| introduced(connection, Arc::clone(&handler));
    serve(listener, context, born_at, Arc::new(handle), meanwhile).await
}

/// `meanwhile` is what else there is to do as long as connections are accepted.
async fn serve<H, F, E, M>(
    listener: Listener,
    context: Context,
    born_at: &'static Location<'static>,
    handler: Arc<H>,
    meanwhile: impl FnOnce(Scope<Infallible>) -> M,
) -> Served
where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
    M: Future<Output = ()>,
{
    let listening = Arc::clone(&listener.listening);
    let mut counts = (0, 0);
    let serving = ScopeBuilder::<Infallible>::new(&context)
        .policy(Isolate)
        .grace(listening.limits().drain)
        .max_children(max_handlers(listening.limits()))
        .run(async |scope| {
            let mut accepting = Accepting::new(listener);
            let work = async {
                while let Ok((socket, peer)) = accepting.next().await {
                    let Some(admitted) = accepting.admit(peer) else {
                        let _ = socket.abort(); // the peer may have gone meanwhile
                        continue;
                    };
                    let connection = accepting.own(&scope, born_at, socket, peer, admitted);
                    start(&scope, born_at, connection, &handler);
                }
            };
            tokio::select! {
                biased; // a flood of connections takes all there is of a poll: it comes last
                () = meanwhile(scope.clone()) => {}
                () = work => {}
            }
            counts = (accepting.accepted, accepting.refused);
            drop(accepting); // stops accepting before the handlers are asked
            Ok(())
        });
    // Outside the scope: peers may stall while it drains, too.
    let ended = tokio::select! {
        biased;
        never = listening.watch() => match never {},
        ended = serving => ended,
    };
    Served { accepted: counts.0, refused: counts.1, cut: ended.forced, cut_more: 0 }
}

/// Twice as many as connections: a handler may outlive its connection for a while.
fn max_handlers(limits: &Limits) -> usize {
    limits.connections.map_or(usize::MAX, |most| most.saturating_mul(2))
}

/// Starts the handler of one connection.
fn start<H, F, E>(
    scope: &Scope<Infallible>,
    born_at: &'static Location<'static>,
    connection: Connection,
    handler: &Arc<H>,
) where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let handler = Arc::clone(handler);
    scope.spawn_at(born_at, Serving::Accepted { connection: Some(connection), handler });
}

pin_project! {
    /// The task of one connection. By hand, since an `async` block would hold room for the
    /// connection, the handler and the handler's future all the time.
    #[project = ServingProjection]
    enum Serving<H, F> {
        Accepted { connection: Option<Connection>, handler: Arc<H> },
        Handled { #[pin] handling: F },
    }
}

impl<H, F, E> Future for Serving<H, F>
where
    H: Fn(Connection) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        if let ServingProjection::Accepted { connection, handler } = self.as_mut().project() {
            let Some(connection) = connection.take() else { return Poll::Ready(Ok(())) };
            serve_subject(connection.id());
            if let Ok(Some(peer)) = connection.peer() {
                with_current_account(|task| task.peer(peer));
            }
            let handling = handler(connection);
            self.set(Serving::Handled { handling });
        }
        if let ServingProjection::Handled { handling } = self.project()
            && let Err(error) = ready!(handling.poll(cx))
        {
            tracing::debug!(%error, "connection ended");
        }
        Poll::Ready(Ok(()))
    }
}

/// The accept loop's own state.
struct Accepting {
    listener: Listener,
    /// The pause after the last failure; doubles while accepting fails.
    pause: Option<Duration>,
    /// It cannot accept.
    unaccepted: Seldom,
    accepted: u64,
    refused: u64,
    turn: Turn,
}

/// How many are accepted before all others have their turn: who is served already does not wait for a crowd
/// that comes at once (docs/decisions/13-turns.md). One, as a rule; where others take long over their turns
/// as many as milliseconds have passed, `MOST` at the most, so that their line in the kernel
/// does not overflow.
#[derive(Debug, Default)]
struct Turn {
    /// Who may still be accepted in this one.
    left: u32,
    /// Somebody was accepted, and perhaps there are more.
    has_accepted: bool,
}

impl Turn {
    const MOST: u128 = 8;

    /// Steps back behind everybody who is ready, if this turn is over.
    async fn passes(&mut self) {
        if !std::mem::take(&mut self.has_accepted) || self.left > 0 {
            return;
        }
        let before = Instant::now();
        yield_now().await;
        let passed = before.elapsed().as_millis().clamp(1, Turn::MOST);
        self.left = u32::try_from(passed).unwrap_or(1);
    }

    fn accepted(&mut self) {
        self.has_accepted = true;
        self.left = self.left.saturating_sub(1);
    }
}

/// Pauses while the process or the system is out of file descriptors: long enough not to burn a
/// core, short enough to be back at once.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Accepting {
    fn new(listener: Listener) -> Accepting {
        let unaccepted = Seldom::default();
        Accepting {
            listener,
            pause: None,
            unaccepted,
            accepted: 0,
            refused: 0,
            turn: Turn::default(),
        }
    }

    /// The next connection; an error once the task is asked to stop.
    async fn next(&mut self) -> Result<(Socket, Option<SocketAddr>), Cancelled> {
        let mut wait = Wait::new();
        let listening = Arc::clone(&self.listener.listening);
        loop {
            let mut room =
                std::pin::pin!(listening.admission().room(listening.limits().connections));
            poll_fn(|cx| wait.poll(cx, State::Accept, |cx| room.as_mut().poll(cx))).await?;
            self.turn.passes().await;
            match poll_fn(|cx| wait.poll(cx, State::Accept, |cx| self.poll_accept(cx))).await? {
                Ok(accepted) => {
                    self.pause = None;
                    return Ok(accepted);
                }
                Err(error) if out_of_resources(&error) => self.back_off(&mut wait, &error).await?,
                // The peer left before it was accepted: its affair (accept(2)).
                Err(error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            }
        }
    }

    fn poll_accept(
        &mut self,
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        let polled = self.listener.poll_accept(cx);
        if polled.is_ready() {
            self.turn.accepted();
        }
        polled
    }

    async fn back_off(&mut self, wait: &mut Wait, error: &io::Error) -> Result<(), Cancelled> {
        if self.pause.is_none() {
            let (endpoint, listener) = (&self.listener.endpoint, &self.listener.account);
            if let Some(times) = self.unaccepted.happened(listener.ledger().now()) {
                tracing::error!(%endpoint, %error, times, "cannot accept: backing off; raise the limit of open files (ulimit -n) or lower `connections`");
            }
            let text = format!("{error} on {endpoint}");
            observe(listener.ledger(), listener.id(), "cannot-accept", text);
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        let mut sleep = std::pin::pin!(tokio::time::sleep(pause));
        poll_fn(|cx| wait.poll(cx, State::Sleep, |cx| sleep.as_mut().poll(cx))).await
    }

    /// A place in the counts; `None` refuses the connection.
    fn admit(&mut self, peer: Option<SocketAddr>) -> Option<Admitted> {
        if self.listener.refuses.as_ref().is_some_and(|refuses| refuses()) {
            self.refused += 1;
            let error = "none are taken for the time being";
            self.listener.counts().refused(Refused::Pressure, peer, error);
            return None;
        }
        let listening = &self.listener.listening;
        let most = listening.limits().connections_per_ip;
        let proxies = listening.proxies();
        let is_handed_on = |ip| proxies.is_some_and(|proxies| proxies.believes(ip));
        // Who is handed on is counted once it is known who it is.
        let source = peer.filter(|it| !is_handed_on(it.ip())).map(|it| Source::of(it.ip()));
        let admitted = listening.admission().admit(source, most);
        if admitted.is_some() {
            self.accepted += 1;
            self.listener.counts().accepted();
        } else {
            self.refused += 1;
            let error = TooMany::of(listening.limits());
            self.listener.counts().refused(Refused::PerIp, peer, error);
        }
        admitted
    }

    /// From here on the socket is a connection: owned, counted, watched.
    fn own(
        &self,
        scope: &Scope<Infallible>,
        born_at: &'static Location<'static>,
        socket: Socket,
        peer: Option<SocketAddr>,
        admitted: Admitted,
    ) -> Connection {
        let listening = &self.listener.listening;
        let obligation = listening.limits().obligation();
        let ledger = self.listener.account.ledger();
        let account = ledger.open_at(born_at, Kind::CONNECTION, obligation, Some(scope.id()));
        if let Some(peer) = peer {
            account.peer(peer);
        }
        Connection::new(socket, account, listening, admitted, Reading::New)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With what the scope has around it, it just fits a size of the allocator.
    #[test]
    fn what_serves_is_little_more_than_its_handler() {
        let more = size_of::<Serving<(), [u64; 5]>>() - size_of::<[u64; 5]>();
        assert!(more <= 8, "{more} bytes");
    }
}
