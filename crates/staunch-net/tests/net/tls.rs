//! TLS: certificates from files, handshakes within their time, new certificates while running.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use staunch::{Context, testing::cancel_at_every_await};
use staunch_ledger::{Kind, Ledger, State};
use staunch_net::{
    ClientAuth, DialError, DialOptions, HandshakeError, Limits, LineReader, Listener, LoadTlsError,
    ReadLineError, Served, TlsConfig, TlsConnection, TlsTrust, dial_tcp, dial_tls,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::harness::{
    Logged, PATIENCE, address, ask, bind, connect, eventually, live, observed, read_to_end,
    unlimited,
};

/// A folder with a certificate for `localhost` and 127.0.0.1, and its key.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Files {
        let files = Files { folder: tempfile::tempdir().unwrap() };
        files.replace(&self_signed());
        files
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// As certificate managers do: written beside the old ones, and then renamed.
    fn replace(&self, certified: &CertifiedKey<KeyPair>) {
        place(&self.certificate(), &certified.cert.pem());
        place(&self.key(), &certified.signing_key.serialize_pem());
    }

    pub(crate) fn load(&self, alpn: &[&str]) -> Result<TlsConfig, LoadTlsError> {
        TlsConfig::load(self.certificate(), self.key(), alpn)
    }

    pub(crate) fn trust(&self, alpn: &[&str]) -> TlsTrust {
        TlsTrust::load(self.certificate(), alpn).unwrap()
    }
}

fn place(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn self_signed() -> CertifiedKey<KeyPair> {
    certified(|_| {})
}

pub(crate) fn certified(change: impl FnOnce(&mut CertificateParams)) -> CertifiedKey<KeyPair> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let signing_key = KeyPair::generate().unwrap();
    CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

pub(crate) async fn echo(connection: TlsConnection) -> Result<(), ReadLineError> {
    let (reader, mut writer) = tokio::io::split(connection);
    let mut lines = LineReader::new(reader, 16 << 10);
    while let Some(line) = lines.next().await? {
        writer.write_all(&[b"Echo: ", line.trim_ascii(), b"\n"].concat()).await?;
        writer.flush().await?;
    }
    writer.shutdown().await?;
    Ok(())
}

/// Serves `listener` over TLS while `client` runs, then drains it.
pub(crate) async fn serving<H, F>(
    listener: Listener,
    tls: &TlsConfig,
    handler: H,
    client: impl AsyncFnOnce(),
) -> Served
where
    H: Fn(TlsConnection) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), ReadLineError>> + Send + 'static,
{
    let (context, cancel) = Context::current().with_cancel();
    let serve = listener.serve_tls(&context, tls, handler);
    let client = async {
        timeout(PATIENCE, client()).await.expect("the client should be done by now");
        cancel.cancel();
    };
    tokio::join!(serve, client).0
}

pub(crate) async fn dial(
    address: SocketAddr,
    trust: &TlsTrust,
) -> Result<TlsConnection, DialError> {
    dial_tls(&Context::current(), address, "localhost", trust, &DialOptions::default()).await
}

#[staunch::test]
async fn lines_are_echoed_over_tls_and_the_protocol_is_agreed_on() {
    let files = Files::new();
    let listener = bind(unlimited());
    let address = address(&listener);
    let seen = Arc::new(Mutex::new(None));
    let sees = Arc::clone(&seen);
    let handler = move |connection: TlsConnection| {
        let alpn = connection.alpn().map(<[u8]>::to_vec);
        let name = connection.server_name().map(str::to_owned);
        assert!(connection.peer_ip().is_some_and(|ip| ip.is_loopback()));
        *sees.lock().unwrap() = Some((alpn, name));
        echo(connection)
    };
    let tls = files.load(&["h2", "http/1.1"]).unwrap();
    let served = serving(listener, &tls, handler, async || {
        let trust = files.trust(&["http/1.1", "h3"]);
        let mut connection = dial(address, &trust).await.unwrap();
        assert_eq!(ask(&mut connection, "hi there \r").await, "Echo: hi there");
        assert_eq!(connection.alpn(), Some(&b"http/1.1"[..]));
        connection.write_all([b"several ", b"", b"parts", b"\n"]).await.unwrap();
        let mut answer = [0; 20];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"Echo: several parts\n");
        connection.shutdown().await.unwrap();
        assert_eq!(connection.read(&mut answer).await.unwrap(), 0, "and so does the server");
    });
    assert_eq!(served.await.accepted, 1);
    let agreed = (Some(b"http/1.1".to_vec()), Some("localhost".to_owned()));
    assert_eq!(seen.lock().unwrap().take(), Some(agreed));
}

#[staunch::test]
async fn other_peoples_clients_are_served() {
    let files = Files::new();
    let listener = bind(unlimited());
    let port = address(&listener).port();
    let http = |mut connection: TlsConnection| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await?);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        connection.write_all([answer]).await?;
        connection.shutdown().await?;
        Ok(())
    };
    let said = |mut command: Command, input: &'static str| async move {
        let run = move || {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().ok()?;
            child.stdin.take()?.write_all(input.as_bytes()).ok()?;
            Some(String::from_utf8_lossy(&child.wait_with_output().ok()?.stdout).into_owned())
        };
        #[expect(clippy::disallowed_methods, reason = "a test may wait for a program")]
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let tls = files.load(&["http/1.1"]).unwrap();
    let served = serving(listener, &tls, http, async || {
        let mut curl = Command::new("curl");
        curl.args(["-sk", &format!("https://127.0.0.1:{port}/")]);
        if let Some(said) = said(curl, "").await {
            assert_eq!(said, "ok", "curl");
        }
        let mut openssl = Command::new("openssl");
        let to = format!("127.0.0.1:{port}");
        openssl.args(["s_client", "-quiet", "-alpn", "http/1.1", "-connect", &to]);
        if let Some(said) = said(openssl, "GET / HTTP/1.1\r\n\r\n").await {
            assert!(said.ends_with("\r\n\r\nok"), "openssl: {said}");
        }
    });
    assert!(served.await.cut.is_empty());
}

#[staunch::test]
async fn what_is_wrong_with_the_files_is_said_with_their_names() {
    let files = Files::new();
    let other = Files::new();
    let check = |config: Result<TlsConfig, LoadTlsError>, expected: &[&str]| {
        let error = config.unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part:?} in {error:?}");
        }
    };
    let (certificate, key) = (files.certificate(), files.key());
    let load = |certificate: &Path, key: &Path| TlsConfig::load(certificate, key, &[]);
    let missing = files.folder.path().join("missing.crt");
    check(load(&missing, &key), &["missing.crt: no such file"]);
    check(load(&certificate, &missing), &["missing.crt: no such file"]);
    check(load(files.folder.path(), &key), &["cannot be read"]);
    check(load(&key, &key), &["tls.key: no certificate in it", "BEGIN CERTIFICATE"]);
    check(load(&certificate, &certificate), &["tls.crt: no private key in it", "PRIVATE KEY"]);
    let wrong = load(&certificate, &other.key());
    check(wrong, &["tls.key: not the key of the first certificate in", "tls.crt"]);

    let damaged = files.folder.path().join("damaged.crt");
    place(&damaged, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    check(load(&damaged, &key), &["damaged.crt: damaged"]);
    place(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    check(load(&damaged, &key), &["damaged.crt: cannot be used"]);
    check(load(Path::new("/dev/zero"), &key), &["/dev/zero: cannot be read: it is a pipe or a"]);
    let large = files.folder.path().join("large.crt");
    std::fs::File::create(&large).unwrap().set_len(5 << 20).unwrap();
    check(load(&large, &key), &["large.crt: larger than"]);
    let clients = |path: &Path| files.load(&[]).unwrap().client_auth(path, ClientAuth::Required);
    check(clients(&missing), &["missing.crt: no such file"]);
    check(clients(&key), &["tls.key: no certificate in it"]);
    let error = TlsTrust::load(&missing, &[]).unwrap_err();
    assert!(matches!(error, LoadTlsError::Missing { .. }));
}

#[staunch::test]
async fn an_expired_certificate_is_used_with_a_warning() {
    let files = Files::new();
    files.replace(&certified(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }));
    let logged = Logged::begin();
    let tls = files.load(&[]).unwrap();
    let warning = "tls.crt: the certificate expired on 2021-01-01 00:00:00 UTC; clients refuse it";
    assert!(logged.text().contains(warning), "{}", logged.text());

    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, &tls, echo, async || {
        let error = dial(address, &files.trust(&[])).await.unwrap_err();
        assert!(error.to_string().to_lowercase().contains("expired"), "{error}");
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn who_does_not_finish_the_handshake_is_cut() {
    let files = Files::new();
    let short = Duration::from_millis(200);
    let listener = bind(Limits { handshake: short, ..unlimited() });
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let served = serving(listener, &tls, echo, async || {
        let mut healthy = dial(address, &files.trust(&[])).await.unwrap();
        let mut silent = connect(address).await;
        let mut dripping = connect(address).await;
        // The header of a record that is long in coming: progress does not help.
        let drip = async {
            for byte in [&[22, 3, 1, 2, 0][..], &[0; 200]].concat() {
                if dripping.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(short / 20).await;
            }
        };
        tokio::join!(drip, async { assert_eq!(read_to_end(&mut silent).await, None) });
        assert_eq!(observed("cut-handshake").len(), 2);
        assert_eq!(ask(&mut healthy, "still there").await, "Echo: still there");
    });
    assert_eq!(served.await.accepted, 3);
}

/// Reads to the end, and then does nothing.
async fn dawdle(mut connection: TlsConnection) -> Result<(), ReadLineError> {
    while connection.read(&mut [0; 64]).await? > 0 {}
    eventually("it is cut", || !observed("cut-half-close").is_empty()).await;
    Ok(())
}

/// By a `close_notify`, after which the socket is not read any more.
#[staunch::test]
async fn who_has_said_goodbye_is_not_kept() {
    let files = Files::new();
    let half_close = Some(Duration::from_millis(200));
    let listener = bind(Limits { half_close, ..unlimited() });
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let served = serving(listener, &tls, dawdle, async || {
        let mut closed = dial(address, &files.trust(&[])).await.unwrap();
        closed.write_all([b"hello"]).await.unwrap();
        closed.shutdown().await.unwrap();
        let _ = closed.read(&mut [0; 1]).await; // an end, however it comes
        assert_eq!(observed("cut-half-close").len(), 1);
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn after_the_handshake_the_other_limits_apply() {
    let files = Files::new();
    let first_byte = Some(Duration::from_millis(200));
    let listener = bind(Limits { first_byte, ..unlimited() });
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let served = serving(listener, &tls, echo, async || {
        let mut silent = dial(address, &files.trust(&[])).await.unwrap();
        let error = silent.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "no goodbye: {error}");
        assert_eq!(observed("cut-first-byte").len(), 1);
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn plain_http_to_a_tls_port_is_named_in_the_log() {
    let files = Files::new();
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let logged = Logged::begin();
    let served = serving(listener, &tls, echo, async || {
        let mut plain = connect(address).await;
        plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let _ = read_to_end(&mut plain).await;
    });
    assert_eq!(served.await.accepted, 1);
    assert!(logged.text().contains("plain HTTP to a TLS port"), "{}", logged.text());
}

#[staunch::test]
async fn tls_to_a_plain_port_is_named_in_the_error() {
    let files = Files::new();
    let listener = bind(unlimited());
    let address = address(&listener);
    let handler = |connection: staunch_net::Connection| async move {
        connection.write_all([b"220 welcome\r\n"]).await?;
        let _ = connection.lines().next().await;
        Ok::<_, std::io::Error>(())
    };
    let served = crate::harness::serving(listener, handler, async || {
        let error = dial(address, &files.trust(&[])).await.unwrap_err();
        let DialError::Handshake { source: HandshakeError::NotTls, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(error.to_string().starts_with(&address.to_string()));
    });
    assert_eq!(served.await.accepted, 1);
}

#[staunch::test]
async fn a_server_that_cannot_prove_its_name_is_refused() {
    let (files, other) = (Files::new(), Files::new());
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let served = serving(listener, &tls, echo, async || {
        let error = dial(address, &other.trust(&[])).await.unwrap_err();
        assert!(error.to_string().contains("TLS handshake failed"), "{error}");
        let options = DialOptions::default();
        let name = async |name: &str| {
            let trust = files.trust(&[]);
            dial_tls(&Context::current(), address, name, &trust, &options).await
        };
        let error = name("example.org").await.unwrap_err();
        assert!(error.to_string().contains("example.org"), "{error}");
        assert!(matches!(name("not a name").await, Err(DialError::ServerName { .. })));
        name("127.0.0.1").await.unwrap();
    });
    assert_eq!(served.await.accepted, 3);
}

/// The client's side of a handshake, by other people's code.
async fn handshake(
    plain: TcpStream,
    roots: &[&CertifiedKey<KeyPair>],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.cert.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client)).connect(name, plain).await
}

/// Waits until the server is in the middle of a handshake.
async fn a_handshake_is_under_way() {
    eventually("the handshake has begun", || {
        let snapshot = Ledger::current().snapshot();
        let mut connections =
            snapshot.entries().iter().filter(|entry| entry.kind() == Kind::CONNECTION);
        connections.any(|entry| entry.state() == State::Handshake)
    })
    .await;
}

/// The certificate that the server presents.
async fn presented(address: SocketAddr, roots: &[&CertifiedKey<KeyPair>]) -> Vec<u8> {
    let stream = handshake(connect(address).await, roots).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[staunch::test]
async fn new_certificates_are_taken_while_the_listener_runs() {
    let files = Files::new();
    let (first, second) = (self_signed(), self_signed());
    files.replace(&first);
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = files.load(&[]).unwrap().check_every(Duration::from_millis(20));
    let served = serving(listener, &tls, echo, async || {
        let presented = async || presented(address, &[&first, &second]).await;
        let mut old = dial(address, &files.trust(&[])).await.unwrap();
        assert_eq!(presented().await, first.cert.der().to_vec());

        // A key that does not fit, as between the writing of the one and the other.
        place(&files.certificate(), &second.cert.pem());
        eventually("it complains", || !observed("tls-reload").is_empty()).await;
        assert_eq!(presented().await, first.cert.der().to_vec());
        let complaint = &observed("tls-reload")[0];
        assert_eq!(complaint.kind, Kind::LISTENER);
        assert!(complaint.text.contains("the certificate in use stays"), "{}", complaint.text);
        assert!(complaint.text.contains("tls.key: not the key of"), "{}", complaint.text);

        place(&files.key(), &second.signing_key.serialize_pem());
        while presented().await != second.cert.der().to_vec() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&mut old, "still there").await, "Echo: still there");
        assert_eq!(observed("tls-reload").len(), 1, "said once, not once a look");

        std::fs::remove_file(files.key()).unwrap();
        eventually("it complains again", || observed("tls-reload").len() == 2).await;
        assert!(observed("tls-reload")[1].text.contains("no such file"));
        assert_eq!(presented().await, second.cert.der().to_vec());
    });
    assert!(served.await.cut.is_empty());
}

#[staunch::test]
async fn a_drain_ends_idle_connections_at_once_and_handshakes_soon() {
    let files = Files::new();
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let mut clients = None;
    let begun = std::time::Instant::now();
    let served = serving(listener, &tls, echo, async || {
        let mut idle = dial(address, &files.trust(&[])).await.unwrap();
        ask(&mut idle, "hello").await;
        let begun = connect(address).await;
        a_handshake_is_under_way().await;
        clients = Some((idle, begun));
    });
    let served = served.await;
    assert_eq!((served.accepted, served.cut.len()), (2, 0));
    assert!(begun.elapsed() < Limits::default().drain);
}

#[staunch::test]
async fn who_was_accepted_before_a_drain_may_end_the_handshake() {
    let (files, own) = (Files::new(), self_signed());
    files.replace(&own);
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let (context, cancel) = Context::current().with_cancel();
    let greet = async |mut connection: TlsConnection| connection.write_all([b"hello"]).await;
    let client = async {
        let plain = connect(address).await;
        a_handshake_is_under_way().await;
        cancel.cancel();
        let mut connection = handshake(plain, &[&own]).await?;
        let mut said = [0; 5];
        connection.read_exact(&mut said).await.map(|_| said)
    };
    let (served, said) = tokio::join!(listener.serve_tls(&context, &tls, greet), client);
    assert_eq!(said.unwrap(), *b"hello");
    assert_eq!((served.accepted, served.cut.len()), (1, 0));
}

#[staunch::test]
async fn dialling_and_serving_can_be_dropped_at_every_await() {
    let files = Files::new();
    let (tls, trust) = (files.load(&[]).unwrap(), files.trust(&[]));
    let awaits = cancel_at_every_await(|| async {
        let listener = bind(Limits { drain: Duration::from_millis(100), ..unlimited() });
        let address = address(&listener);
        let (context, cancel) = Context::current().with_cancel();
        let client = async {
            let mut connection = dial(address, &trust).await.unwrap();
            ask(&mut connection, "hello").await;
            cancel.cancel();
        };
        let (_served, ()) = tokio::join!(listener.serve_tls(&context, &tls, echo), client);
    });
    assert!(Box::pin(awaits).await >= 4);
}

#[staunch::test]
async fn a_tls_listener_speaks_to_dialled_plain_connections_only_if_they_do_tls() {
    let files = Files::new();
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let served = serving(listener, &tls, echo, async || {
        let plain = dial_tcp(&Context::current(), address, &DialOptions::default()).await.unwrap();
        plain.write_all([b"hello\n"]).await.unwrap();
        let mut lines = plain.lines();
        // An alert, which is no line, and the end.
        let _ = lines.next().await;
        drop(lines);
        eventually("the handler has ended", || live(Kind::CONNECTION) == 1).await;
    });
    assert_eq!(served.await.accepted, 1);
}
