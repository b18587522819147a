//! The memory of request bodies: on the ledger, and bounded all together.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    PATIENCE, eventually,
    server::{Server, request},
};

const LISTENERS: &str = r#"
[memory]
bodies = "1MiB"
[[listener]]
name = "http"
protocol = "demo"
listen = "127.0.0.1:0"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
"#;

/// The longest body that is taken.
const LONGEST: usize = 1 << 20;

fn post(bytes: usize, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n{body}")
}

/// What the bodies take that are on the ledger.
fn held(server: &Server) -> u64 {
    let ledger = server.admin_json("/debug/ledger?kind=body&limit=10").body;
    let entries = ledger["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["bytes"].as_u64().unwrap()).sum()
}

#[test]
fn bodies_beyond_the_room_for_all_are_told_to_come_back() {
    let server = Server::start(LISTENERS);
    let baseline = server.baseline();
    let http = server.tcp("http");

    let mut large = TcpStream::connect(http).unwrap();
    large.set_read_timeout(Some(PATIENCE)).unwrap();
    large.write_all(post(LONGEST, &"x".repeat(LONGEST - 1)).as_bytes()).unwrap();
    eventually("the large body is held", || match held(&server) {
        bytes if bytes as usize >= LONGEST - 1 => Ok(()),
        bytes => Err(format!("{bytes} bytes")),
    });
    let (status, text, _) = request(http, &post(10, "0123456789"));
    assert_eq!((status, text.contains("`bodies`")), (503, true), "{text}");

    large.write_all(b"x").unwrap();
    let mut answer = [0; 15];
    large.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    drop(large);
    eventually("there is room again", || {
        let (status, body, _) = request(http, &post(10, "0123456789"));
        if status == 200 { Ok(()) } else { Err(body) }
    });
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}
