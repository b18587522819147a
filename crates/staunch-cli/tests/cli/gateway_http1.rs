//! The gateway, asked byte by byte: what HTTP/1.1 says of one request after the other on a connection,
//! of bodies, and of what could be read in two ways.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::SockRef;
use staunch_harness::has_heard;

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, Scripted, gateway, head, service},
    server::Server,
};

/// Says `requests`, and hears all until the gateway closes.
fn say(web: SocketAddr, requests: &[u8]) -> String {
    let mut client = connect(web);
    client.write_all(requests).unwrap();
    rest(&mut client)
}

fn connect(web: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn rest(client: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

/// The statuses of what was heard, as they came.
fn statuses(heard: &str) -> Vec<&str> {
    heard.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect()
}

#[test]
fn one_request_follows_the_other_whatever_they_are() {
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let baseline = (before.baseline(), behind.baseline());
    let web = before.tcp("web");
    let plain = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let long_way = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\ndef\r\n0\r\n\r\n";
    let none = "GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = [plain, post, head, none, plain, long_way, plain, post, last].concat();
    let expected = ["200", "200", "200", "404", "200", "200", "200", "200", "200"];

    let at_once = say(web, all.as_bytes());
    assert_eq!(statuses(&at_once), expected, "{at_once}");
    assert_eq!(at_once.matches("Hello.").count(), 4, "not of HEAD: {at_once}");
    assert!(at_once.find("abc") < at_once.find("def"), "in their order: {at_once}");

    let mut client = connect(web);
    for byte in all.bytes() {
        client.write_all(&[byte]).unwrap(); // heads and bodies in pieces
    }
    let in_pieces = rest(&mut client);
    assert_eq!(statuses(&in_pieces), expected, "{in_pieces}");
    before.settles_to(&baseline.0);
    before.terminate().assert_clean();
    behind.settles_to(&baseline.1);
    behind.terminate().assert_clean();
}

#[test]
fn an_answer_comes_through_however_long_it_says_it_is() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let check = |answer: &'static [u8], expected: &[&str]| {
        let scripted = Scripted::start(vec![answer]);
        let before = gateway(&service(scripted.address, ""));
        let baseline = before.baseline();
        let heard = say(before.tcp("web"), GET);
        for expected in expected {
            assert!(heard.contains(expected), "{expected}: {heard}");
        }
        scripted.asked();
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    };
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                    3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n";
    check(chunked, &["chunked\r\n", "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"]);
    check(b"HTTP/1.1 204 No Content\r\n\r\n", &["HTTP/1.1 204"]);
    check(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", &["HTTP/1.1 304"]);
    check(b"HTTP/1.0 200 Fine\r\n\r\nuntil the end", &["HTTP/1.1 200 Fine", "until the end"]);
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    check(interim, &["HTTP/1.1 200 OK\r\n", "\r\n\r\nok"]);
    let more = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Forged\r\n\r\n";
    check(more, &["\r\n\r\nok"]);
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", &["502"]);
    check(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n", &["502"]);
}

/// What more a server says than it was asked is for nobody: the next client's answer is its own.
#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let forged = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Forged\r\n\r\n";
    let scripted =
        Scripted::start(vec![forged, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine"]);
    let before = gateway(&service(scripted.address, ""));
    let mut client = connect(before.tcp("web"));
    for (expected, bytes) in [("ok", 2), ("mine", 4)] {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(head(&mut client).starts_with("HTTP/1.1 200"));
        let mut body = vec![0; bytes];
        client.read_exact(&mut body).unwrap();
        assert_eq!(body, expected.as_bytes());
    }
    scripted.asked();
    drop(client);
    before.terminate().assert_clean();
}

#[test]
fn what_could_be_read_in_two_ways_reaches_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let before = gateway(&service(listener.local_addr().unwrap(), ""));
    let baseline = before.baseline();
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\n1",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n1",
        "GET /%2e%2e/secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let heard = say(before.tcp("web"), request.as_bytes());
        assert_eq!(statuses(&heard), ["400"], "{}: {heard}", request.escape_debug());
    }
    let connect = "CONNECT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&say(before.tcp("web"), connect.as_bytes())), ["501"], "it is no proxy");
    assert!(listener.accept().is_err(), "no server was asked");
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// A server may answer before it has all of a body (RFC 9112, 9.3): the client hears it, although it is
/// still sending.
#[test]
fn an_early_answer_is_heard_by_a_client_that_still_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = gateway(&service(listener.local_addr().unwrap(), ""));
    let baseline = before.baseline();
    let mut client = connect(before.tcp("web"));
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n123").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    head(&mut server);
    server.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno\n").unwrap();
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 403 No\r\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    client.write_all(&vec![b'x'; 50_000]).unwrap(); // read, and thrown away
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), "no\n");
    drop(server);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// Nobody reads what still comes of it: its server has gone, or has said all that it will.
#[test]
fn an_early_answer_ends_the_connection_of_a_client_that_sends_chunks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = gateway(&service(listener.local_addr().unwrap(), ""));
    let baseline = before.baseline();
    for (server_goes, client_goes) in [(true, false), (true, true), (false, false)] {
        let mut client = connect(before.tcp("web"));
        let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n";
        client.write_all(post.as_bytes()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        head(&mut server);
        let last = if server_goes { "Connection: close\r\n" } else { "" };
        let refusal = format!("HTTP/1.1 403 No\r\nContent-Length: 3\r\n{last}\r\nno\n");
        server.write_all(refusal.as_bytes()).unwrap();
        let answer = head(&mut client);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        let server = Some(server).filter(|_| !server_goes);
        let mut body = [0; 3];
        client.read_exact(&mut body).unwrap();
        if server_goes {
            client.write_all(b"3\r\n456\r\n").unwrap();
        }
        if !client_goes {
            assert_eq!(rest(&mut client), "");
        }
        drop((client, server));
        before.settles_to(&baseline);
    }
    before.terminate().assert_clean();
}

#[test]
fn a_client_that_leaves_gives_up_what_it_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = gateway(&service(listener.local_addr().unwrap(), ""));
    let baseline = before.baseline();
    let answers: [&[u8]; 4] = [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for answer in answers {
        let mut client = connect(before.tcp("web"));
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        head(&mut server);
        server.write_all(answer).unwrap();
        if answer.len() > 20 {
            head(&mut client);
        }
        drop(client);
        // Its connection is closed, or reset where an answer was lost.
        assert!(!server.read(&mut [0]).is_ok_and(|read| read > 0), "{}", answer.escape_ascii());
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn a_body_has_its_time_also_when_the_answer_has_begun() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let routed = service(listener.local_addr().unwrap(), "");
    let before = gateway(&routed.replace("\"4GiB\"", "\"1KiB\"\nbody_time = \"300ms\""));
    let baseline = before.baseline();
    let mut client = connect(before.tcp("web"));
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n1").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    head(&mut server);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 200"));
    let mut heard = Vec::new();
    let ended = client.read_to_end(&mut heard); // an end or a reset: it was not told all
    assert!(!ended.is_err_and(|it| it.kind() == ErrorKind::WouldBlock), "it has not ended");
    assert_eq!(heard, b"half");
    drop((client, server));
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn http2_is_known_however_its_first_words_come() {
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let baseline = before.baseline();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for cut in [1, 2, 3, 4, 14, 23, 24] {
        let web = before.tcp("web");
        let mut client = connect(web);
        client.set_nodelay(true).unwrap();
        client.write_all(&preface[..cut]).unwrap();
        eventually("they are read", || {
            let heard = has_heard(web, client.local_addr().unwrap());
            heard.then_some(()).ok_or_else(|| "not all".to_owned())
        });
        client.write_all(&[&preface[cut..], &settings].concat()).unwrap();
        let mut frame = [0; 9];
        client.read_exact(&mut frame).unwrap();
        assert_eq!(frame[3], 4, "cut at {cut}: {frame:?}");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// An end that may have crossed with the request says nothing of the server; a later one does.
#[test]
fn a_server_that_hangs_up_on_a_request_is_counted() {
    for (pause, counted) in [(0, 0), (800, 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = gateway(&service(listener.local_addr().unwrap(), ""));
        let baseline = before.baseline();
        let mut client = connect(before.tcp("web"));
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        client.write_all(post).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        head(&mut server);
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(head(&mut client).starts_with("HTTP/1.1 200"));
        let begun = Instant::now();
        client.write_all(post).unwrap();
        head(&mut server);
        std::thread::sleep(Duration::from_millis(pause));
        drop(server);
        assert!(head(&mut client).starts_with("HTTP/1.1 502"), "{pause}");
        let was_late = begun.elapsed() > Duration::from_millis(500); // so may a busy machine be
        let (_, metrics, _) = before.get("/metrics");
        let mut failed = metrics.lines().filter(|it| it.starts_with("staunch_upstream_failures_"));
        let closed = failed.find(|it| it.contains("reason=\"closed\"")).unwrap();
        let is_as_said = closed.ends_with(&format!(" {counted}"));
        assert!(is_as_said || (counted == 0 && was_late), "after {pause} ms: {closed}");
        drop((client, listener));
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    }
}

/// Each holds a piece at most, the smaller the more all hold together; and only some have a pipe.
#[test]
fn many_clients_that_read_nothing_hold_little() {
    const CLIENTS: u64 = 800;
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let web = before.tcp("web");
    drop(say(web, b"GET /download?bytes=1000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let memory = before.process().peak_memory();
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut client = connect(web);
            client.write_all(b"GET /download?bytes=33554432 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            client.read_exact(&mut [0]).unwrap(); // the answer has begun
            client
        })
        .collect();
    let mut peaks = vec![0];
    eventually("everybody has stopped", || {
        peaks.push(before.process().peak_memory());
        let is_still = peaks.len() > 20 && peaks[peaks.len() - 20] == peaks[peaks.len() - 1];
        is_still.then_some(()).ok_or_else(|| format!("{peaks:?}"))
    });
    let grown = before.process().peak_memory() - memory;
    println!("{CLIENTS} clients: {} KiB", grown >> 10);
    assert!(grown < (4 << 20) + CLIENTS * (24 << 10), "{grown}");
    let ends = pipe_ends(&before);
    assert!((2..=2 * 64).contains(&ends), "{ends}: two for each of 64 pipes");
    drop(clients);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// How many descriptors of pipes there are.
fn pipe_ends(gateway: &Server) -> usize {
    let buffers = gateway.admin_json("/debug/ledger?kind=buffer").body["entries"].clone();
    buffers.as_array().unwrap().iter().filter(|it| it["label"] == "pipe").count()
}

/// What is in the pipe while its client waits arrives like the rest.
#[test]
fn a_long_answer_goes_through_a_pipe() {
    const LENGTH: usize = 32 << 20;
    let behind = Server::start(BEHIND);
    let before = gateway(&service(behind.tcp("demo"), ""));
    let baseline = before.baseline();
    let mut client = connect(before.tcp("web"));
    for _ in 0..2 {
        let ask = format!("GET /download?bytes={LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(ask.as_bytes()).unwrap();
        let head = head(&mut client);
        assert!(head.contains(&format!("content-length: {LENGTH}\r\n")), "{head}");
        let (mut through, mut taken) = (vec![0; LENGTH], 0);
        eventually("it goes through a pipe", || match pipe_ends(&before) {
            2 => Ok(()),
            others => {
                // On a busy machine a client that takes nothing may fall behind too soon.
                let some = &mut through[taken..][..64 << 10];
                taken += if taken < LENGTH / 2 { client.read(some).unwrap() } else { 0 };
                Err(others.to_string())
            }
        });
        client.read_exact(&mut through[taken..]).unwrap();
        let mut directly = connect(behind.tcp("demo"));
        directly.write_all(ask.as_bytes()).unwrap();
        crate::gateway::head(&mut directly);
        let mut bytes = vec![0; LENGTH];
        directly.read_exact(&mut bytes).unwrap();
        assert!(through == bytes);
        eventually("the pipe is gone", || match pipe_ends(&before) {
            0 => Ok(()),
            others => Err(others.to_string()),
        });
    }
    drop(client);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Far longer than an answer must be to go through a pipe; no two pieces alike.
fn long() -> &'static [u8] {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Vec::leak((0..2 << 20).map(next).collect())
}

/// What comes until the client is told that there is no more: whether by a reset, too.
fn all(client: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let read = client.read_to_end(&mut bytes);
    (bytes, read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset))
}

#[test]
fn a_long_answer_ends_as_its_server_ends_it() {
    let body = long();
    let check = |head: &str, more: &[u8], is_reset: bool, ends: &dyn Fn(&mut TcpStream)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = gateway(&service(listener.local_addr().unwrap(), ""));
        let baseline = before.baseline();
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
        let mut client = connect(before.tcp("web"));
        client.write_all(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut to, _) = listener.accept().unwrap();
                crate::gateway::head(&mut to);
                let _ = to.write_all(&[head.as_bytes(), body, more].concat()); // its client may leave
                if is_reset {
                    SockRef::from(&to).set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
            crate::gateway::head(&mut client);
            ends(&mut client);
        });
        drop(client);
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    };
    let length = format!("content-length: {}\r\n", body.len());
    let whole = |client: &mut TcpStream| {
        let mut bytes = vec![0; body.len()];
        client.read_exact(&mut bytes).unwrap();
        assert!(bytes == body);
    };
    let closes = |client: &mut TcpStream| assert!(all(client) == (body.to_vec(), false));
    let breaks = |client: &mut TcpStream| {
        let (bytes, is_reset) = all(client);
        assert!(is_reset && body.starts_with(&bytes), "{} bytes, {is_reset}", bytes.len());
    };
    let short = |client: &mut TcpStream| assert!(all(client).0 == body);
    let leaves = |client: &mut TcpStream| client.read_exact(&mut [0]).unwrap();
    check(&length, b"", false, &whole);
    check(&length, b"and more", false, &whole);
    check("", b"", false, &closes);
    check("", b"", true, &breaks);
    check(&format!("content-length: {}\r\n", body.len() + 1), b"", false, &short);
    check(&length, b"", false, &leaves);
}
