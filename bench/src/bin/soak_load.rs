//! Requests and streams through a proxy, for a long time, and the server behind it.
//!
//! Some clients keep their connections and ask for little. The others begin streams, each on a
//! connection of its own, and in turns: events that the server ends, events that the client leaves,
//! and another protocol, in which something is said and heard. Both are spread over the time, if
//! there is enough of it. At the end one line of JSON goes to standard output: `requests`, `streams`
//! and `failed`, of both.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;
use staunch_bench::{fd_limit, tasks, through::Through};
use staunch_scope::{BoxError, Context, Scope, scope, sleep};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Errors that are shown.
const SHOWN: u64 = 20;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    at: Through,
    /// Requests, all in all.
    #[arg(long, default_value_t = 10_000_000)]
    requests: u64,
    /// Streams, all in all.
    #[arg(long, default_value_t = 1_000_000)]
    streams: u64,
    /// Clients that ask, and as many that begin streams.
    #[arg(long, default_value_t = 32)]
    clients: u64,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    streams: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn count(&self, of: &AtomicU64, done: Result<(), BoxError>) {
        of.fetch_add(1, Relaxed);
        if let Err(error) = done
            && self.failed.fetch_add(1, Relaxed) < SHOWN
        {
            eprintln!("{error:#}");
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fd_limit::raise_for(8 * args.clients as usize)?;
    let counts = Arc::new(Counts::default());
    let into = Arc::clone(&counts);
    tasks::on_two_workers(async move {
        let listener = TcpListener::bind(args.at.listen).await?;
        scope(&Context::background(), |s| async move {
            let server = s.clone();
            s.spawn(async move {
                serve(&server, listener).await;
                Ok(())
            });
            load(&s, &args, &into).await?;
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await?;
        Ok(())
    })?;
    let [requests, streams, failed] =
        [&counts.requests, &counts.streams, &counts.failed].map(|count| count.load(Relaxed));
    let said = serde_json::json!({ "requests": requests, "streams": streams, "failed": failed });
    println!("{said}");
    Ok(())
}

async fn load(s: &Scope<BoxError>, args: &Args, counts: &Arc<Counts>) -> Result<(), BoxError> {
    let whole = Duration::from_secs(args.at.seconds);
    let pace = |all: u64| {
        let each = whole.as_secs_f64() * args.clients as f64 / all.max(1) as f64;
        Pace { each: Duration::from_secs_f64(each), begun: Instant::now(), whole, turns: 0 }
    };
    let to = args.at.through;
    let mut clients = Vec::new();
    for number in 0..args.clients {
        let (counts_of, mut pace_of) = (Arc::clone(counts), pace(args.requests));
        clients.push(s.fork(async move {
            let mut kept = None;
            while pace_of.next().await.is_some() {
                counts_of.count(&counts_of.requests, in_time(ask(&mut kept, to)).await);
            }
            Ok(())
        }));
        let (counts_of, mut pace_of) = (Arc::clone(counts), pace(args.streams));
        clients.push(s.fork(async move {
            while let Some(turn) = pace_of.next().await {
                counts_of.count(&counts_of.streams, in_time(stream(number + turn, to)).await);
            }
            Ok(())
        }));
    }
    for client in clients {
        client.join().await?;
    }
    Ok(())
}

/// Once in `each`, or as often as there is time for.
struct Pace {
    each: Duration,
    begun: Instant,
    whole: Duration,
    turns: u32,
}

impl Pace {
    /// Waits for the next turn; `None` when the time is over.
    async fn next(&mut self) -> Option<u64> {
        let ahead = (self.each * self.turns).saturating_sub(self.begun.elapsed());
        // A timer is no finer than this; what is due by then follows at once.
        if ahead > Duration::from_millis(1) {
            sleep(ahead).await.ok()?;
        }
        self.turns += 1;
        (self.begun.elapsed() < self.whole).then_some(u64::from(self.turns))
    }
}

async fn in_time(work: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    timeout(PATIENCE, work).await.context("it took too long")?
}

/// Asks on the connection that is kept, or on a new one.
async fn ask(kept: &mut Option<BufReader<TcpStream>>, to: SocketAddr) -> Result<(), BoxError> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => BufReader::new(TcpStream::connect(to).await?),
    };
    client.write_all(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let is_last = head(&mut client, "200").await?;
    client.read_exact(&mut [0; SMALL.len()]).await?;
    if !is_last {
        *kept = Some(client);
    }
    Ok(())
}

/// One stream, of the kind whose turn it is.
async fn stream(turn: u64, to: SocketAddr) -> Result<(), BoxError> {
    let mut client = BufReader::new(TcpStream::connect(to).await?);
    let (path, more, status) = match turn % 3 {
        0 => ("/events/few", "Connection: close\r\n", "200"),
        1 => ("/events", "", "200"),
        _ => ("/echo", "Connection: upgrade\r\nUpgrade: echo\r\n", "101"),
    };
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n").as_bytes()).await?;
    head(&mut client, status).await?;
    match turn % 3 {
        0 => {
            let mut all = String::new();
            client.read_to_string(&mut all).await?;
            if all.matches("data: tick").count() != FEW || !all.ends_with("0\r\n\r\n") {
                return Err(format!("not all events came: {all:?}").into());
            }
        }
        1 => drop(client.read_exact(&mut [0; EVENT.len()]).await?),
        _ => {
            client.write_all(b"ping").await?;
            let mut heard = [0; 4];
            client.read_exact(&mut heard).await?;
            if &heard != b"ping" {
                return Err(format!("{heard:?} came back").into());
            }
        }
    }
    Ok(())
}

/// Reads the head of an answer; whether no other may follow.
async fn head(client: &mut BufReader<TcpStream>, status: &str) -> Result<bool, BoxError> {
    let (mut line, mut is_last, mut is_first) = (String::new(), false, true);
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Err("no answer".into());
        }
        if std::mem::replace(&mut is_first, false) && line.get(9..12) != Some(status) {
            return Err(line.into());
        }
        is_last |= line.eq_ignore_ascii_case("connection: close\r\n");
        if line == "\r\n" {
            return Ok(is_last);
        }
    }
}

const SMALL: &[u8] = b"hello";
const FEW: usize = 3;
const EVENT: &[u8] = b"c\r\ndata: tick\n\n\r\n";

async fn serve(s: &Scope<BoxError>, listener: TcpListener) {
    let stopped = Context::current();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.cancelled() => return,
        };
        let Ok((client, _)) = accepted else { continue };
        s.spawn(async move {
            // Who leaves in the middle leaves: that is for the proxy to notice.
            let _ = converse(BufReader::new(client)).await;
            Ok(())
        });
    }
}

async fn converse(mut client: BufReader<TcpStream>) -> Result<(), BoxError> {
    let stopped = Context::current();
    let mut line = String::new();
    loop {
        let mut path = None;
        loop {
            line.clear();
            let read = tokio::select! {
                read = client.read_line(&mut line) => read?,
                _ = stopped.cancelled() => 0,
            };
            if read == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            path.get_or_insert_with(|| line.split(' ').nth(1).unwrap_or_default().to_owned());
        }
        match path.as_deref() {
            Some("/events/few") => {
                client.write_all(EVENTS).await?;
                for _ in 0..FEW {
                    client.write_all(EVENT).await?;
                }
                client.write_all(b"0\r\n\r\n").await?;
            }
            Some("/events") => {
                client.write_all(EVENTS).await?;
                loop {
                    client.write_all(EVENT).await?;
                    sleep(Duration::from_millis(20)).await?;
                }
            }
            Some("/echo") => return echo(&mut client).await,
            _ => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
                client.write_all(&[&head[..], SMALL].concat()).await?;
            }
        }
    }
}

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn echo(client: &mut BufReader<TcpStream>) -> Result<(), BoxError> {
    let agreed =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(agreed).await?;
    let stopped = Context::current();
    let mut some = [0; 256];
    loop {
        let read = tokio::select! {
            read = client.read(&mut some) => read?,
            _ = stopped.cancelled() => 0,
        };
        if read == 0 {
            return Ok(());
        }
        client.write_all(&some[..read]).await?;
    }
}
