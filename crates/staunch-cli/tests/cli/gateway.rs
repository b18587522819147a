//! The gateway in front of real servers: a `staunch run` with the demo services, nginx, Redis, and
//! servers that misbehave.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    PATIENCE,
    client::Client,
    eventually,
    process::{Process, folder},
    routes::curl,
    server::{Server, get, request},
};

pub(crate) const BEHIND: &str = r#"
[[listener]]
name = "demo"
protocol = "demo"
listen = "127.0.0.1:0"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
[[listener]]
name = "udp-echo"
protocol = "udp-echo"
listen = "127.0.0.1:0"
limits.peer_idle = "500ms"
"#;

/// A gateway on two cores, whose listener `web` has these routes and services. What it holds is
/// looked at by way of `echo`.
pub(crate) fn gateway(rest: &str) -> Server {
    let listener = |name, protocol| {
        format!("[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '127.0.0.1:0'\n")
    };
    let (web, echo) = (listener("web", "http"), listener("echo", "echo"));
    Server::start(&format!("[runtime]\nworkers = 2\n{web}{echo}{rest}"))
}

/// Connections to servers are soon given up when nobody needs them.
pub(crate) const SOON: &str = "pool = { idle_time = '100ms' }";

/// A service with this server, and what else its table has; with a route for everything.
pub(crate) fn service(server: SocketAddr, more: &str) -> String {
    format!(
        "[[route]]\nname = \"all\"\nservice = \"behind\"\nbody = \"4GiB\"\n\
         [[service]]\nname = \"behind\"\nendpoints = [\"{server}\"]\n{SOON}\n{more}\n"
    )
}

/// A server that gives its answers one after the other, each to a new connection, and remembers
/// what it was asked.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Scripted {
    pub(crate) fn start(answers: Vec<&'static [u8]>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer =
            move || answers.into_iter().map(|answer| Scripted::answer(&listener, answer)).collect();
        let thread = std::thread::Builder::new().spawn(answer).unwrap();
        Scripted { address, thread }
    }

    fn answer(listener: &TcpListener, answer: &[u8]) -> String {
        let (mut client, _) = listener.accept().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = head(&mut client);
        client.write_all(answer).unwrap();
        asked
    }

    pub(crate) fn asked(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

/// What comes until the end of a head, or of all.
pub(crate) fn head(client: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() > 0 {
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn everything_comes_through_as_it_was() {
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let baseline = (before.baseline(), behind.baseline());
    let web = before.tcp("web");
    let check = |path: &str, arguments: &[&str], status: u16, text: &str| {
        for version in ["--http1.1", "--http2-prior-knowledge", "--http1.0"] {
            let (body, got) = curl(web, path, &[arguments, &[version]].concat());
            assert_eq!(got, status, "{version} {path}: {body}");
            assert!(body.contains(text), "{version} {path}: {body}");
        }
    };
    check("/hello", &[], 200, "Hello.\n");
    check("/hello?a=b", &["--head"], 200, "");
    check("/echo", &["--data", "again"], 200, "again");
    check("/echo", &[], 405, "Allowed: POST, OPTIONS.");
    check("/upload", &["--request", "PUT", "--data", "once"], 200, "4 bytes");
    check("/slow?ms=20", &[], 200, "That took 20 ms.");
    check("/download?bytes=5", &[], 200, "\0\0\0\0\0");
    check("/none", &[], 404, "Nothing here.");
    check("/a/../hello", &["--path-as-is"], 400, "`.` or `..`");
    let chunked = ["--header", "Transfer-Encoding: chunked", "--data", "in chunks", "--http1.1"];
    assert_eq!(curl(web, "/upload", &chunked), ("9 bytes\n".to_owned(), 200));
    let expect = ["--header", "Expect: 100-continue", "--data", "wait", "--http1.1"];
    assert_eq!(curl(web, "/upload", &expect), ("4 bytes\n".to_owned(), 200));
    let events = ["--no-buffer", "--max-time", "2.9"];
    check("/sse", &events, 200, "id: 1\ndata: tick 1\n\nid: 2\ndata: tick 2\n\n");
    before.settles_to(&baseline.0);
    before.terminate().assert_clean();
    behind.settles_to(&baseline.1);
    behind.terminate().assert_clean();
}

#[test]
fn what_takes_time_is_not_kept() {
    const BYTES: u64 = 1 << 30;
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let (web, baseline) = (before.tcp("web"), before.baseline());
    curl(web, "/download?bytes=1000000", &["--output", "/dev/null"]);
    let memory = before.process().peak_memory();
    let size = ["--output", "/dev/null", "--write-out", "%{size_download}\n%{http_code}"];
    let downloaded = curl(web, &format!("/download?bytes={BYTES}"), &size);
    assert_eq!(downloaded, (BYTES.to_string(), 200));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zeros"); // sparse
    std::fs::File::create(&file).unwrap().set_len(BYTES).unwrap();
    let uploaded = curl(web, "/upload", &["--upload-file", file.to_str().unwrap()]);
    assert_eq!(uploaded, (format!("{BYTES} bytes\n"), 200));
    let grown = before.process().peak_memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes more");
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn a_server_is_told_who_asks_and_nothing_that_was_meant_for_the_gateway() {
    let server = Scripted::start(vec![
        b"HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\n\
        Keep-Alive: timeout=5\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok",
    ]);
    let before = gateway(&service(server.address, ""));
    let said = [
        "--include",
        "--header",
        "Connection: X-Secret",
        "--header",
        "X-Secret: 1",
        "--header",
        "X-Forwarded-For: 6.6.6.6",
        "--header",
        "Host: shop.example",
        "--header",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    let (answer, status) = curl(before.tcp("web"), "/a%2fb/%61?q=%20", &said);
    let answer = answer.to_lowercase();
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("x-kept: 2") && answer.ends_with("ok"), "{answer}");
    assert!(!answer.contains("x-own") && !answer.contains("keep-alive"), "{answer}");
    let asked = server.asked().concat().to_lowercase();
    assert!(asked.starts_with("get /a%2fb/a?q=%20 http/1.1\r\n"), "{asked}");
    for told in [
        "host: shop.example\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: shop.example\r\n",
        "via: 1.1 staunch\r\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
    ] {
        assert!(asked.contains(told), "{told}: {asked}");
    }
    assert!(!asked.contains("secret") && !asked.contains("6.6.6.6"), "{asked}");
    before.terminate().assert_clean();
}

#[test]
fn a_websocket_comes_through_and_ends_on_both_sides() {
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let baseline = (before.baseline(), behind.baseline());
    let connect = || {
        let stream = TcpStream::connect(before.tcp("web")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        tungstenite::client("ws://localhost/ws", stream).unwrap().0
    };
    let mut socket = connect();
    for message in [Message::text("one"), Message::binary(vec![7; 64 << 10])] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop((socket, connect())); // this one leaves without a word
    before.settles_to(&baseline.0);
    behind.settles_to(&baseline.1);
    let (refused, status) = curl(
        before.tcp("web"),
        "/hello",
        &["--http1.1", "--header", "Connection: Upgrade", "--header", "Upgrade: websocket"],
    );
    assert_eq!((refused.as_str(), status), ("Hello.\n", 200), "who does not agree, answers");
    before.settles_to(&baseline.0);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn connections_and_datagrams_are_handed_on() {
    let behind = Server::start(BEHIND);
    let (echo, udp) = (behind.tcp("echo"), behind.tcp("udp-echo"));
    let before = Server::start(&format!(
        "[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\nservice = \"echo\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"udp\"\nprotocol = \"udp\"\nservice = \"udp\"\nlisten = \"127.0.0.1:0\"\n\
         limits.peer_idle = \"500ms\"\n\
         [[listener]]\nname = \"echo\"\nprotocol = \"echo\"\nlisten = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"echo\"\nendpoints = [\"{echo}\"]\n\
         [[service]]\nname = \"udp\"\nendpoints = [\"{udp}\"]\n"
    ));
    let baseline = (before.baseline(), behind.baseline());
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(before.tcp("tcp"))).collect();
    for round in 0..3 {
        for client in &mut clients {
            client.echo(&format!("{}hello {round}", "x".repeat(round * 3000)));
        }
    }
    drop(clients);
    let datagram = |client: &UdpSocket, text: &str| {
        client.send(text.as_bytes()).unwrap();
        let mut answer = [0; 100];
        let length = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], format!("Echo: {text}\n").as_bytes());
    };
    for _ in 0..3 {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(before.tcp("udp")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        datagram(&client, "one");
        datagram(&client, "two");
    }
    before.settles_to(&baseline.0);
    before.terminate().assert_clean();
    behind.settles_to(&baseline.1);
    behind.terminate().assert_clean();
}

/// The server hears of it in no time, and nothing of the request is left.
#[test]
fn who_leaves_takes_the_request_along() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = gateway(&service(listener.local_addr().unwrap(), ""));
    let baseline = before.baseline();
    let mut took = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(before.tcp("web")).unwrap();
        client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(head(&mut server).starts_with("GET /slow "));
        let left = Instant::now();
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap_or(0), 0, "closed or reset");
        took.push(left.elapsed());
    }
    took.sort();
    assert!(took[10] < Duration::from_millis(500), "{took:?}");
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn a_server_that_is_down_or_slow_or_talks_nonsense_has_its_status() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let before = gateway(&service(nobody, ""));
    let (text, status) = curl(before.tcp("web"), "/", &[]);
    assert_eq!(status, 502, "{text}");
    assert!(!text.contains(&nobody.port().to_string()), "addresses are nobody else's: {text}");
    before.terminate().assert_clean();

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeouts = "[service.timeouts]\nfirst_byte = \"200ms\"";
    let before = gateway(&service(silent.local_addr().unwrap(), timeouts));
    let baseline = before.baseline();
    assert_eq!(curl(before.tcp("web"), "/", &[]).1, 504);
    before.settles_to(&baseline);
    before.terminate().assert_clean();

    let nonsense = Scripted::start(vec![b"220 ready\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]);
    let before = gateway(&service(nonsense.address, ""));
    assert_eq!(curl(before.tcp("web"), "/", &["--data", "x"]).1, 502, "nonsense");
    assert_eq!(curl(before.tcp("web"), "/", &["--data", "x"]).1, 502, "it breaks off");
    nonsense.asked();
    before.terminate().assert_clean();

    let short = Scripted::start(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]);
    let before = gateway(&service(short.address, ""));
    let web = format!("http://{}/", before.tcp("web"));
    let half = Command::new("curl").args(["--silent", &web]).output().unwrap();
    assert_eq!(
        half.status.code(),
        Some(18),
        "a body that breaks off does not look whole: {half:?}"
    );
    short.asked();
    assert_eq!(curl(before.tcp("web"), "/", &[]).1, 502, "now nobody is there");
    before.terminate().assert_clean();
}

/// The time of a try begins when the body is sent, which takes as long as it takes.
#[test]
fn an_upload_is_not_late_because_it_took_long() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeouts = "timeouts = { first_byte = '1s' }";
    let before = gateway(&service(listener.local_addr().unwrap(), timeouts));
    let mut client = TcpStream::connect(before.tcp("web")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    head(&mut server);
    let (began, mut body) = (Instant::now(), [0; 2]);
    server.read_exact(&mut body[..1]).unwrap();
    while began.elapsed() < Duration::from_millis(950) {
        std::thread::yield_now(); // the body takes nearly as long as a try may
    }
    client.write_all(b"2").unwrap();
    server.read_exact(&mut body[1..]).unwrap();
    while began.elapsed() < Duration::from_millis(1300) {
        std::thread::yield_now();
    }
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop((client, server));
    before.terminate().assert_clean();
}

#[test]
fn a_body_over_a_limit_of_its_route_has_its_status() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let routed = service(silent.local_addr().unwrap(), "");
    let before = gateway(&routed.replace("\"4GiB\"", "\"4B\"\nbody_time = \"300ms\""));
    let baseline = before.baseline();
    let web = before.tcp("web");
    let chunked = ["--http1.1", "--header", "Transfer-Encoding: chunked", "--data", "12345"];
    assert_eq!(curl(web, "/", &chunked).1, 413, "nothing was announced");
    assert_eq!(curl(web, "/", &["--data", "12345"]).1, 413);
    let mut client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1").unwrap();
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    drop(client);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn nobody_speaks_http2_with_a_server_past_the_gateway() {
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let server = Scripted::start(vec![ok; 4]);
    let before = gateway(&service(server.address, "").replace(SOON, "pool = { idle = 0 }"));
    for upgrade in ["Upgrade: h2c, x", "Upgrade: x, H2C", "Upgrade: HTTP/2.0", "Upgrade: TLS/1.0"] {
        let said =
            ["--http1.1", "--header", "Connection: Upgrade, HTTP2-Settings", "--header", upgrade];
        let settings = ["--header", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"];
        assert_eq!(curl(before.tcp("web"), "/", &[&said[..], &settings].concat()).1, 200);
    }
    let asked = server.asked().concat().to_lowercase();
    assert!(!asked.contains("upgrade") && !asked.contains("settings"), "{asked}");
    before.terminate().assert_clean();
}

#[test]
fn requests_go_to_another_server_when_one_is_down() {
    let behind = Server::start(BEHIND);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (demo, servers) = (behind.tcp("demo"), "balance = \"round-robin\"");
    let before = gateway(&format!(
        "[[route]]\nname = \"all\"\nservice = \"two\"\n\
         [[service]]\nname = \"two\"\nendpoints = [\"{nobody}\", \"{demo}\"]\n{servers}\n"
    ));
    for _ in 0..30 {
        let (text, status) = curl(before.tcp("web"), "/echo", &["--data", "whole"]);
        assert_eq!((text.as_str(), status), ("whole", 200));
    }
    assert!(before.process().stderr().contains("left out"), "it is not asked for a while");
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn what_is_begun_is_finished_and_what_takes_too_long_is_cut() {
    let behind = Server::start(BEHIND);
    let mut before = gateway(&service(behind.tcp("demo"), ""));
    let ask = |path: &str| {
        let mut client = TcpStream::connect(before.tcp("web")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client
    };
    let mut begun = ask("/slow?ms=1500");
    eventually("it has begun", || {
        let ledger = behind.admin_json("/debug/ledger?kind=request").body;
        let begun =
            ledger["entries"].as_array().unwrap().iter().any(|it| it["label"] == "GET /slow");
        if begun { Ok(()) } else { Err(ledger.to_string()) }
    });
    before.signal(Signal::TERM);
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("That took 1500 ms.\n"), "{answer}");
    before.ended().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
    let behind = Server::start(BEHIND);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut before = gateway(&service(nobody, ""));
    let baseline = before.baseline();
    let web = before.tcp("web");
    assert_eq!(curl(web, "/hello", &[]).1, 502);
    let file = before.process().path("staunch.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let good = text.replace(&nobody.to_string(), &behind.tcp("demo").to_string());
    let mut stream = {
        std::fs::write(&file, &good).unwrap();
        before.signal(Signal::HUP);
        eventually("it is taken up", || match curl(web, "/hello", &[]).1 {
            200 => Ok(()),
            other => Err(other.to_string()),
        });
        let stream = TcpStream::connect(web).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        tungstenite::client("ws://localhost/ws", stream).unwrap().0
    };
    for (broken, says) in [
        (good.replace("endpoints", "endpionts"), "unknown key `endpionts`"),
        (
            good.replace("workers = 2", "workers = 1"),
            "cannot change in a process that serves: [runtime]; nothing changes; `staunch upgrade ",
        ),
        (
            good.replace("name = 'echo'", "name = 'other'"),
            "[[listener]] `echo`, which is not of protocol http or tcp, [[listener]] `other`",
        ),
    ] {
        std::fs::write(&file, broken).unwrap();
        before.signal(Signal::HUP);
        eventually("it says why", || {
            let log = before.process().stderr();
            if log.contains(says) { Ok(()) } else { Err(log) }
        });
        assert_eq!(curl(web, "/hello", &[]).1, 200, "nothing changes");
    }
    for _ in 0..50 {
        std::fs::write(&file, &good).unwrap();
        before.signal(Signal::HUP);
        assert_eq!(curl(web, "/hello", &[]).1, 200);
        stream.send(Message::text("still")).unwrap();
        assert_eq!(stream.read().unwrap(), Message::text("still"));
    }
    drop(stream);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn a_configuration_says_what_is_wrong_with_it() {
    let wrong = r#"
[[listener]]
name = "web"
protocol = "http"
listen = "127.0.0.1:0"
[[route]]
name = "a"
path = "/x/{id}"
service = "behnid"
[[route]]
name = "b"
path = "/x/{other}"
service = "behind"
[[service]]
name = "behind"
endpoints = ["127.0.0.1"]
"#;
    let folder = folder(&[("staunch.toml", wrong)]);
    let ended = Process::start(folder, &["check", "--config", "staunch.toml"]).ended();
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("`127.0.0.1` is no server"), "{}", ended.stderr);
    let fixed = wrong.replace("\"127.0.0.1\"", "\"127.0.0.1:1\"");
    let ended = Process::start(
        self::folder(&[("staunch.toml", &fixed)]),
        &["check", "--config", "staunch.toml"],
    );
    let said = ended.ended().stderr;
    for part in [
        "9:11: route \"a\" goes to service \"behnid\", which there is not: did you mean `behind`?",
        "route \"b\" and route \"a\" (line 7) are for the same requests",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn redis_is_reached_through_a_tcp_listener() {
    let redis = staunch_harness::RedisServer::start().unwrap();
    let before = Server::start(&format!(
        "[[listener]]\nname = \"redis\"\nprotocol = \"tcp\"\nservice = \"redis\"\nlisten = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"echo\"\nprotocol = \"echo\"\nlisten = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"redis\"\nendpoints = [\"{}\"]\n",
        format_args!("127.0.0.1:{}", redis.port()),
    ));
    let baseline = before.baseline();
    let port = before.tcp("redis").port().to_string();
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args([
        "-p",
        &port,
        "-n",
        "20000",
        "-c",
        "50",
        "-P",
        "8",
        "-q",
        "-t",
        "set,get,lrange_100",
    ]);
    let output = benchmark.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("GET: "), "{said} {output:?}");
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn nginx_is_reached_again_and_again_by_few_connections() {
    let nginx = staunch_harness::NginxServer::start("", None).unwrap();
    let before = gateway(&service(([127, 0, 0, 1], nginx.port()).into(), ""));
    let baseline = before.baseline();
    let web = before.tcp("web");
    let mut load = Command::new("wrk");
    load.args(["-t", "1", "-c", "16", "-d", "1s", "--latency"]).arg(format!("http://{web}/large"));
    let said = String::from_utf8_lossy(&load.output().unwrap().stdout).into_owned();
    assert!(said.contains("Requests/sec") && !said.contains("Non-2xx"), "{said}");
    let (status, body, _) = get(web, "/");
    assert_eq!((status, body.as_str()), (200, "hello"));
    let (_, metrics, _) = before.get("/metrics");
    let server = format!("service=\"behind\",server=\"127.0.0.1:{}\"", nginx.port());
    for line in [
        "staunch_requests_total{route=\"all\",status=\"5xx\"} 0\n".to_owned(),
        "staunch_request_seconds_bucket{le=\"+Inf\",route=\"all\"} ".to_owned(),
        format!("staunch_upstream_failures_total{{{server},reason=\"unreachable\"}} 0\n"),
        format!("staunch_upstream_failures_total{{{server},reason=\"closed\"}} 0\n"),
        format!("staunch_upstream_failures_total{{{server},reason=\"malformed\"}} 0\n"),
        format!("staunch_upstream_failures_total{{{server},reason=\"timeout\"}} 0\n"),
        format!("staunch_upstream_up{{{server}}} 1\n"),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// Those that a route refuses are its own; those that none has are counted, too.
#[test]
fn what_goes_nowhere_is_counted() {
    let behind = Server::start(BEHIND);
    let rest = format!(
        "[[route]]\nname = 'small'\nservice = 'behind'\npath = '/small/*'\nbody = '1KiB'\nmethods = ['POST']\n\
         [[service]]\nname = 'behind'\nendpoints = ['{}']\n{SOON}\n",
        behind.tcp("demo")
    );
    let before = gateway(&rest);
    let web = before.tcp("web");
    let ask = |line: &str, length: usize| {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        request(web, &(head + &"x".repeat(length))).0
    };
    assert_eq!(ask("POST /small/x", 1025), 413);
    assert_eq!(ask("GET /elsewhere", 0), 404);
    assert_eq!(ask("GET /small/x", 0), 405);
    assert_eq!(ask("GET /../etc", 0), 400);
    let (_, metrics, _) = before.get("/metrics");
    for line in [
        "staunch_requests_total{route=\"small\",status=\"4xx\"} 1\n",
        "staunch_requests_total{route=\"\",status=\"4xx\"} 3\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}
