//! Connections that are handed on as they are, and those that are to be: what breaks off looks so, and each has a bound.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use staunch_harness::Raw;

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, SOON, gateway, head},
    server::Server,
};

/// A gateway that hands on what comes at `tcp`.
fn handing_on(server: SocketAddr) -> Server {
    Server::start(&format!(
        "[[listener]]\nname = 'tcp'\nprotocol = 'tcp'\nservice = 'behind'\nlisten = '127.0.0.1:0'\n\
         [[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
         [[service]]\nname = 'behind'\nendpoints = ['{server}']\n"
    ))
}

/// For a few packets on one machine.
const MOMENT: Duration = Duration::from_millis(50);

/// Closes so that the other side sees that it was no end.
fn reset(connection: TcpStream) {
    socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
    drop(connection);
}

/// Whether all that comes has an end.
fn has_end(connection: &mut TcpStream) -> bool {
    match connection.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("{error}"),
    }
}

/// Who has heard half must not take it for a whole.
#[test]
fn a_reset_goes_through_a_connection_that_is_handed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = handing_on(listener.local_addr().unwrap());
    let baseline = before.baseline();
    let connect = || {
        let client = TcpStream::connect(before.tcp("tcp")).unwrap();
        let (server, _) = listener.accept().unwrap();
        for side in [&client, &server] {
            side.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (client, server)
    };
    let say = |from: &mut TcpStream, to: &mut TcpStream| {
        from.write_all(&[7; 1000]).unwrap();
        to.read_exact(&mut [0; 1000]).unwrap();
    };
    let (mut client, mut server) = connect();
    say(&mut server, &mut client);
    reset(server);
    assert!(!has_end(&mut client), "the server broke off");
    let (mut client, mut server) = connect();
    say(&mut client, &mut server);
    reset(client);
    assert!(!has_end(&mut server), "the client broke off");
    let (mut client, mut server) = connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(has_end(&mut server));
    say(&mut server, &mut client);
    reset(server);
    assert!(!has_end(&mut client), "after the client's own end");
    let (mut client, mut server) = connect();
    say(&mut client, &mut server);
    socket2::SockRef::from(&client).set_recv_buffer_size(4096).unwrap(); // the rest is with the gateway's kernel
    server.write_all(&[7; 1000].repeat(100)).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    thread::sleep(MOMENT);
    reset(server);
    thread::sleep(MOMENT); // until that is there, for what is said next to fail
    client.write_all(b"more").unwrap();
    thread::sleep(MOMENT);
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard);
    assert_eq!(heard.len(), 100_000, "who was told all has it");
    let (mut client, mut server) = connect();
    client.shutdown(Shutdown::Write).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert!(has_end(&mut server) && has_end(&mut client));
    drop((client, server));
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// When its time is over a drain cuts what is left in the middle.
#[test]
fn a_drain_resets_what_it_cuts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = Server::start(&format!(
        "[drain]\ngrace = '300ms'\n\
         [[listener]]\nname = 'tcp'\nprotocol = 'tcp'\nservice = 'behind'\nlisten = '127.0.0.1:0'\n\
         [[service]]\nname = 'behind'\nendpoints = ['{}']\n",
        listener.local_addr().unwrap()
    ));
    let mut client = TcpStream::connect(before.tcp("tcp")).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for side in [&client, &server] {
        side.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    server.write_all(b"half").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    drop(before.terminate()); // one was cut
    assert!(!has_end(&mut client) && !has_end(&mut server));
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn ask(web: SocketAddr, said: &str) -> (TcpStream, String) {
    let mut client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(said.as_bytes()).unwrap();
    let told = head(&mut client);
    (client, told)
}

/// They are on no pool's account, and count all the same.
#[test]
fn a_server_has_no_more_upgrades_than_connections() {
    let behind = Server::start(BEHIND);
    let before = Server::start(&format!(
        "[runtime]\nworkers = 1\n\
         [[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n\
         [[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
         [[route]]\nname = 'all'\nservice = 'behind'\n\
         [[service]]\nname = 'behind'\nendpoints = ['{}']\npool = {{ connections = 2 }}\n",
        behind.tcp("demo")
    ));
    let web = before.tcp("web");
    let baseline = before.baseline();
    let asked = [(); 3].map(|()| ask(web, UPGRADE));
    let are = asked.each_ref().map(|(_, told)| told.starts_with("HTTP/1.1 101 "));
    assert_eq!(are, [true, true, false]);
    assert!(asked[2].1.starts_with("HTTP/1.1 503 "), "{}", asked[2].1);
    drop(asked);
    eventually("there is room again", || {
        let (_, told) = ask(web, UPGRADE);
        if told.starts_with("HTTP/1.1 101 ") { Ok(()) } else { Err(told) }
    });
    before.settles_to(&baseline);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Its connection is no pool's, either; and a byte that came too early keeps hyper from seeing its client leave.
#[test]
fn the_body_of_a_refused_upgrade_goes_on_or_ends() {
    let refuses = Raw::start(|mut socket, _| {
        head(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nabc");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let before = gateway(&format!(
        "[[route]]\nname = 'all'\nservice = 'behind'\n[[service]]\nname = 'behind'\n\
         endpoints = ['127.0.0.1:{}']\n{SOON}\ntimeouts = {{ stall = '300ms' }}\n",
        refuses.port
    ));
    let baseline = before.baseline();
    for more in ["", "G"] {
        let begun = Instant::now();
        let (mut client, told) = ask(before.tcp("web"), &format!("{UPGRADE}{more}"));
        assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
        let _ = client.read_to_end(&mut Vec::new());
        assert!(begun.elapsed() < PATIENCE / 4, "{more}: {:?}", begun.elapsed());
        drop(client);
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn nobody_is_switched_to_a_protocol_that_was_not_asked_for() {
    let server = Raw::start(|mut socket, _| {
        head(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let before = gateway(&format!(
        "[[route]]\nname = 'all'\nservice = 'behind'\n[[service]]\nname = 'behind'\n\
         endpoints = ['127.0.0.1:{}']\n{SOON}\nretry = {{ tries = 1 }}\n",
        server.port
    ));
    let baseline = before.baseline();
    for way in ["Content-Length: 4\r\n\r\nping", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let said = format!("POST / HTTP/1.1\r\nHost: a\r\n{way}");
        let (_, told) = ask(before.tcp("web"), &said);
        assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn an_upgrade_goes_to_another_server_if_one_takes_no_connection() {
    let behind = Server::start(BEHIND);
    let deserted = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let before = gateway(&format!(
        "[[route]]\nname = 'all'\nservice = 'behind'\n[[service]]\nname = 'behind'\n\
         endpoints = ['{}', '{deserted}']\n{SOON}\noutliers = {{ failures = 1000 }}\n\
         balance = 'round-robin'\nretry = {{ budget = 100 }}\n",
        behind.tcp("demo")
    ));
    let baseline = before.baseline();
    for _ in 0..6 {
        let (_, told) = ask(before.tcp("web"), UPGRADE);
        assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    }
    let (_, metrics, _) = before.get("/metrics");
    let failed = metrics.lines().find(|line| {
        line.starts_with("staunch_upstream_failures_total") && line.contains(&deserted.to_string())
    });
    assert!(failed.is_some_and(|line| !line.ends_with(" 0")), "it was tried: {failed:?}");
    before.settles_to(&baseline);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// A listener that is full: the kernel drops whoever asks for a connection.
fn full() -> (socket2::Socket, TcpStream, SocketAddr) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap(); // one has room, all the same
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let first = TcpStream::connect(address).unwrap();
    (socket, first, address)
}

/// Of which dialling is a part.
#[test]
fn the_time_of_a_route_holds_for_upgrades() {
    let (_listener, _first, address) = full();
    let before = gateway(&format!(
        "[[route]]\nname = 'all'\nservice = 'behind'\ntimeout = '300ms'\n\
         [[service]]\nname = 'behind'\nendpoints = ['{address}']\n{SOON}\n\
         timeouts = {{ connect = '1m' }}\n"
    ));
    let baseline = before.baseline();
    let begun = Instant::now();
    let (_, told) = ask(before.tcp("web"), UPGRADE);
    assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}
