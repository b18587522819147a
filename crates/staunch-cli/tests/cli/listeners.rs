//! Listeners that come, go and change while it serves.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};
use staunch_harness::free_port;

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, gateway, service},
    process::folder,
    routes::curl,
    server::{Server, get},
};

/// Writes the file and waits until the log says what comes of it, once more.
pub(crate) fn reload(server: &mut Server, text: &str, says: &str) {
    std::fs::write(server.process().path("staunch.toml"), text).unwrap();
    let before = server.process().stderr().matches(says).count();
    server.signal(Signal::HUP);
    eventually("it is taken up", || {
        let log = server.process().stderr();
        if log.matches(says).count() > before { Ok(()) } else { Err(log) }
    });
}

pub(crate) const TAKEN_UP: &str = "SIGHUP: taken up";

pub(crate) fn written(server: &Server) -> String {
    std::fs::read_to_string(server.process().path("staunch.toml")).unwrap()
}

fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port().unwrap()).into()
}

/// Whether somebody listens there; a connection that nobody accepts would be one that hangs.
fn listens(to: SocketAddr) -> bool {
    match TcpStream::connect(to) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
        Err(error) => panic!("{error}"),
    }
}

/// A connection of HTTP that is kept.
fn begin(to: SocketAddr, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(to).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    client
}

#[test]
fn a_new_one_is_served_and_one_that_is_gone_drains() {
    let behind = Server::start(BEHIND);
    let mut server = gateway(&service(behind.tcp("demo"), ""));
    let baseline = server.baseline();
    let (text, more) = (written(&server), free_address());
    let with = format!(
        "{text}\n[[listener]]\nname = 'more'\nprotocol = 'http'\nlisten = '{more}'\n\
         [[route]]\nname = 'more'\nlisteners = ['more']\npath = '/hello'\nservice = 'behind'\n\
         [[route]]\nname = 'slow'\nlisteners = ['more']\npath = '/slow'\nservice = 'behind'\n"
    );
    for _ in 0..3 {
        // From the first connection that is accepted there are routes for it.
        std::fs::write(server.process().path("staunch.toml"), &with).unwrap();
        server.signal(Signal::HUP);
        let status = eventually("it is served", || match TcpStream::connect(more) {
            Ok(_) => Ok(get(more, "/hello").0),
            Err(error) => Err(error.to_string()),
        });
        assert_eq!(status, 200);
        let mut begun = begin(more, "/slow?ms=800");
        let mut late = TcpStream::connect(more).unwrap();
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        late.write_all(b"GET /hello HTTP/1.1\r\nHo").unwrap();
        eventually("it has begun", || {
            let held = server.admin_json("/debug/ledger?route=slow").body["routes"].clone();
            if held[0]["count"] == 1 { Ok(()) } else { Err(held.to_string()) }
        });
        eventually("a head has begun", || match server.connections("read+rest") {
            0 => Err("nothing has come of it".to_owned()),
            _ => Ok(()),
        });
        reload(&mut server, &text, TAKEN_UP);
        assert!(!listens(more), "nobody is left hanging");
        late.write_all(b"st: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "by a route that is gone: {answer}");
        let mut answer = String::new();
        begun.read_to_string(&mut answer).unwrap(); // to the end of the connection
        assert!(answer.ends_with("That took 800 ms.\n"), "by a route that is gone: {answer}");
        assert_eq!(curl(server.tcp("web"), "/hello", &[]).1, 200);
    }
    server.settles_to(&baseline);
    server.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let behind = Server::start(BEHIND);
    let mut server = gateway(&service(behind.tcp("demo"), ""));
    let baseline = server.baseline();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (text, address, free) = (written(&server), taken.local_addr().unwrap(), free_address());
    let tcp = |name: &str, listen: SocketAddr| {
        format!(
            "\n[[listener]]\nname = '{name}'\nprotocol = 'tcp'\nlisten = '{listen}'\nservice = 'behind'\n"
        )
    };
    let both = text.clone() + &tcp("free", free) + &tcp("taken", address);
    reload(&mut server, &both, &format!("taken: {address}: already in use"));
    assert!(!listens(free), "nor is the other one served");
    drop(taken);
    reload(&mut server, &both, TAKEN_UP);
    assert_eq!(curl(free, "/hello", &[]).1, 200);
    assert_eq!(curl(address, "/hello", &[]).1, 200);
    reload(&mut server, &text, TAKEN_UP);
    server.settles_to(&baseline);
    server.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Nobody who connects meanwhile is refused, reset or told that there is no route.
#[test]
fn one_that_changes_hands_its_sockets_on() {
    let behind = Server::start(BEHIND);
    let (web, demo) = (free_address(), behind.tcp("demo"));
    let config = |name: &str, connections: u32| {
        format!(
            "[runtime]\nworkers = 2\n[drain]\ngrace = '5s'\n\
             [[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
             [[listener]]\nname = '{name}'\nprotocol = 'http'\nlisten = '{web}'\n\
             limits.connections = {connections}\nlimits.connections_per_ip = {connections}\n\
             [[route]]\nname = 'all'\nlisteners = ['{name}']\nservice = 'behind'\n\
             [[service]]\nname = 'behind'\nendpoints = ['{demo}']\npool = {{ idle_time = '100ms' }}\n"
        )
    };
    let mut server = Server::start(&config("web", 1000));
    let baseline = server.baseline();
    let head = written(&server).split_once("[runtime]").unwrap().0.to_owned();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(scope.spawn(|| {
                let mut served = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(get(web, "/hello").0, 200);
                    served += 1;
                }
                served
            }));
        }
        for turn in 0..20 {
            let name = if turn % 4 < 2 { "web" } else { "renamed" };
            reload(&mut server, &(head.clone() + &config(name, 900 + turn)), TAKEN_UP);
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 20);
        }
    });
    reload(&mut server, &(head + &config("web", 1000)), TAKEN_UP);
    server.settles_to(&baseline);
    server.terminate().assert_clean();
    behind.terminate().assert_clean();
}

fn curl_unix(socket: &Path, path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", "--unix-socket"]).arg(socket);
    let output = curl.arg(format!("http://a{path}")).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_file_of_a_unix_socket_goes_with_the_last_that_listens_there() {
    let behind = Server::start(BEHIND);
    let mut server = gateway(&service(behind.tcp("demo"), ""));
    let baseline = server.baseline();
    let (text, socket) = (written(&server), server.process().path("gate.sock"));
    let with = |connections: u32| {
        format!(
            "{text}\n[[listener]]\nname = 'unix'\nprotocol = 'http'\nlisten = 'unix:{}'\n\
             limits.connections = {connections}\n",
            socket.display()
        )
    };
    for connections in [10, 11, 12] {
        reload(&mut server, &with(connections), TAKEN_UP);
        assert_eq!(curl_unix(&socket, "/hello"), "Hello.\n", "{connections}");
    }
    eventually("the others have drained", || {
        let listeners = server.admin_json("/debug/ledger?kind=listener").body["entries"].clone();
        let there = listeners.as_array().unwrap().iter();
        let there = there.filter(|it| it["label"].as_str().unwrap().contains("gate.sock")).count();
        // Two cores, and both once more for a successor.
        if there == 4 { Ok(()) } else { Err(listeners.to_string()) }
    });
    assert_eq!(curl_unix(&socket, "/hello"), "Hello.\n");
    reload(&mut server, &text, TAKEN_UP);
    eventually(
        "it is gone",
        || if socket.exists() { Err("it is there".to_owned()) } else { Ok(()) },
    );
    assert!(UnixStream::connect(&socket).is_err());
    server.settles_to(&baseline);
    server.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn a_successor_has_those_that_came() {
    let behind = Server::start(BEHIND);
    let mut server = gateway(&service(behind.tcp("demo"), ""));
    let (text, more) = (written(&server), free_address());
    let with = format!(
        "{text}\n[[listener]]\nname = 'more'\nprotocol = 'tcp'\nlisten = '{more}'\nservice = 'behind'\n"
    );
    reload(&mut server, &with, TAKEN_UP);
    // Connected, and to be accepted by whoever can.
    let waiting: Vec<_> = (0..20).map(|_| begin(more, "/hello")).collect();
    server.signal(Signal::USR2);
    let successor = successor(&server);
    for mut client in waiting {
        let mut head = [0; 15];
        client.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
    server.ended().assert_clean();
    assert_eq!(get(more, "/hello").0, 200);
    end(successor);
    assert!(!listens(more));
    behind.terminate().assert_clean();
}

/// Once it has taken over.
fn successor(server: &Server) -> Pid {
    let pid = eventually("a successor takes over", || {
        let log = server.process().stderr();
        let pid = log.rsplit_once("process ").and_then(|(_, rest)| rest.split_once(" has taken"));
        pid.and_then(|(pid, _)| pid.parse::<i32>().ok()).ok_or(log)
    });
    Pid::from_raw(pid).unwrap()
}

fn end(successor: Pid) {
    kill_process(successor, Signal::TERM).unwrap();
    eventually("the successor has ended", || {
        let is_there = Path::new(&format!("/proc/{}", successor.as_raw_nonzero())).exists();
        if is_there { Err("it is there".to_owned()) } else { Ok(()) }
    });
}

/// Or it would remove what the successor has been handed.
#[test]
fn a_reload_waits_until_an_upgrade_has_come_about() {
    let folder = folder(&[]);
    let behind = Server::start(BEHIND);
    let socket = folder.path().join("gate.sock"); // where it outlives the first process
    let unix = format!(
        "[[listener]]\nname = 'unix'\nprotocol = 'http'\nlisten = 'unix:{}'\n",
        socket.display()
    );
    let mut server = gateway(&(service(behind.tcp("demo"), "") + &unix));
    let (config, with) = (server.process().path("staunch.toml"), written(&server));
    // Who reads this one waits until somebody writes it, whole.
    std::fs::remove_file(&config).unwrap();
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    server.signal(Signal::USR2);
    // Opened, as the successor has: so it knows by now what it is to be.
    let mut writes = File::create(&config).unwrap();
    std::fs::remove_file(&config).unwrap();
    reload(&mut server, &with.replace(&unix, ""), "SIGHUP: waits for what changes already");
    writes.write_all(with.as_bytes()).unwrap();
    drop(writes);
    let successor = successor(&server);
    assert_eq!(curl_unix(&socket, "/hello"), "Hello.\n");
    let ended = server.ended();
    ended.assert_clean();
    assert!(!ended.stderr.contains(TAKEN_UP), "{}", ended.stderr);
    assert_eq!(curl_unix(&socket, "/hello"), "Hello.\n");
    end(successor);
    assert!(!socket.exists());
    behind.terminate().assert_clean();
}

/// Without a listener of the gateway there is nothing that a reload could change; it is no end, either.
#[test]
fn a_hangup_ends_nothing() {
    let mut server =
        Server::start("[[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n");
    server.signal(Signal::HUP);
    eventually("it is said", || {
        let log = server.process().stderr();
        if log.contains("SIGHUP, but without") { Ok(()) } else { Err(log) }
    });
    server.client().echo("hello");
    server.terminate().assert_clean();
}
