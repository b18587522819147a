//! Lines and HTTP over TLS.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::Arc,
    time::Instant,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use crate::{
    PATIENCE,
    abuse::{Healthy, LIMIT, assert_cut, beside},
    server::Server,
};

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A server with TLS, and the trust of its clients.
struct Secured {
    server: Server,
    trust: Arc<ClientConfig>,
}

impl Secured {
    /// `limits` are those of the listener `tls`.
    fn start(protocol: &str, limits: &str) -> Secured {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = [("cert.pem", &*cert.pem()), ("key.pem", &*signing_key.serialize_pem())];
        let listeners = format!(
            r#"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
[[listener]]
name = "tls"
protocol = "{protocol}"
listen = "127.0.0.1:0"
[listener.tls]
certificate = "cert.pem"
key = "key.pem"
[listener.limits]
{limits}
"#
        );
        let server = Server::start_with(&files, &listeners);
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Secured { server, trust: Arc::new(trust) }
    }

    fn address(&self) -> SocketAddr {
        self.server.tcp("tls")
    }

    fn client(&self) -> TlsStream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.trust), name).unwrap();
        StreamOwned::new(session, socket)
    }
}

/// Asks, and reads so many bytes of the answer.
fn ask(client: &mut TlsStream, question: &str, length: usize) -> String {
    client.write_all(question.as_bytes()).unwrap();
    let mut answer = vec![0; length];
    client.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// All that still comes; an error without the goodbye of TLS at the end of it.
fn rest(client: &mut TlsStream) -> io::Result<String> {
    let mut rest = String::new();
    client.read_to_string(&mut rest).map(|_| rest)
}

#[test]
fn lines_end_with_a_goodbye_when_it_drains() {
    let mut secured = Secured::start("echo", "");
    let mut client = secured.client();
    assert_eq!(ask(&mut client, "hi there \r\n", 15), "Echo: hi there\n");
    secured.server.signal(Signal::TERM);
    assert_eq!(rest(&mut client).expect("a goodbye"), "");
    drop(client);
    secured.server.ended().assert_clean();
}

#[test]
fn http_is_served_over_tls_and_ends_with_a_goodbye() {
    let mut secured = Secured::start("demo", "");
    let mut client = secured.client();
    let post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhi there";
    let answers = ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"];
    for expected in answers {
        assert_eq!(ask(&mut client, post, expected.len()), expected);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nhi there") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
    }
    secured.server.signal(Signal::TERM);
    assert_eq!(rest(&mut client).expect("a goodbye"), "");
    drop(client);
    secured.server.ended().assert_clean();
}

/// By ALPN: who can speak HTTP/2 does, and who cannot is served as well.
#[test]
fn curl_speaks_http2_over_tls() {
    let secured = Secured::start("demo", "");
    let port = secured.address().port();
    for (choice, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", choice, "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_version} %{http_code}", "--cacert"]);
        curl.arg(secured.server.process().path("cert.pem"));
        curl.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        let output = curl.arg(format!("https://localhost:{port}/hello")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{version} 200"), "{output:?}");
    }
    secured.server.terminate().assert_clean();
}

#[test]
fn who_never_shakes_hands_is_cut() {
    let secured = Secured::start("echo", &format!("handshake = \"{LIMIT:?}\""));
    let baseline = secured.server.baseline();
    beside(Healthy::Returns, secured.server.tcp("echo"), || {
        let since = Instant::now();
        let silent: Vec<TcpStream> =
            (0..100).map(|_| TcpStream::connect(secured.address()).unwrap()).collect();
        assert_eq!(
            ask(&mut secured.client(), "is anybody there?\n", 24),
            "Echo: is anybody there?\n"
        );
        for mut silent in silent {
            silent.set_read_timeout(Some(PATIENCE)).unwrap();
            let end = silent.read(&mut [0; 16]);
            let is_cut = match &end {
                Ok(count) => *count == 0,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            assert!(is_cut, "{end:?}");
        }
        assert!(since.elapsed() >= LIMIT, "after {:?}", since.elapsed());
        assert!(secured.server.observed("cut-handshake") > 0);
    });
    secured.server.settles_to(&baseline);
    secured.server.terminate().assert_clean();
}

#[test]
fn who_stops_within_a_line_is_cut_over_tls_too() {
    let secured = Secured::start("echo", &format!("read_stall = \"{LIMIT:?}\""));
    let since = Instant::now();
    let mut client = secured.client();
    client.write_all(b"half a li").unwrap();
    let error = rest(&mut client).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert_cut(&secured.server, "cut-read-stall", since);
    secured.server.terminate().assert_clean();
}
