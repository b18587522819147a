//! Clients of a proxy while its configuration changes, and the server behind it.
//!
//! The server answers requests, sends events five times a second for as long as it is listened to,
//! and says everything again on what has become another protocol. Some clients make a connection
//! for each request, some keep theirs, some listen to events and some say something now and then.
//! A connection that was kept may be closed just as it is used again; who finds no answer there asks
//! once more on a new one, as browsers do (RFC 9112, 9.3.1). At the end one line of JSON goes to
//! standard output: `requests`, `again` (those that were asked once more), `failed`, `streams` and
//! `dropped`, which are streams that ended before it.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use staunch_bench::{fd_limit, through::Through};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    at: Through,
    /// Clients that make a connection for each request, and as many that keep theirs.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Clients that listen to events, and as many that speak another protocol.
    #[arg(long, default_value_t = 20)]
    streams: usize,
}

/// What has happened.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    again: AtomicU64,
    failed: AtomicU64,
    streams: AtomicU64,
    dropped: AtomicU64,
    is_over: AtomicBool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fd_limit::raise_for(8 * (args.clients + args.streams))?;
    let listener = TcpListener::bind(args.at.listen)?;
    let counts = Counts::default();
    thread::scope(|scope| {
        let (counts, to) = (&counts, args.at.through);
        scope.spawn(|| serve(&listener, counts));
        let mut begun = Vec::new();
        for _ in 0..args.clients {
            scope.spawn(move || counts.requests(|| once(to)));
            scope.spawn(move || counts.kept(to));
        }
        for number in 0..args.streams {
            for (path, upgrade) in [("/events", ""), ("/echo", UPGRADE)] {
                let stream = begin(to, path, upgrade);
                begun.push(stream.with_context(|| format!("stream {number} to {path}")));
            }
        }
        for stream in begun {
            match stream {
                Ok(stream) => drop(scope.spawn(move || counts.stream(stream))),
                Err(error) => {
                    eprintln!("{error:#}");
                    counts.dropped.fetch_add(1, Relaxed);
                }
            }
        }
        thread::sleep(Duration::from_secs(args.at.seconds));
        counts.is_over.store(true, Relaxed);
        let _ = TcpStream::connect(args.at.listen); // so that the server notices
    });
    let [requests, again, failed, streams, dropped] =
        [&counts.requests, &counts.again, &counts.failed, &counts.streams, &counts.dropped]
            .map(|count| count.load(Relaxed));
    println!(
        "{}",
        serde_json::json!({
            "requests": requests, "again": again, "failed": failed, "streams": streams,
            "dropped": dropped,
        })
    );
    Ok(())
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: echo\r\n";

impl Counts {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    fn requests(&self, mut ask: impl FnMut() -> anyhow::Result<()>) {
        while !self.is_over() {
            self.requests.fetch_add(1, Relaxed);
            if let Err(error) = ask()
                && !self.is_over()
            // or the server behind has ended
            {
                self.failed.fetch_add(1, Relaxed);
                eprintln!("{error:#}");
            }
        }
    }

    /// Requests on one connection for as long as it may be kept.
    fn kept(&self, to: SocketAddr) {
        let mut kept = None;
        self.requests(|| {
            if let Some(mut client) = kept.take() {
                match ask(&mut client) {
                    Ok(is_last) => {
                        kept = (!is_last).then_some(client);
                        return Ok(());
                    }
                    Err(error) if error.is::<Unanswered>() => self.again.fetch_add(1, Relaxed),
                    Err(error) => return Err(error),
                };
            }
            let mut client = BufReader::new(connect(to)?);
            kept = (!ask(&mut client)?).then_some(client);
            Ok(())
        });
    }

    /// Listens, and says something now and then, to see that it is still there.
    fn stream(&self, mut stream: TcpStream) {
        self.streams.fetch_add(1, Relaxed);
        let mut some = [0; 256];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        while !self.is_over() {
            let _ = stream.write_all(b"ping"); // on events nobody listens to it
            let read = stream.read(&mut some);
            if !matches!(read, Ok(1..)) && !self.is_over() {
                eprintln!("a stream has ended: {read:?}");
                self.dropped.fetch_add(1, Relaxed);
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let client = TcpStream::connect(to).context("cannot connect")?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

fn once(to: SocketAddr) -> anyhow::Result<()> {
    let mut client = BufReader::new(connect(to)?);
    let request = b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.get_mut().write_all(request)?;
    answer(&mut client).map(|_| ())
}

/// Not a byte came.
#[derive(Debug)]
struct Unanswered;

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection ended without an answer")
    }
}

impl std::error::Error for Unanswered {}

/// Asks; whether no other request may follow.
fn ask(client: &mut BufReader<TcpStream>) -> anyhow::Result<bool> {
    let sent = client.get_mut().write_all(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
    if sent.is_err() || !client.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
        bail!(Unanswered);
    }
    answer(client)
}

/// Reads an answer with the small body; whether no other may follow.
fn answer(client: &mut BufReader<TcpStream>) -> anyhow::Result<bool> {
    let (mut head, mut is_last) = (String::new(), false);
    loop {
        let mut line = String::new();
        let count = client.read_line(&mut line).with_context(|| format!("after {head:?}"))?;
        ensure!(count > 0, "no answer after {head:?}");
        head.push_str(&line);
        is_last |= line.to_ascii_lowercase().starts_with("connection: close");
        if line == "\r\n" {
            break;
        }
    }
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_exact(&mut [0; SMALL.len()]).context("no body")?;
    Ok(is_last)
}

/// A stream whose head has come.
fn begin(to: SocketAddr, path: &str, more: &str) -> anyhow::Result<TcpStream> {
    let mut client = connect(to)?;
    write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{more}\r\n")?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(client.read(&mut byte)? > 0, "no answer");
        head.push(byte[0]);
    }
    let status = head.get(9..12).unwrap_or_default();
    if !matches!(status, b"200" | b"101") {
        bail!("{}", String::from_utf8_lossy(&head));
    }
    Ok(client)
}

const SMALL: &[u8] = b"hello";

fn serve(listener: &TcpListener, counts: &Counts) {
    thread::scope(|scope| {
        for client in listener.incoming().map_while(Result::ok) {
            if counts.is_over() {
                break;
            }
            // Who leaves in the middle leaves: that is for the proxy to notice.
            scope.spawn(move || converse(client, counts).unwrap_or_default());
        }
    });
}

fn converse(client: TcpStream, counts: &Counts) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut client = BufReader::new(client);
    let mut path = None;
    while !counts.is_over() {
        let mut line = String::new();
        match client.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if line != "\r\n" {
            path.get_or_insert_with(|| line.split(' ').nth(1).unwrap_or_default().to_owned());
            continue;
        }
        match path.take().as_deref() {
            Some("/events") => return events(client.get_mut(), counts),
            Some("/echo") => return echo(client.get_mut(), counts),
            _ => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
                client.get_mut().write_all(&[&head[..], SMALL].concat())?;
            }
        }
    }
    Ok(())
}

fn events(client: &mut TcpStream, counts: &Counts) -> std::io::Result<()> {
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")?;
    while !counts.is_over() {
        client.write_all(b"data: tick\n\n")?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn echo(client: &mut TcpStream, counts: &Counts) -> std::io::Result<()> {
    client.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    )?;
    let mut some = [0; 256];
    while !counts.is_over() {
        match client.read(&mut some) {
            Ok(0) => return Ok(()),
            Ok(count) => client.write_all(&some[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
