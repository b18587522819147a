//! Bodies of requests that the gateway reads and hands to nobody, and of answers that have none: whether
//! the connection goes on, and that its client knows.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use crate::{
    PATIENCE,
    gateway::{Scripted, gateway, head, service},
    routes::curl,
};

fn connect(web: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// The head of the answer to what is said in one packet, whose body is read.
fn answer(client: &mut TcpStream, said: &[u8]) -> String {
    client.write_all(said).unwrap();
    let head = head(client);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    client.read_exact(&mut vec![0; length]).unwrap();
    head
}

fn post(header: &str, body: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: a\r\n", header.as_bytes(), b"\r\n\r\n", body].concat()
}

/// Whether its body came in one piece or in chunks, and so by which way it went.
fn whole() -> [Vec<u8>; 3] {
    [
        post("Content-Length: 5", b"hello"),
        post("Content-Length: 9000", &[b'a'; 9000]),
        post("Transfer-Encoding: chunked", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
    ]
}

#[test]
fn who_is_refused_keeps_the_connection_if_all_of_the_body_has_come() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = format!("shop: {}", "0".repeat(64));
    let policy = format!("[[policy]]\nname = 'p'\n[policy.keys]\nkeys = ['{key}']\n");
    let routed = service(listener.local_addr().unwrap(), &policy);
    let before = gateway(&routed.replace("name = \"all\"", "name = \"all\"\npolicies = ['p']"));
    let baseline = before.baseline();
    let web = before.tcp("web");
    let mut client = connect(web);
    for _ in 0..2 {
        for request in whole() {
            let told = answer(&mut client, &request);
            assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
            assert!(!told.contains("connection: close"), "{told}");
        }
    }
    let mut requests = whole().concat(); // one after the other, and nobody waits for answers
    requests.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(&requests).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard.matches("HTTP/1.1 401 ").count(), 4, "{heard}");
    for request in [
        post("Content-Length: 5000", b""),
        post("Content-Length: 5000", b"some of it"),
        post("Content-Length: 5000\r\nExpect: 100-continue", b""),
        post("Transfer-Encoding: chunked", b"5\r\nhello\r\n"),
        post("Content-Length: 100000", &vec![b'a'; 100_000]),
    ] {
        let mut client = connect(web);
        let told = answer(&mut client, &request);
        assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
        assert!(told.contains("connection: close\r\n"), "{told}");
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "an end, and no reset");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn a_service_without_a_server_keeps_its_clients_connections() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let before = gateway(&service(free, ""));
    let baseline = before.baseline();
    let mut client = connect(before.tcp("web"));
    for request in whole() {
        let told = answer(&mut client, &request);
        assert!(told.starts_with("HTTP/1.1 50"), "{told}");
        assert!(!told.contains("connection: close"), "{told}");
    }
    drop(client);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// RFC 9110, 8.6: what a server says of the length of no content is not handed on.
#[test]
fn an_answer_without_content_has_no_length() {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let scripted = Scripted::start(vec![
            b"HTTP/1.1 204 No Content\r\nContent-Length: 24\r\n\r\nsomething nobody is sent",
        ]);
        let before = gateway(&service(scripted.address, ""));
        let baseline = before.baseline();
        let (told, status) = curl(before.tcp("web"), "/", &["--include", version]);
        assert_eq!(status, 204, "{told}");
        assert!(!told.to_lowercase().contains("content-length"), "{told}");
        assert!(!told.contains("nobody"), "{told}");
        scripted.asked();
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    }
}
