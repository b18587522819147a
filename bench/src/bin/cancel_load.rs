//! Requests cancelled by their client, and when the handler was told: it is dropped.
//!
//! One subject and version a process, server and clients on the same two workers. Each task sends a
//! request, waits until its handler is at work, gives it up (over HTTP/1 it closes the connection,
//! over HTTP/2 it resets the stream), and waits until the handler is gone. At the end one line of
//! JSON goes to standard output: `p50_us`, `p99_us`, `worst_us` from giving up to the handler's
//! drop, and `left`: handlers and, of Staunch, ledger entries of requests and streams that remain.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http_body_util::{Empty, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use staunch_bench::{latency::Latencies, tasks};
use staunch_http::{HttpLimits, Server, handler};
use staunch_ledger::{Kind, Ledger};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use staunch_scope::{BoxError, Context, Scope, scope};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

#[derive(Parser)]
struct Args {
    subject: Subject,
    version: Version,
    /// Requests that are cancelled, of all tasks together.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Tasks that do so side by side.
    #[arg(long, default_value_t = 16)]
    tasks: u64,
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The proxy that hands requests to it; the clients speak with this one.
    #[arg(long)]
    through: Option<SocketAddr>,
    /// Milliseconds that a request is given before it is given up.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// With limits, watchdog, ledger and drain.
    Staunch,
    /// hyper with either version, as its introduction has it.
    Hyper,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    Http1,
    Http2,
}

/// What the handlers of one task's requests tell it.
#[derive(Default)]
struct Turn {
    begun: Notify,
    ended: Notify,
    ended_at: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Turns(Arc<[Turn]>);

static AT_WORK: AtomicU64 = AtomicU64::new(0);

/// A handler at work.
struct Working<'t>(&'t Turn);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
        *self.0.ended_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.ended.notify_one();
    }
}

impl Turns {
    /// A handler, which answers nothing: the path says whose turn it is.
    async fn handle<B>(self, request: Request<B>) -> Response<Full<Bytes>> {
        let number = request.uri().path().trim_start_matches('/').parse::<usize>();
        let turn = number.ok().and_then(|number| self.0.get(number));
        let Some(turn) = turn else { return Response::new(Full::from("no such turn\n")) };
        AT_WORK.fetch_add(1, Ordering::Relaxed);
        let _working = Working(turn);
        turn.begun.notify_one();
        pending().await
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let turns = Turns((0..args.tasks).map(|_| Turn::default()).collect());
    tasks::on_two_workers(async move {
        let ended = scope(&Context::background(), |s| async move {
            let to = match args.subject {
                Subject::Staunch => staunch(&s, args.listen, turns.clone())?,
                Subject::Hyper => hyper(&s, args.listen, turns.clone()).await?,
            };
            measure(&args, &s, args.through.unwrap_or(to), &turns).await?;
            s.stop();
            Ok::<_, BoxError>(())
        });
        Ok(ended.await?)
    })
}

fn staunch(scope: &Scope<BoxError>, at: SocketAddr, turns: Turns) -> Result<SocketAddr, BoxError> {
    let listener =
        Listener::bind(&Endpoint::Tcp(at), &SocketOptions::default(), Limits::default())?;
    let &Endpoint::Tcp(to) = listener.endpoint() else { return Err("not TCP".into()) };
    let server = Server::new(HttpLimits { requests: u32::MAX, ..HttpLimits::default() });
    let service = handler(move |request| turns.clone().handle(request));
    scope.spawn(async move {
        let _ = server.serve(listener, &Context::current(), service).await;
        Ok(())
    });
    Ok(to)
}

async fn hyper(
    scope: &Scope<BoxError>,
    at: SocketAddr,
    turns: Turns,
) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind(at).await?;
    let to = listener.local_addr()?;
    scope.spawn(async move {
        let (context, accept) = (Context::current(), async {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let turns = turns.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let turns = turns.clone();
                    async move { Ok::<_, Infallible>(turns.handle(request).await) }
                });
                peer(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        match context.run(accept).await {
            Ok(never) => never,
            Err(_) => Ok(()), // it was asked to stop
        }
    });
    Ok(to)
}

#[expect(clippy::disallowed_methods, reason = "the peer is what one writes without Staunch")]
fn peer(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

async fn measure(
    args: &Args,
    scope: &Scope<BoxError>,
    to: SocketAddr,
    turns: &Turns,
) -> Result<(), BoxError> {
    let (version, each) = (args.version, args.requests / args.tasks.max(1));
    let after = Duration::from_millis(args.after);
    let children: Vec<_> = (0..args.tasks)
        .map(|number| {
            let (turns, owner) = (turns.clone(), scope.clone());
            scope.fork(async move {
                let number = usize::try_from(number)?;
                let turn = turns.0.get(number).ok_or("no such turn")?;
                match version {
                    Version::Http1 => by_closing(to, number, (turn, after), each).await,
                    Version::Http2 => by_resetting(to, number, (turn, after), each, owner).await,
                }
            })
        })
        .collect();
    let mut all = Latencies::with_capacity(usize::try_from(args.requests)?);
    for child in children {
        all.append(child.join().await?);
    }
    let (count, sorted) = (all.count(), all.sorted());
    let left = AT_WORK.load(Ordering::Relaxed) + settled().await;
    println!(
        "{}",
        serde_json::json!({
            "requests": count,
            "p50_us": sorted.micros_at(0.5),
            "p99_us": sorted.micros_at(0.99),
            "worst_us": sorted.micros_at(1.0),
            "left": left,
        })
    );
    Ok(())
}

/// Requests on the ledger, once the connections have ended; it waits for a second at most.
async fn settled() -> u64 {
    let requests = || {
        let snapshot = Ledger::current().snapshot();
        snapshot.entries().iter().filter(|entry| entry.kind() == Kind::REQUEST).count() as u64
    };
    for _ in 0..100 {
        if requests() == 0 {
            return 0;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    requests()
}

impl Turn {
    /// Gives a request up by `leave`, once it is handled; how long the handler did not know.
    async fn give_up(&self, after: Duration, leave: impl FnOnce()) -> Duration {
        self.begun.notified().await;
        tokio::time::sleep(after).await;
        let begun = Instant::now();
        leave();
        self.ended.notified().await;
        let ended = self.ended_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        ended.map_or(Duration::MAX, |ended| ended.saturating_duration_since(begun))
    }
}

async fn by_closing(
    to: SocketAddr,
    number: usize,
    (turn, after): (&Turn, Duration),
    requests: u64,
) -> Result<Latencies, BoxError> {
    let mut latencies = Latencies::with_capacity(usize::try_from(requests)?);
    for _ in 0..requests {
        let mut client = TcpStream::connect(to).await?;
        let request = format!("GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.write_all(request.as_bytes()).await?;
        latencies.record(turn.give_up(after, || drop(client)).await);
    }
    Ok(latencies)
}

async fn by_resetting(
    to: SocketAddr,
    number: usize,
    (turn, after): (&Turn, Duration),
    requests: u64,
    scope: Scope<BoxError>,
) -> Result<Latencies, BoxError> {
    let mut latencies = Latencies::with_capacity(usize::try_from(requests)?);
    let mut client = staunch_harness::http2(to, &scope).await?;
    for _ in 0..requests {
        client.ready().await?;
        let request = Request::get(format!("http://localhost/{number}"));
        let mut answer = Box::pin(client.send_request(request.body(Empty::<Bytes>::new())?));
        tokio::select! {
            biased;
            latency = async {
                turn.begun.notified().await;
                turn.begun.notify_one();
            } => latency,
            answered = &mut answer => return Err(format!("answered: {answered:?}").into()),
        }
        latencies.record(turn.give_up(after, || drop(answer)).await);
    }
    Ok(latencies)
}
