//! Datagrams that are too long, and peers that are too many.

use std::net::{SocketAddr, UdpSocket};

use crate::{
    PATIENCE, PAUSE,
    abuse::{Healthy, beside},
    eventually,
    server::Server,
};

const LISTENERS: &str = r#"
[[listener]]
name = "udp"
protocol = "udp-echo"
listen = "127.0.0.1:0"
[listener.limits]
datagram = "1KiB"
peers = 10
peer_idle = "1s"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
"#;

pub(crate) fn client(server: &Server) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.tcp("udp")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[track_caller]
fn echo(client: &UdpSocket) {
    client.send(b"hi there").unwrap();
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"Echo: hi there\n");
}

#[test]
fn long_datagrams_and_many_peers_leave_nothing() {
    let server = Server::start(LISTENERS);
    let baseline = server.baseline();
    beside(Healthy::Returns, server.tcp("echo"), || {
        let rude = client(&server);
        for _ in 0..1_000 {
            rude.send(&[b'x'; 2 << 10]).unwrap();
            rude.send(&[]).unwrap();
        }
        assert!(server.observed("udp-oversize") > 0);
        is_answered(&server); // whatever was before it has gone, and there is room for the next
        for _ in 0..100 {
            echo(&client(&server));
        }
        assert!(server.observed("udp-peers-full") > 0);
    });
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

/// A gateway before these servers; `more` goes before everything else.
pub(crate) fn before(servers: &[SocketAddr], limits: &str, more: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|it| format!("\"{it}\"")).collect();
    format!(
        "{more}\n[[listener]]\nname = \"udp\"\nprotocol = \"udp\"\nservice = \"behind\"\n\
         listen = \"127.0.0.1:0\"\n[listener.limits]\n{limits}\n\
         [[service]]\nname = \"behind\"\nendpoints = [{}]\n",
        servers.join(", ")
    )
}

const TAKEN: &str = "staunch_udp_datagrams_total{listener=\"udp\"}";
const PRESSURE: &str = "staunch_udp_dropped_total{listener=\"udp\",reason=\"pressure\"}";
const DESCRIPTORS: &str = "staunch_udp_dropped_total{listener=\"udp\",reason=\"descriptors\"}";

/// Sends, each time from another port, until so many are counted there: the kernel may drop some.
fn flood(server: &Server, count: u64, counted: &str) {
    eventually("they have come", || {
        for _ in 0..50 {
            client(server).send(b"hi there").unwrap();
        }
        let come = number(server, counted);
        if come >= count { Ok(()) } else { Err(come.to_string()) }
    });
}

/// Waits for the first answer, asking again and again: datagrams may be lost.
fn is_answered(server: &Server) {
    let client = client(server);
    client.set_read_timeout(Some(PAUSE)).unwrap();
    eventually("it is answered", || {
        client.send(b"hi there").unwrap();
        client.recv(&mut [0; 64]).map_err(|error| error.to_string())
    });
}

/// One of the numbers on `/metrics`.
pub(crate) fn number(server: &Server, name: &str) -> u64 {
    let (_, metrics, _) = server.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
}

pub(crate) fn becomes_more_than_none(server: &Server, name: &str) {
    eventually(name, || if number(server, name) > 0 { Ok(()) } else { Err("0".to_owned()) });
}

fn of_server(name: &str, server: SocketAddr, more: &str) -> String {
    format!("{name}{{service=\"behind\",server=\"{server}\"{more}}}")
}

/// Where nobody listens.
fn deserted() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The newest are served; those that were silent for longest have made room.
#[test]
fn clients_of_a_service_have_no_more_sockets_than_peers() {
    const PEERS: usize = 20;
    let behind = Server::start(LISTENERS);
    let servers = [behind.tcp("udp")];
    let server = Server::start(&before(&servers, &format!("peers = {PEERS}"), ""));
    let before = server.process().fds();
    for round in 1..=10 {
        flood(&server, round * 100, TAKEN);
        let fds = server.process().fds();
        assert!(fds <= before + PEERS + SPARE, "{before} and {PEERS}, but {fds} are open");
        is_answered(&server);
    }
    let evicted = number(&server, "staunch_udp_evicted_total{listener=\"udp\"}");
    assert!(evicted >= 900, "{evicted}");
    assert!(server.observed("udp-peers-full") < 100, "not once for each");
    let sockets = server.connections("idle") + server.connections("read");
    assert!(sockets <= (PEERS + SPARE) as u64, "{sockets}");
    server.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Connections of the admin endpoint that have not quite ended.
const SPARE: usize = 10;

#[test]
fn clients_that_are_new_are_refused_under_pressure() {
    let behind = Server::start(LISTENERS);
    let guard = "[guard]\nmemory = \"512MiB\"\nwarn = 1\nshed = 1\nrefuse = 1\n";
    let server = Server::start(&before(&[behind.tcp("udp")], "", guard));
    flood(&server, 200, PRESSURE);
    assert_eq!(number(&server, TAKEN), 0);
    assert!(server.observed("udp-refused") < 10, "it is said seldom");
    server.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Sockets to servers leave the last descriptors to others.
#[test]
fn the_admin_endpoint_can_be_reached_in_a_flood_of_datagrams() {
    const FILES: usize = 128;
    let behind = Server::start(LISTENERS);
    let config = before(&[behind.tcp("udp")], "", "");
    let server = Server::start_with_files(FILES, &config);
    eventually("it knows what it has opened itself", || {
        let seen = number(&server, "staunch_guard_fds{guard=\"staunch\"}") as usize;
        let fds = server.process().fds();
        if seen + 2 >= fds { Ok(()) } else { Err(format!("{seen} of {fds}")) }
    });
    flood(&server, 10 * FILES as u64, PRESSURE);
    assert_eq!(server.get("/healthz").0, 200);
    let fds = server.process().fds();
    assert!(fds < FILES, "{fds}");
    assert_eq!(number(&server, DESCRIPTORS), 0, "none was missing");
    assert_eq!(server.terminate().code, Some(0));
    behind.terminate().assert_clean();
}

/// Of the server nothing is said when it is us who have no descriptors.
#[test]
fn who_lacks_descriptors_blames_no_server() {
    const FILES: usize = 64;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let config = before(&[address], "peer_idle = \"500ms\"", "[guard]\nenabled = false");
    let server = Server::start_with_files(FILES, &config);
    for _ in 0..10 * FILES {
        client(&server).send(b"hi there").unwrap();
    }
    // Until clients are forgotten, the admin endpoint has no descriptors either.
    becomes_more_than_none(&server, DESCRIPTORS);
    let failed = of_server("staunch_upstream_failures_total", address, ",reason=\"unreachable\"");
    assert_eq!(number(&server, &failed), 0);
    let answers = of_server("staunch_upstream_answers_total", address, "");
    assert_eq!(number(&server, &answers), 0, "it has said nothing");
    let ended = server.terminate();
    assert!(ended.stderr.contains("datagrams are dropped"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("no answer"), "{}", ended.stderr);
}

#[test]
fn a_server_that_does_not_listen_is_left_out() {
    let behind = Server::start(LISTENERS);
    let (well, dead) = (behind.tcp("udp"), deserted());
    let server = Server::start(&before(&[well, dead], "", ""));
    let ejections = of_server("staunch_upstream_ejections_total", dead, "");
    for _ in 0..40 {
        client(&server).send(b"hi there").unwrap(); // each says one thing
    }
    becomes_more_than_none(&server, &ejections);
    for _ in 0..10 {
        echo(&client(&server)); // without asking again
    }
    let failed = of_server("staunch_upstream_failures_total", dead, ",reason=\"unreachable\"");
    assert!(number(&server, &failed) >= 5);
    assert_eq!(number(&server, &of_server("staunch_upstream_answers_total", dead, "")), 0);
    assert!(number(&server, &of_server("staunch_upstream_answers_total", well, "")) >= 10);
    let ended = server.terminate();
    ended.assert_clean();
    assert!(ended.stderr.contains("no answer: "), "{}", ended.stderr);
    behind.terminate().assert_clean();
}

/// Also when it is a client's second datagram that hears of it.
#[test]
fn a_server_that_has_gone_has_not_answered() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    let server = Server::start(&before(&[address], "", ""));
    let failed = of_server("staunch_upstream_failures_total", address, ",reason=\"unreachable\"");
    let client = client(&server);
    client.send(b"hi there").unwrap();
    gone.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_, session) = gone.recv_from(&mut [0; 64]).unwrap();
    gone.send_to(b"hi", session).unwrap();
    assert_eq!(client.recv(&mut [0; 64]).unwrap(), 2);
    assert_eq!(number(&server, &failed), 0);
    drop(gone);
    client.send(b"are you there?").unwrap();
    becomes_more_than_none(&server, &failed);
    let back = UdpSocket::bind(address).unwrap();
    back.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(b"and now?").unwrap();
    let (_, session) = back.recv_from(&mut [0; 64]).unwrap();
    back.send_to(b"yes", session).unwrap();
    assert_eq!(client.recv(&mut [0; 64]).unwrap(), 3);
    assert_eq!(number(&server, &of_server("staunch_upstream_answers_total", address, "")), 2);
    server.terminate().assert_clean();
}
