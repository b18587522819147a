//! A console on a free port, and a client that shows every byte.

use std::{
    net::SocketAddr,
    process::Output,
    time::{Duration, Instant},
};

use staunch::{BoxError, Context, Kind, Ledger, scope};
use staunch_console::{Access, Console, ConsoleOptions, Readiness};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
};

/// No answer takes longer; a test that hangs fails with this instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` against a console that is open to this machine.
pub(crate) async fn with_console(test: impl AsyncFnOnce(SocketAddr)) {
    with(Access::Loopback, Readiness::default(), Console::limits(), test).await;
}

/// Runs `test` against a console, then drains it.
pub(crate) async fn with(
    access: Access,
    readiness: Readiness,
    limits: Limits,
    test: impl AsyncFnOnce(SocketAddr),
) {
    let any = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&any, &SocketOptions::default(), limits).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let console = Console::new(ConsoleOptions { access, readiness });
    let ended = scope(&Context::current(), |s| async move {
        let context = s.context().clone();
        s.spawn_named("console", async move {
            let served = listener.serve(&context, move |peer| console.clone().serve(peer)).await;
            assert!(served.cut.is_empty(), "{:?}", served.cut);
            Ok(())
        });
        test(address).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header lines, in lower case.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Asks for a page on a connection of its own.
pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n")).await
}

/// Sends the beginning of a request's head, ends it, and reads until the console closes.
pub(crate) async fn ask(address: SocketAddr, head: &str) -> Answer {
    send(address, format!("{head}Connection: close\r\n\r\n").as_bytes()).await
}

/// Sends bytes and reads until the console closes.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // What is unread when the console closes makes the end a reset.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    parse(&tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time"))
}

pub(crate) fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {}", answer.escape_ascii()));
    let head = str::from_utf8(&answer[..end]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer[end + 4..].to_vec();
    Answer { status, headers: head.to_lowercase(), body }
}

/// Runs a command as a child process; `None` when there is no such program.
pub(crate) async fn command(program: &'static str, arguments: Vec<String>) -> Option<Output> {
    let ran = scope(&Context::current(), |s| async move {
        let child = s.blocking(move |_| {
            let output = std::process::Command::new(program).args(arguments).output();
            match output {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                output => Ok::<_, BoxError>(Some(output?)),
            }
        });
        Ok(child.join().await?)
    });
    ran.await.unwrap()
}

/// Held by tests that take CPU profiles: a process can take one at a time, and tests run in
/// parallel.
pub(crate) static CPU_PROFILES: Mutex<()> = Mutex::const_new(());

/// CPU profiles that are being taken on the test's ledger.
pub(crate) fn profiling() -> usize {
    let snapshot = Ledger::current().snapshot();
    let profiles = snapshot
        .entries()
        .iter()
        .filter(|entry| entry.kind() == Kind::TASK && entry.label().to_string() == "CPU profile");
    profiles.count()
}

pub(crate) async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
