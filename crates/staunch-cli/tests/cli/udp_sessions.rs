//! A client's datagrams: whose they are when servers come and go, and what of them is answered.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    PATIENCE, PAUSE, eventually,
    listeners::{TAKEN_UP, reload, written},
    server::Server,
    udp::{becomes_more_than_none, before, client, number},
};

/// A server of datagrams, whose answers the test says itself.
fn behind(at: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

const ANY: &str = "127.0.0.1:0";

/// What came, and from which socket of the gateway.
fn received(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut datagram = [0; 64];
    let (length, from) = socket.recv_from(&mut datagram).unwrap();
    (String::from_utf8_lossy(&datagram[..length]).into_owned(), from)
}

#[track_caller]
fn hears(client: &UdpSocket, text: &str) {
    assert_eq!(received(client).0, text);
}

/// Sends until something comes to `server`, where it did not go before: from there on.
fn comes_to(client: &UdpSocket, server: &UdpSocket) -> SocketAddr {
    server.set_read_timeout(Some(PAUSE)).unwrap();
    let from = eventually("it goes to the other server", || {
        client.send(b"who is there?").unwrap();
        let (_, from) = server.recv_from(&mut [0; 64]).map_err(|error| error.to_string())?;
        Ok(from)
    });
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    from
}

/// Whether the gateway's socket of a session has gone.
fn has_ended(server: &UdpSocket, session: SocketAddr) {
    server.connect(session).unwrap(); // or it hears of nothing
    eventually("the session's socket is closed", || match server.send(b"are you there?") {
        Ok(_) => Err("it is open".to_owned()),
        Err(_) => Ok(()),
    });
}

/// A gateway that has begun to end: it takes no connections any more.
fn asked_to_stop(server: &mut Server) {
    server.signal(Signal::TERM);
    eventually("it drains", || match server.get("/readyz").0 {
        503 => Ok(()),
        status => Err(status.to_string()),
    });
}

#[test]
fn answers_on_their_way_arrive_although_the_gateway_ends() {
    let (socket, address) = behind(ANY);
    let mut server = Server::start(&before(&[address], "", ""));
    let client = client(&server);
    for text in ["one", "two", "three"] {
        client.send(text.as_bytes()).unwrap();
    }
    let [(_, session), ..] = [(); 3].map(|()| received(&socket)); // in any order
    asked_to_stop(&mut server);
    for text in ["1", "2", "3"] {
        socket.send_to(text.as_bytes(), session).unwrap();
        hears(&client, text);
    }
    let ended = server.ended();
    ended.assert_clean();
    assert!(
        ended.took < Duration::from_secs(4),
        "not when the time for answers is over: {ended:#?}"
    );
}

#[test]
fn datagrams_of_a_client_keep_their_order() {
    let (socket, address) = behind(ANY);
    let server = Server::start(&before(&[address], "", ""));
    let client = client(&server);
    client.send(b"0").unwrap();
    received(&socket);
    for round in 0..20 {
        for number in 1..=50 {
            client.send((50 * round + number).to_string().as_bytes()).unwrap();
        }
        let numbers = (0..50).map(|_| received(&socket).0.parse::<u32>().unwrap());
        let numbers: Vec<u32> = numbers.collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    server.terminate().assert_clean();
}

/// Of one who is never answered nobody knows that he is not waiting.
#[test]
fn who_is_not_answered_does_not_keep_the_gateway_from_its_end() {
    let (socket, address) = behind(ANY);
    let mut server = Server::start(&before(&[address], "", "[drain]\ngrace = \"3s\"\n"));
    client(&server).send(b"one").unwrap();
    received(&socket);
    asked_to_stop(&mut server);
    let ended = server.ended();
    ended.assert_clean();
    assert!(ended.last_line().contains("0 cut"), "{}", ended.last_line());
}

#[test]
fn a_client_leaves_a_server_that_is_taken_away() {
    let ((first, a), (second, b)) = (behind(ANY), behind(ANY));
    let mut server = Server::start(&before(&[a], "", ""));
    let (busy, waiting) = (client(&server), client(&server));
    let sessions = [&busy, &waiting].map(|client| {
        client.send(b"one").unwrap();
        received(&first).1
    });
    let text = written(&server).replace(&a.to_string(), &b.to_string());
    reload(&mut server, &text, TAKEN_UP);
    let session = comes_to(&busy, &second);
    second.send_to(b"I am", session).unwrap();
    hears(&busy, "I am");
    // Who waits has the answer of the one that was asked.
    first.send_to(b"two", sessions[1]).unwrap();
    hears(&waiting, "two");
    for session in sessions {
        has_ended(&first.try_clone().unwrap(), session);
    }
    server.terminate().assert_clean();
}

/// A server whose health is asked by TCP, at the same port.
fn with_health() -> (TcpListener, UdpSocket, SocketAddr) {
    let bound = || {
        let health = TcpListener::bind(ANY).ok()?;
        let address = health.local_addr().ok()?;
        Some((health, UdpSocket::bind(address).ok()?, address))
    };
    (0..100).find_map(|_| bound()).expect("a port that is free for both")
}

#[test]
fn a_client_leaves_a_server_that_is_not_well() {
    let servers = [with_health(), with_health()];
    let addresses = [servers[0].2, servers[1].2];
    let health = "[service.health]\nevery = \"100ms\"\nfailures = 1\nsuccesses = 1\n";
    let server = Server::start(&(before(&addresses, "", "") + health));
    let client = client(&server);
    for (_, socket, _) in &servers {
        socket.set_read_timeout(Some(PAUSE)).unwrap();
    }
    let asked = eventually("one of them is asked", || {
        client.send(b"one").unwrap();
        let heard = servers.iter().position(|(_, socket, _)| socket.recv(&mut [0; 64]).is_ok());
        heard.ok_or_else(|| "none is".to_owned())
    });
    let [first, second] = servers;
    let (asked, other) = if asked == 0 { (first, second) } else { (second, first) };
    drop(asked.0); // it would still answer
    let session = comes_to(&client, &other.1);
    other.1.send_to(b"I am", session).unwrap();
    hears(&client, "I am");
    server.terminate().assert_clean();
}

#[test]
fn an_answer_that_is_too_long_is_not_the_end() {
    const TOO_LONG: &str = "staunch_udp_dropped_total{listener=\"udp\",reason=\"too_long\"}";
    let (socket, address) = behind(ANY);
    let server = Server::start(&before(&[address], "", ""));
    let client = client(&server);
    client.send(b"one").unwrap();
    let (_, session) = received(&socket);
    socket.send_to(&[b'x'; 1_473], session).unwrap();
    becomes_more_than_none(&server, TOO_LONG);
    socket.send_to(b"two", session).unwrap();
    hears(&client, "two");
    assert_eq!(number(&server, TOO_LONG), 1);
    server.terminate().assert_clean();
}

#[test]
fn a_server_may_have_a_name() {
    let (socket, address) = behind("localhost:0"); // at the first of its addresses
    let named = format!("localhost:{}", address.port());
    let config = before(&[address], "", "").replace(&address.to_string(), &named);
    let server = Server::start(&config);
    let clients = [(); 20].map(|()| client(&server));
    for client in &clients {
        client.send(b"one").unwrap();
        let (_, session) = received(&socket);
        socket.send_to(b"two", session).unwrap();
        hears(client, "two");
    }
    server.terminate().assert_clean();
}
