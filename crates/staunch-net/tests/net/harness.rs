//! What the tests share: a server to talk to, waiting for conditions, a process of one's own.

use std::{
    fmt,
    future::{Future, poll_fn},
    io::Write,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, Once, PoisonError},
    task::Poll,
    time::Duration,
};

use staunch::{Context, Ledger};
use staunch_ledger::{Kind, Observation, State};
use staunch_net::{
    Connection, Cut, CutReason, Endpoint, Limits, Listener, ReadLineError, Served, SocketOptions,
    listeners,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Nothing that a test waits for takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Limits so short that a test can wait for them.
pub(crate) fn unlimited() -> Limits {
    Limits {
        connections: None,
        connections_per_ip: None,
        handshake: PATIENCE,
        first_byte: None,
        idle: None,
        read_stall: None,
        message: None,
        half_close: None,
        write_stall: None,
        min_send_rate: 0,
        lifetime: None,
        ..Limits::default()
    }
}

pub(crate) fn loopback() -> Endpoint {
    Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

pub(crate) fn bind(limits: Limits) -> Listener {
    Listener::bind(&loopback(), &SocketOptions::default(), limits).unwrap()
}

pub(crate) fn address(listener: &Listener) -> SocketAddr {
    match listener.endpoint() {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(path) => panic!("{} is no TCP address", path.display()),
    }
}

/// Serves `listener` while `client` runs, then drains it.
pub(crate) async fn serving<H, F, E>(
    listener: Listener,
    handler: H,
    client: impl AsyncFnOnce(),
) -> Served
where
    H: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let (context, cancel) = Context::current().with_cancel();
    let serve = listener.serve(&context, handler);
    let client = async {
        timeout(PATIENCE, client()).await.expect("the client should be done by now");
        cancel.cancel();
    };
    let (served, ()) = tokio::join!(serve, client);
    served
}

/// The article's echo server.
pub(crate) async fn echo(connection: Connection) -> Result<(), ReadLineError> {
    let mut lines = connection.lines();
    while let Some(line) = lines.next().await? {
        connection.write_all([b"Echo: ", line.trim_ascii(), b"\n"]).await?;
    }
    Ok(())
}

/// Writes `line` and reads the answer, without its end.
pub(crate) async fn ask<S>(stream: &mut S, line: &str) -> String
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    stream.write_all(line.as_bytes()).await.unwrap();
    stream.write_all(b"\n").await.unwrap();
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        answer.push(stream.read_u8().await.unwrap());
    }
    answer.pop();
    String::from_utf8(answer).unwrap()
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A client that is served as it should be, whatever others do.
pub(crate) async fn healthy(address: SocketAddr) {
    let mut stream = connect(address).await;
    for number in 0..10 {
        assert_eq!(ask(&mut stream, &number.to_string()).await, format!("Echo: {number}"));
    }
}

/// The bytes until the end of the stream; `None` if the connection was reset.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes).await {
        Ok(_) => Some(bytes),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            None
        }
    }
}

/// Waits until `condition` holds, by looking again and again.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The output of `future` if its first poll gives one; then it is dropped either way.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// How many entries of `kind` are live on the test's ledger.
pub(crate) fn live(kind: Kind) -> usize {
    Ledger::current().snapshot().entries().iter().filter(|entry| entry.kind() == kind).count()
}

/// How many connections on the test's ledger are in `state`.
pub(crate) fn connections_in(state: State) -> usize {
    let snapshot = Ledger::current().snapshot();
    let connections = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::CONNECTION);
    connections.filter(|entry| entry.state() == state).count()
}

/// The observations of `rule` on the test's ledger.
pub(crate) fn observed(rule: &str) -> Vec<Observation> {
    let mut observations = Ledger::current().observations();
    observations.retain(|observation| observation.rule == rule);
    observations
}

/// The errors that handlers ended with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<Result<(), ReadLineError>>>>);

impl Ends {
    /// `handler`, with its end kept here.
    pub(crate) fn keep<H, F>(&self, handler: H) -> impl Fn(Connection) -> Handled + use<H, F>
    where
        H: Fn(Connection) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), ReadLineError>> + Send + 'static,
    {
        let ends = self.clone();
        move |connection| {
            let (ends, handled) = (ends.clone(), handler(connection));
            Box::pin(async move {
                let end = handled.await;
                ends.0.lock().unwrap_or_else(PoisonError::into_inner).push(end);
                Ok(())
            })
        }
    }

    pub(crate) fn take(&self) -> Vec<Result<(), ReadLineError>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Why the watchdog cut the connections, one reason for each.
    pub(crate) fn take_cuts(&self) -> Vec<CutReason> {
        self.take().iter().filter_map(|end| cut(end.as_ref().err()?)).collect()
    }
}

pub(crate) type Handled =
    std::pin::Pin<Box<dyn Future<Output = Result<(), std::convert::Infallible>> + Send>>;

/// What listeners of this name have accepted, and refused by reason.
pub(crate) fn counted(name: &str) -> (u64, Vec<(&'static str, u64)>) {
    let mut all = listeners(Ledger::current());
    all.retain(|listener| listener.name == name);
    let [listener] = &all[..] else { panic!("one listener {name}, not {}", all.len()) };
    let refused = listener.refused.iter().map(|(why, count)| (why.name(), *count));
    (listener.accepted, refused.filter(|(_, count)| *count > 0).collect())
}

/// Why the watchdog cut the connection, if that is what the error says.
pub(crate) fn cut(error: &ReadLineError) -> Option<CutReason> {
    let ReadLineError::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref::<Cut>().map(Cut::reason)
}

/// Runs `test` in a process where it is alone: for what a process has only one of, such as its
/// table of open files. `name` is the test's own path.
pub(crate) fn in_own_process(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "STAUNCH_NET_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{name} alone: {said}{}", shown(&output.stderr));
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the test's thread logs, from debug on.
#[derive(Clone, Default)]
pub(crate) struct Logged {
    lines: Arc<Mutex<Vec<u8>>>,
}

/// Logs are kept as long as this lives.
pub(crate) struct Logging {
    logged: Logged,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logged {
    pub(crate) fn begin() -> Logging {
        // What a thread's own subscriber is told of depends on all there are: with none left on others for a
        // moment it is told of nothing.
        static ALWAYS: Once = Once::new();
        ALWAYS.call_once(|| {
            let all = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
            let _ = all.with_writer(std::io::sink).try_init();
        });
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Logging { logged, _guard: tracing::subscriber::set_default(subscriber) }
    }
}

impl Logging {
    pub(crate) fn text(&self) -> String {
        shown(&self.logged.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an operator sees.
    pub(crate) fn said(&self) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| !line.contains("DEBUG"));
        lines.map(str::to_owned).collect()
    }

    /// The warnings that have this reason.
    pub(crate) fn warnings(&self, reason: &str) -> Vec<String> {
        let reason = format!("reason=\"{reason}\"");
        let mut lines = self.said();
        lines.retain(|line| line.contains("WARN") && line.contains(&reason));
        lines
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How many files this process has open.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir(Path::new("/proc/self/fd")).unwrap().count()
}
