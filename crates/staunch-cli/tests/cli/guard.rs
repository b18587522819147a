//! What `[guard]` does when descriptors or memory run short.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use crate::{
    PATIENCE, PAUSE, eventually,
    server::{Server, get},
};

const HTTP: &str = r#"
[[listener]]
name = "http"
protocol = "demo"
listen = "127.0.0.1:0"
"#;

/// Asks, and does not wait for the answer.
fn ask(http: SocketAddr, path: &str) -> TcpStream {
    try_ask(http, path).unwrap()
}

/// The same; an error if the connection is refused.
fn try_ask(http: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut client = TcpStream::connect(http)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: l\r\n\r\n").as_bytes())?;
    Ok(client)
}

/// What is said until `end` has been.
fn said_until(client: &mut TcpStream, end: &str) -> io::Result<String> {
    let (mut said, mut some) = (String::new(), [0; 1024]);
    while !said.contains(end) {
        match client.read(&mut some)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => said.push_str(&String::from_utf8_lossy(&some[..count])),
        }
    }
    Ok(said)
}

fn is_open(mut client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Connections that wait for a next request go, the longest idle first, and no more than need be; one at
/// work and a stream, both older than any of them, stay.
#[test]
fn the_longest_idle_go_when_files_run_out() {
    const FILES: usize = 96;
    const CLIENTS: usize = 120;
    let server = Server::start_with_files(FILES, HTTP);
    let http = server.tcp("http");
    let mut works = ask(http, "/slow?ms=6000");
    let mut ticks = ask(http, "/sse");
    said_until(&mut ticks, "tick 1").unwrap();
    let mut idle = Vec::new();
    eventually("all were served", || {
        let served = try_ask(http, "/hello").and_then(|mut client| {
            let head = said_until(&mut client, "\r\n\r\n")?;
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(ErrorKind::ConnectionRefused.into()); // 503: no room until the next look
            }
            if !head.ends_with("Hello.\n") {
                said_until(&mut client, "Hello.\n")?;
            }
            Ok(client)
        });
        match served {
            Ok(client) => idle.push(client),
            Err(_) => thread::sleep(PAUSE), // connections are refused for a moment
        }
        if idle.len() == CLIENTS { Ok(()) } else { Err(format!("{} were", idle.len())) }
    });
    let closed = eventually("it is below the mark", || {
        let closed = idle.iter().take_while(|client| !is_open(client)).count();
        let fds = server.process().fds();
        if fds * 100 < FILES * 90 { Ok(closed) } else { Err(format!("{fds} fds, {closed} closed")) }
    });
    let open = idle.iter().skip(closed).filter(|client| is_open(client)).count();
    assert_eq!(open, CLIENTS - closed, "those that were idle for the longest were closed");
    assert!(open > FILES / 2, "no more than need be: {open} are open");
    said_until(&mut works, "That took 6000 ms.\n").unwrap();
    said_until(&mut ticks, "tick 7").unwrap();
    assert_eq!(server.observed("idle-closed"), 1, "it is said once");
    let (_, metrics, _) = server.get("/metrics");
    let counted = format!("staunch_guard_idle_closed_total{{guard=\"staunch\"}} {closed}\n");
    assert!(metrics.contains(&counted), "{closed}: {metrics}");
    drop((works, ticks, idle));
    assert_eq!(server.terminate().code, Some(0));
}

/// What can wait is told to come again, and streams are; health checks are answered, and so is the admin
/// endpoint.
#[test]
fn who_can_wait_is_shed() {
    let server = Server::start(&format!(
        "[guard]\nmemory = \"512MiB\"\nwarn = 1\nshed = 1\nrefuse = 100\n{HTTP}"
    ));
    let http = server.tcp("http");
    for (path, status) in [("/slow?ms=1", 503), ("/sse", 503), ("/hello", 200), ("/healthz", 200)] {
        let answer = said_until(&mut ask(http, path), "\r\n\r\n").unwrap().to_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{path}: {answer}");
        assert_eq!(answer.contains("\r\nretry-after: 1\r\n"), status == 503, "{path}: {answer}");
    }
    assert_eq!(server.admin_json("/debug/guard").body[0]["level"], "shed");
    server.terminate().assert_clean();
}

#[test]
fn a_list_says_what_is_done() {
    let server = Server::start(&format!(
        "[guard]\nmemory = \"512MiB\"\nwarn = 1\nshed = 1\nrefuse = 100\nat_shed = [\"shed-high\"]\n{HTTP}"
    ));
    let http = server.tcp("http");
    assert_eq!((get(http, "/hello").0, get(http, "/healthz").0), (503, 200));
    said_until(&mut ask(http, "/sse"), "HTTP/1.1 503 ").unwrap();
    server.terminate().assert_clean();
}

/// Nobody is taken but whoever comes to help.
#[test]
fn listeners_refuse_and_the_admin_endpoint_does_not() {
    let server = Server::start(&format!(
        "[guard]\nmemory = \"512MiB\"\nwarn = 1\nshed = 1\nrefuse = 1\n{HTTP}"
    ));
    let http = server.tcp("http");
    for _ in 0..20 {
        let mut client = TcpStream::connect(http).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = client.write_all(b"GET /healthz HTTP/1.1\r\nHost: l\r\n\r\n");
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "it is reset");
        assert_eq!(server.get("/healthz").0, 200);
    }
    assert_eq!(server.admin_json("/debug/guard").body[0]["level"], "refuse");
    server.terminate().assert_clean();
}

#[test]
fn one_that_is_switched_off_does_nothing() {
    let server = Server::start(&format!("[guard]\nenabled = false\nwarn = 1\n{HTTP}"));
    assert_eq!(get(server.tcp("http"), "/hello").0, 200);
    assert_eq!(server.admin_json("/debug/guard").body.as_array().map(Vec::len), Some(0));
    server.terminate().assert_clean();
}
