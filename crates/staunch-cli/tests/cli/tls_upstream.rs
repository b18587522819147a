//! TLS between the gateway and the servers behind it.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::Command,
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use staunch_harness::NginxServer;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    PATIENCE, eventually,
    listeners::{TAKEN_UP, reload, written},
    policy::Authority,
    routes::curl,
    server::Server,
};

/// A certificate for `localhost` that signs itself, and its key.
pub(crate) fn localhost() -> [String; 2] {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    [cert.pem(), signing_key.serialize_pem()]
}

/// A service at `server` with this table, and a route for everything below `/name`.
fn service(name: &str, server: &str, more: &str, tls: &str) -> String {
    format!(
        "[[route]]\nname = '{name}'\nservice = '{name}'\npath = '/{name}/*'\nstrip_prefix = true\n\
         [[service]]\nname = '{name}'\nendpoints = ['{server}']\npool = {{ idle_time = '100ms' }}\n\
         outliers = {{ failures = 0 }}\n{more}\n[service.tls]\n{tls}\n"
    )
}

fn listener(name: &str, protocol: &str, more: &str) -> String {
    format!(
        "[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '127.0.0.1:0'\n{more}\n"
    )
}

#[test]
fn both_sides_prove_who_they_are() {
    let ([cert, key], authority) = (localhost(), Authority::new());
    let files = [("cert.pem", &*cert), ("key.pem", &*key), ("clients.pem", &*authority.1)];
    let tls =
        "[listener.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\nclient_ca = 'clients.pem'";
    let config = [listener("echo", "echo", ""), listener("demo", "demo", tls), {
        listener("lines", "echo", tls)
    }];
    let behind = Server::start_with(&files, &config.concat());
    let [demo, lines] = ["demo", "lines"].map(|name| behind.tcp(name).to_string());
    let by_name = format!("localhost:{}", behind.tcp("demo").port());

    let (other, ours) = (Authority::new(), authority.sign("gateway.internal"));
    let files = [("ca.pem", &*cert), ("other.pem", &*other.1), ("gateway.pem", &*ours)];
    let identity = "ca = 'ca.pem'\ncertificate = 'gateway.pem'\nkey = 'gateway.pem'\n";
    let named = format!("{identity}server_name = 'localhost'");
    let health = "health = { path = '/hello', every = '200ms' }";
    let others = named.replace("ca.pem", "other.pem");
    let unknown = "ca = 'ca.pem'\nserver_name = 'localhost'";
    let to_lines =
        format!("[[service]]\nname = 'lines'\nendpoints = ['{lines}']\n[service.tls]\n{named}\n");
    let config = [
        listener("echo", "echo", ""),
        listener("web", "http", ""),
        listener("tcp", "tcp", "service = 'lines'"),
        to_lines,
        service("named", &demo, health, &named),
        service("by-name", &by_name, "", identity),
        service("misnamed", &demo, "", identity),
        service("other", &demo, "", &others),
        service("unknown", &demo, "", unknown),
    ];
    let mut gateway = Server::start_with(&files, &config.concat());
    let web = gateway.tcp("web");
    let much = gateway.process().path("much");
    fs::write(&much, vec![b'y'; 300_000]).unwrap();
    let upload = format!("@{}", much.display());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for service in ["named", "by-name"] {
            let ask = |path: &str, more: &[&str]| {
                curl(web, &format!("/{service}{path}"), &[more, &[version]].concat())
            };
            assert_eq!(ask("/hello", &[]), ("Hello.\n".to_owned(), 200), "{version} {service}");
            let (told, status) = ask("/upload", &["--request", "PUT", "--data-binary", &upload]);
            assert!(status == 200 && told.contains("300000 bytes"), "{version} {service}: {told}");
            let (body, status) = ask("/download?bytes=2000000", &[]);
            assert_eq!((body.len(), status), (2_000_000, 200), "{version} {service}");
        }
        for service in ["misnamed", "other", "unknown"] {
            let (told, status) = curl(web, &format!("/{service}/hello"), &[version]);
            assert_eq!(status, 502, "{version} {service}: {told}");
        }
    }
    let (mut socket, _) = tungstenite::connect(format!("ws://{web}/named/ws")).unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);

    let mut client = TcpStream::connect(gateway.tcp("tcp")).unwrap();
    client.write_all(b"hello\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "Echo: hello\n");
    eventually("found well", || {
        let (_, metrics, _) = gateway.get("/metrics");
        let well = format!("staunch_upstream_up{{service=\"named\",server=\"{demo}\"}} 1\n");
        if metrics.contains(&well) { Ok(()) } else { Err(metrics) }
    });

    // What is in the files by then counts from a reload on.
    fs::write(gateway.process().path("other.pem"), &cert).unwrap();
    gateway.signal(Signal::HUP);
    eventually("believed", || match curl(web, "/other/hello", &[]) {
        (_, 200) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fs::write(gateway.process().path("other.pem"), "nothing").unwrap();
    gateway.signal(Signal::HUP);
    eventually("said", || {
        let log = gateway.process().stderr();
        let expected = "[service.tls] of \\\"other\\\": other.pem: no certificate in it";
        let has_said = log.contains(expected);
        if has_said { Ok(()) } else { Err(log) }
    });
    assert_eq!(curl(web, "/other/hello", &[]).1, 200, "nothing changes");
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// What is spoken is agreed upon; nginx speaks both.
#[test]
fn http2_is_spoken_over_tls() {
    let [cert, key] = localhost();
    let nginx = NginxServer::start("", Some((&cert, &key))).unwrap();
    let server = format!("127.0.0.1:{}", nginx.tls_port());
    let tls = "ca = 'ca.pem'\nserver_name = 'localhost'";
    let config = [
        listener("echo", "echo", ""),
        listener("web", "http", ""),
        service("one", &server, "", tls),
        service("two", &server, "protocol = 'http2'", tls),
    ];
    let gateway = Server::start_with(&[("ca.pem", &*cert)], &config.concat());
    let web = gateway.tcp("web");
    for path in ["/one/large", "/two/large"] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let (body, status) = curl(web, path, &[version]);
            assert_eq!((body.len(), status), (1 << 20, 200), "{path} {version}");
        }
    }
    gateway.terminate().assert_clean();
}

/// What cannot be used is said at the start, by name.
#[test]
fn a_service_with_files_that_are_missing_is_not_begun_with() {
    let config = [listener("web", "http", ""), service("one", "a:1", "", "ca = 'none.pem'")];
    let folder = crate::process::folder(&[("staunch.toml", &config.concat())]);
    let mut run = Command::new(env!("CARGO_BIN_EXE_staunch"));
    let run = run.args(["run", "--config", "staunch.toml"]).current_dir(folder.path());
    let output = run.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("[service.tls] of \"one\"") && told.contains("none.pem: no such file"));
}

/// A connection that was accepted is handed on, also when the gateway is asked to stop before the
/// server has proved who it is.
#[test]
fn who_has_connected_before_a_drain_reaches_a_server() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let behind = TcpListener::bind("127.0.0.1:0").unwrap();
    let config_text = format!(
        "{}[[service]]\nname = 'behind'\nendpoints = ['{}']\n\
         [service.tls]\nca = 'ca.pem'\nserver_name = 'localhost'\n",
        [listener("echo", "echo", ""), listener("tcp", "tcp", "service = 'behind'")].concat(),
        behind.local_addr().unwrap(),
    );
    let mut gateway = Server::start_with(&[("ca.pem", &*cert.pem())], &config_text);
    let mut client = TcpStream::connect(gateway.tcp("tcp")).unwrap();
    let (server, _) = behind.accept().unwrap();
    gateway.signal(Signal::TERM);
    eventually("it drains", || match gateway.get("/readyz") {
        (503, _, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let accepted = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let mut server = rustls::StreamOwned::new(accepted, server);
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *b"hello");
    server.write_all(b"welcome").unwrap();
    server.conn.send_close_notify();
    server.flush().unwrap();
    server.sock.shutdown(Shutdown::Write).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "welcome");
    gateway.ended().assert_clean();
}

/// The servers stay, and how they are asked changes.
#[test]
fn health_is_asked_as_the_newest_configuration_says() {
    let asked = TcpListener::bind("127.0.0.1:0").unwrap();
    asked.set_nonblocking(true).unwrap(); // or it would wait for ever for a check that does not come
    let address = asked.local_addr().unwrap();
    let first = || {
        let accept = || asked.accept().map_err(|error| error.to_string());
        let (mut client, _) = eventually("somebody asks", accept);
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; 6];
        let length = client.read(&mut bytes).unwrap_or(0);
        bytes[..length].to_vec()
    };
    let [cert, _] = localhost();
    let files = [("ca.pem", &*cert)];
    let text = format!(
        "{}[[route]]\nname = 'all'\nservice = 'behind'\n[[service]]\nname = 'behind'\nendpoints = ['{address}']\n\
         health = {{ path = '/', every = '100ms', timeout = '1s' }}\n",
        listener("web", "http", "")
    );
    let mut gateway = Server::start_with(&files, &text);
    assert_eq!(first(), b"GET / ");
    let becomes = |says: &dyn Fn(&[u8]) -> bool| {
        eventually("it is asked anew", || {
            let byte = first();
            if says(&byte) { Ok(()) } else { Err(String::from_utf8_lossy(&byte).into_owned()) }
        });
    };
    let plain = written(&gateway);
    reload(
        &mut gateway,
        &(plain.clone() + "tls = { ca = 'ca.pem', server_name = 'localhost' }\n"),
        TAKEN_UP,
    );
    becomes(&|byte| byte.first() == Some(&0x16)); // a handshake (RFC 8446, 5.1)
    reload(&mut gateway, &plain, TAKEN_UP);
    becomes(&|byte| byte == b"GET / ");
    gateway.terminate().assert_clean();
}
