//! A service in Go behind the gateway: connections that are kept, chunks, trailers.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use staunch_harness::GoServer;

use crate::{
    PATIENCE,
    gateway::{gateway, service},
    routes::curl,
    server::Server,
};

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// With the gateway before it.
fn start() -> (GoServer, Server) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/programs/answers.go");
    let go = GoServer::start(&source).unwrap();
    let server = gateway(&service(([127, 0, 0, 1], go.port()).into(), ""));
    (go, server)
}

/// What `answers.go` writes.
fn pieces(count: usize) -> String {
    let piece = |number| (0..8 << 10).map(move |at| char::from(b'a' + ((number + at) % 26) as u8));
    (0..count).flat_map(piece).collect()
}

/// The checksum that goes with every gzip file (RFC 1952, 8).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}

#[test]
fn chunks_come_through_and_connections_are_kept() {
    let (_go, server) = start();
    let baseline = server.baseline();
    let web = server.tcp("web");
    let count = || curl(web, "/connections", &[]).0.parse::<u32>().unwrap();
    let before = count();
    for version in VERSIONS {
        for count in [0, 1, 40] {
            let (body, status) = curl(web, &format!("/chunked?pieces={count}"), &[version]);
            assert!(status == 200 && body == pieces(count), "{version}: {} bytes", body.len());
        }
    }
    let paths = vec!["/chunked?pieces=3"; 50];
    let urls: Vec<_> = paths.iter().map(|path| format!("http://{web}{path}")).collect();
    let arguments: Vec<_> = urls.iter().map(String::as_str).collect();
    let (body, status) = curl(web, "/chunked?pieces=3", &arguments);
    assert_eq!(status, 200);
    assert_eq!(body.matches("zabc").count() % 51, 0, "each of them whole");
    let more = count() - before;
    assert!(more <= 8, "{more} connections for 58 requests, some of them more than 100 ms later");
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

#[test]
fn trailers_come_through_to_clients() {
    let (_go, server) = start();
    let baseline = server.baseline();
    let folder = tempfile::tempdir().unwrap();
    let heads = folder.path().join("heads");
    for version in VERSIONS {
        for count in [1, 40] {
            let arguments = [version, "--dump-header", heads.to_str().unwrap()];
            let path = format!("/trailers?pieces={count}");
            let (body, status) = curl(server.tcp("web"), &path, &arguments);
            assert!(status == 200 && body == pieces(count), "{version}: {} bytes", body.len());
            let heads = fs::read_to_string(&heads).unwrap().to_lowercase();
            let sum = format!("x-sum: {:08x}", crc32(body.as_bytes()));
            assert!(heads.contains(&sum), "{version}: {sum} is not in {heads}");
            assert!(heads.contains("x-late: yes"), "{version}: {heads}");
        }
    }
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

/// The whole answer to these bytes, which end the connection.
fn answer(web: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn trailers_come_through_to_servers() {
    let (_go, server) = start();
    let baseline = server.baseline();
    let request = "POST /received HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: x-sum\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 17\r\n\r\n";
    let said = answer(server.tcp("web"), request);
    assert!(said.contains(r#"5 bytes, x-sum "17", <nil>"#), "{said}");
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

#[test]
fn what_is_said_before_an_answer_is_not_taken_for_it() {
    let (_go, server) = start();
    let baseline = server.baseline();
    for version in VERSIONS {
        let (body, status) = curl(server.tcp("web"), "/early", &[version]);
        assert_eq!((body.as_str(), status), ("and then", 200), "{version}");
    }
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let (_go, server) = start();
    let baseline = server.baseline();
    // curl(1), EXIT CODES: a part of a file, a failure in receiving, a stream not closed cleanly.
    for (version, honest) in [(VERSIONS[0], [18, 56]), (VERSIONS[1], [92, 18])] {
        for pieces in [1, 40] {
            let url = format!("http://{}/broken?pieces={pieces}", server.tcp("web"));
            let arguments = ["--silent", "--max-time", "60", "--output", "/dev/null", version];
            let status = std::process::Command::new("curl").args(arguments).arg(url).status();
            let code = status.unwrap().code().unwrap();
            assert!(honest.contains(&code), "{version}, {pieces} pieces: {code}");
        }
    }
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}
