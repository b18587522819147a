//! What the HTTP service has, asked for by curl and by a WebSocket client.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    PATIENCE, eventually,
    server::{Server, get},
};

const LISTENER: &str = r#"
[[listener]]
name = "http"
protocol = "demo"
listen = "127.0.0.1:0"
[listener.limits]
connections_per_ip = 5000
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
"#;

/// What curl prints, and the status at its end.
pub(crate) fn curl(http: SocketAddr, path: &str, arguments: &[&str]) -> (String, u16) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "60", "--write-out", "\n%{http_code}"]);
    let output = curl.args(arguments).arg(format!("http://{http}{path}")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let (body, status) = printed.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (body.to_owned(), status.parse().unwrap())
}

#[test]
fn curl_gets_what_it_asks_for() {
    let server = Server::start(LISTENER);
    let baseline = server.baseline();
    let http = server.tcp("http");
    let check = |path: &str, arguments: &[&str], status: u16, text: &str| {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let (body, got) = curl(http, path, &[arguments, &[version]].concat());
            assert_eq!(got, status, "{version} {path}: {body}");
            assert!(body.contains(text), "{version} {path}: {body}");
        }
    };
    check("/", &[], 200, "/download?bytes=N");
    check("/hello", &[], 200, "Hello.\n");
    check("/echo", &["--data", "again"], 200, "again");
    check("/echo", &[], 405, "Allowed: POST, OPTIONS.");
    check("/upload", &["--data", "counted"], 200, "7 bytes");
    check("/upload", &["--request", "PUT", "--data", "once"], 200, "4 bytes");
    check("/upload", &[], 405, "Allowed: POST, PUT, OPTIONS.");
    check("/slow?ms=20", &[], 200, "That took 20 ms.");
    check("/slow", &[], 400, "`ms` is missing: ?ms=1000");
    check("/slow?ms=60001", &[], 400, "it must be a number up to 60000");
    check("/download?bytes=5", &[], 200, "\0\0\0\0\0");
    check("/download?bytes=1e9", &[], 400, r#"`bytes` is "1e9""#);
    check("/ws", &[], 426, "Upgrade: websocket");
    check("/none", &[], 404, "Nothing here.");
    // It hangs up after the first events.
    let seconds = ["--no-buffer", "--max-time", "1.5"];
    check("/sse", &seconds, 200, "id: 1\ndata: tick 1\n\nid: 2\ndata: tick 2\n\n");
    let resumed = [&["--header", "Last-Event-ID: 41"], &seconds[..]].concat();
    check("/sse", &resumed, 200, "id: 42\ndata: tick 42\n\n");
    server.settles_to(&baseline);
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// RFC 9110, 9.3.2 and 9.3.7: HEAD is answered as GET is, without a body; OPTIONS says what there is.
#[test]
fn every_route_has_a_head_and_options() {
    let server = Server::start(LISTENER);
    let baseline = server.baseline();
    let http = server.tcp("http");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (path, status, header) in [
            ("/", 200, "content-type: text/plain"),
            ("/hello", 200, "content-length: 7"),
            ("/healthz", 200, "content-length: 3"),
            ("/slow?ms=1", 200, "content-type: text/plain"),
            ("/sse", 200, "content-type: text/event-stream"),
            ("/download?bytes=5000000000", 200, "content-length: 5000000000"),
            ("/ws", 426, "upgrade: websocket"),
        ] {
            let (head, got) = curl(http, path, &["--head", version]);
            // HTTP/2 has no upgrade, and no header for it.
            let header = if version == "--http1.1" || status == 200 { header } else { "" };
            assert!(got == status && head.contains(header), "{version} {path}: {got} {head}");
        }
        let asks = ["--include", "--request", "OPTIONS", version];
        let star = [&asks[..], &["--request-target", "*"]].concat();
        for (arguments, path, allowed) in [
            (&star[..], "/", "allow: GET, HEAD, POST, PUT, OPTIONS"),
            (&asks[..], "/sse", "allow: GET, HEAD, OPTIONS"),
            (&asks[..], "/echo", "allow: POST, OPTIONS"),
        ] {
            let (head, got) = curl(http, path, arguments);
            assert!(got == 204 && head.contains(allowed), "{version} {path}: {got} {head}");
        }
    }
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

/// What is wrong with a request or its body is said, and is not that something broke off.
#[test]
fn what_is_refused_is_told_why() {
    let server = Server::start(LISTENER);
    let http = server.tcp("http");
    let said = |request: &str| {
        let mut client = TcpStream::connect(http).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    let chunked = "POST /echo HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n";
    for (request, why) in [
        (format!("{chunked}\r\nxyz\r\n"), "The body is wrong: it is malformed: invalid chunk size"),
        (
            format!("{chunked}Content-Length: 3\r\n\r\n"),
            "Refused: a request gives its length twice.",
        ),
        (
            "\u{1}\u{2}garbage\r\n\r\n".to_owned(),
            "Refused: these bytes are no request of HTTP/1.1.",
        ),
    ] {
        let answer = said(&request);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(why), "{answer}");
    }
    server.terminate().assert_clean();
}

#[test]
fn a_websocket_says_everything_again() {
    let server = Server::start(LISTENER);
    let baseline = server.baseline();
    let stream = TcpStream::connect(server.tcp("http")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, _) = tungstenite::client("ws://localhost/ws", stream).unwrap();
    for message in [Message::text("one"), Message::binary(vec![7; 64 << 10])] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    server.settles_to(&baseline);
    assert_eq!(server.terminate().code, Some(0));
}

/// 2 GiB each way, by each version.
#[test]
fn a_large_body_takes_the_room_of_a_piece() {
    const BYTES: u64 = 2 << 30;
    let server = Server::start(LISTENER);
    let baseline = server.baseline();
    let http = server.tcp("http");
    curl(http, "/download?bytes=1000000", &["--output", "/dev/null"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zeros"); // sparse
    File::create(&file).unwrap().set_len(BYTES).unwrap();
    let before = server.process().peak_memory();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let size = ["--output", "/dev/null", "--write-out", "%{size_download}\n%{http_code}"];
        let (downloaded, status) =
            curl(http, &format!("/download?bytes={BYTES}"), &[&size[..], &[version]].concat());
        assert_eq!((downloaded, status), (BYTES.to_string(), 200), "{version}");
        let upload = ["--upload-file", file.to_str().unwrap(), version];
        let (uploaded, status) = curl(http, "/upload", &upload);
        assert_eq!((uploaded.as_str(), status), (&*format!("{BYTES} bytes\n"), 200), "{version}");
        let grown = server.process().peak_memory().saturating_sub(before); // the kernel rounds
        assert!(grown < 16 << 20, "{version}: {grown} bytes more");
    }
    server.settles_to(&baseline);
    assert_eq!(server.terminate().code, Some(0));
}

/// A stream of events, of which the first has come.
fn ticks(http: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /sse HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    let (mut heard, mut more) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&heard).contains("tick 1") {
        let count = stream.read(&mut more).unwrap();
        assert!(count > 0, "{}", heard.escape_ascii());
        heard.extend_from_slice(&more[..count]);
    }
    stream
}

/// Streams get their last event, requests in the making their answers, and parked connections are
/// closed at once.
#[test]
fn a_thousand_streams_and_a_thousand_parked_connections_end_with_the_server() {
    const EACH: usize = 1_000;
    let mut server = Server::start(LISTENER);
    let http = server.tcp("http");
    let parked: Vec<_> = (0..EACH).map(|_| get(http, "/hello").2).collect();
    let streams: Vec<_> = (0..EACH).map(|_| ticks(http)).collect();
    let mut slow: Vec<_> = (0..20).map(|_| TcpStream::connect(http).unwrap()).collect();
    for slow in &mut slow {
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        slow.write_all(b"GET /slow?ms=700 HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    }
    eventually("all are served", || {
        let entries = server.admin_json("/debug/ledger?kind=request&limit=1").body;
        match entries["totals"]["matching"].as_u64().unwrap() as usize {
            now if now > EACH + slow.len() => Ok(()), // and the one that asks
            now => Err(format!("{now} requests")),
        }
    });
    server.signal(Signal::TERM);
    for mut slow in slow {
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("That took 700 ms.\n"), "{answer}");
    }
    for mut stream in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        // A chunk with the last event, and the end of the body.
        assert!(rest.ends_with("event: close\ndata: draining\n\n\r\n0\r\n\r\n"), "{rest}");
    }
    for mut parked in parked {
        assert_eq!(parked.read(&mut [0]).unwrap(), 0);
    }
    let ended = server.ended();
    println!("it ended {:?} after the signal", ended.took);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains("cut: "), "{}", ended.stdout);
}
