//! Whatever is with a server is on the ledger with its route, its client and the server.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite;

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, SOON},
    server::Server,
};

/// A connection from this address of the loopback network.
fn connect_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// A client that has got the beginning of an endless answer.
fn listens(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let mut client = connect_from(ip, to);
    client.write_all(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 64]).unwrap();
    client
}

/// curl, which speaks HTTP/2 and listens until it is killed.
struct Curl(Child);

impl Curl {
    fn listens(to: SocketAddr) -> Curl {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--no-buffer", "--http2-prior-knowledge"]);
        curl.arg(format!("http://{to}/sse")).stdout(Stdio::piped());
        let mut child = curl.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
        Curl(child)
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ledger's holdings of a route: kind, count, and the rest.
fn held(server: &Server, route: &str) -> Vec<Value> {
    let ledger = server.admin_json(&format!("/debug/ledger?route={route}")).body;
    ledger["routes"].as_array().unwrap().clone()
}

#[test]
fn what_is_held_names_its_route_client_and_server() {
    let behind = Server::start(BEHIND);
    let (demo, echo) = (behind.tcp("demo"), behind.tcp("echo"));
    let server = Server::start(&format!(
        "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n\
         [[listener]]\nname = 'lines'\nprotocol = 'tcp'\nlisten = '127.0.0.1:0'\nservice = 'echo'\n\
         [[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
         [[route]]\nname = 'events'\npath = '/sse'\nservice = 'demo'\n\
         [[route]]\nname = 'talk'\npath = '/ws'\nservice = 'demo'\n\
         [[service]]\nname = 'demo'\nendpoints = ['{demo}']\n{SOON}\n\
         [[service]]\nname = 'echo'\nendpoints = ['{echo}']\n"
    ));
    let baseline = server.baseline();
    let web = server.tcp("web");
    let [here, there] = [[127, 0, 0, 1], [127, 0, 0, 2]];
    let fast = [here, there, there].map(|ip| listens(ip, web));
    let long = Curl::listens(web);
    let talking = tungstenite::client(format!("ws://{web}/ws"), connect_from(there, web)).unwrap();
    let mut lines = connect_from(here, server.tcp("lines"));
    lines.write_all(b"a line\n").unwrap();
    lines.read_exact(&mut [0; 8]).unwrap();

    let shares = |addresses: &[(&str, u64)]| {
        let share = |(address, count): &(&str, u64)| json!({ "address": address, "count": count });
        Value::from(addresses.iter().map(share).collect::<Vec<_>>())
    };
    let check = |of: &Value, kind: &str, clients: &[(&str, u64)], server: SocketAddr| {
        let all: u64 = clients.iter().map(|(_, count)| count).sum();
        assert_eq!((&of["kind"], &of["count"]), (&kind.into(), &all.into()), "{of}");
        assert_eq!(of["clients"], shares(clients), "{of}");
        assert_eq!(of["upstreams"], shares(&[(&server.to_string(), all)]), "{of}");
    };
    let events = held(&server, "events");
    check(&events[0], "request", &[("127.0.0.2", 2), ("127.0.0.1", 1)], demo);
    check(&events[1], "stream", &[("127.0.0.1", 1)], demo);
    check(&held(&server, "talk")[0], "stream", &[("127.0.0.2", 1)], demo);
    check(&held(&server, "echo")[0], "stream", &[("127.0.0.1", 1)], echo);
    let said = events[0]["text"].as_str().unwrap();
    let expected = format!("route events holds 3 requests, 2 from 127.0.0.2, 3 at {demo}, oldest ");
    assert!(said.starts_with(&expected), "{said}");

    drop((fast, long, talking, lines));
    eventually("nothing is held any more", || {
        let left = ["events", "talk", "echo"].map(|route| held(&server, route)).concat();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}
