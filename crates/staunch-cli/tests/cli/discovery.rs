//! Servers that come and go while the gateway runs: told by a file, by a real etcd, by a real name server.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::Signal;
use staunch_harness::{ConsulStandIn, DnsmasqServer, EtcdServer};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, gateway},
    process::{Process, folder},
    server::{Server, get},
};

/// A service `found` with these keys, and a route that leads there.
fn found(keys: &str, discovery: &str) -> String {
    format!(
        "[[route]]\nname = \"all\"\nservice = \"found\"\n\
         [[service]]\nname = \"found\"\nbalance = \"round-robin\"\n{keys}\n\
         [service.discovery]\n{discovery}\n"
    )
}

fn status(gateway: &Server) -> u16 {
    get(gateway.tcp("web"), "/hello").0
}

/// The number on the line of `/metrics` that begins so; `None` if there is none.
fn metric(gateway: &Server, name: &str) -> Option<f64> {
    let (_, metrics, _) = gateway.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn answers(gateway: &Server, server: SocketAddr) -> Option<f64> {
    let labels = format!("{{service=\"found\",server=\"{server}\"}}");
    metric(gateway, &format!("staunch_upstream_answers_total{labels}"))
}

fn of_discovery(gateway: &Server, name: &str) -> f64 {
    metric(gateway, &format!("staunch_discovery_{name}{{service=\"found\"")).unwrap_or(f64::NAN)
}

fn until(awaited: &str, mut look: impl FnMut() -> bool) {
    eventually(awaited, || if look() { Ok(()) } else { Err("not yet".to_owned()) });
}

/// Has clients ask all the time while `change` runs; how many answers they had, all of them 200.
fn asking<T>(gateway: &Server, change: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let (changed, asked) = thread::scope(|scope| {
        let ask = || {
            let mut asked = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(status(gateway), 200, "after {asked} answers");
                asked += 1;
            }
            asked
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        is_over.store(true, Ordering::Relaxed);
        let asked: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        (changed, asked)
    });
    assert!(asked > 10, "{asked}");
    changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How often the log says this.
fn said(gateway: &Server, text: &str) -> usize {
    gateway.process().stderr().matches(text).count()
}

#[test]
fn servers_of_a_file_come_and_go_while_requests_run() {
    let (one, other) = (Server::start(BEHIND), Server::start(BEHIND));
    let [first, second] = [&one, &other].map(|server| server.tcp("demo"));
    let list = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        fs::write(list.path().join("new"), text).unwrap();
        fs::rename(list.path().join("new"), list.path().join("servers")).unwrap();
    };
    write(&format!("{first}\n"));
    let file = list.path().join("servers").display().to_string();
    let before = gateway(&found("", &format!("file = \"{file}\"\nevery = \"100ms\"")));
    assert_eq!(status(&before), 200, "it is found before anybody is served");
    let mut stream = {
        let stream = TcpStream::connect(before.tcp("web")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        tungstenite::client("ws://localhost/ws", stream).unwrap().0
    };
    asking(&before, || {
        write(&format!("{first}\n{second} # new\n"));
        until("the other one is asked", || answers(&before, second) > Some(3.0));
        let counted = answers(&before, first);
        write(&format!("{first}\n{second}\nnonsense\n"));
        until("the mistake is told", || {
            said(&before, "servers:3: `nonsense` must be a server") == 1
        });
        assert!(answers(&before, first) >= counted, "its counts go on");
        write(&format!("{second}\n"));
        until("the first is gone", || answers(&before, first).is_none());
    });
    stream.send(Message::text("still")).unwrap();
    assert_eq!(stream.read().unwrap(), Message::text("still"), "what has begun goes on");
    drop(stream);
    one.terminate().assert_clean();
    assert_eq!(status(&before), 200);
    before.terminate().assert_clean();
    other.terminate().assert_clean();
}

#[test]
fn etcd_is_lost_and_comes_back_while_requests_run() {
    let (one, other) = (Server::start(BEHIND), Server::start(BEHIND));
    let [first, second] = [&one, &other].map(|server| server.tcp("demo"));
    let mut etcd = EtcdServer::start().unwrap();
    let keys = format!("etcd = [\"{}\"]\nprefix = \"/services/found/\"", etcd.url());
    let before = gateway(&found("", &keys));
    until("etcd has answered", || of_discovery(&before, "failures_total") > 0.0);
    assert_eq!(status(&before), 503, "nobody is known yet");
    etcd.put("/services/found/first", &first.to_string()).unwrap();
    until("it is found", || status(&before) == 200);
    assert!(of_discovery(&before, "lost_seconds").abs() < f64::EPSILON);
    asking(&before, || {
        etcd.kill().unwrap();
        until("it is noticed", || of_discovery(&before, "lost_seconds") > 0.5);
        let failures = of_discovery(&before, "failures_total");
        until("it is asked again", || of_discovery(&before, "failures_total") > failures);
        // Once for each loss, and once more if its reason is another one after ten seconds.
        let told = said(&before, "the servers that are known stay");
        assert!((2..=3).contains(&told), "{told}");
        etcd.restart().unwrap();
        etcd.put("/services/found/second", &second.to_string()).unwrap();
        etcd.compact().unwrap();
        until("the other one is asked", || answers(&before, second) > Some(3.0));
        assert!(of_discovery(&before, "lost_seconds").abs() < f64::EPSILON);
        etcd.delete("/services/found/first").unwrap();
        until("the first is gone", || answers(&before, first).is_none());
        // Another configuration for the service keeps what was found.
        let file = before.process().path("staunch.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("round-robin", "least-requests")).unwrap();
        until("it is taken up", || said(&before, "the file has changed: taken up") == 1);
        etcd.put("/services/found/first", &first.to_string()).unwrap();
        until("it is asked again", || answers(&before, first) > Some(3.0));
    });
    before.terminate().assert_clean();
    one.terminate().assert_clean();
    other.terminate().assert_clean();
}

#[test]
fn servers_of_dns_and_consul_come_and_go() {
    let (one, other) = (Server::start(BEHIND), Server::start(BEHIND));
    let [first, second] = [&one, &other].map(|server| server.tcp("demo"));
    // The second is the same machine by another address, where nobody listens: it is tried elsewhere.
    let dns = DnsmasqServer::start("127.0.0.1 found.test\n", 1, &[]).unwrap();
    let port = first.port();
    let keys = format!("dns = \"found.test:{port}\"\nresolver = \"127.0.0.1:{}\"", dns.port());
    let before = gateway(&found("", &keys));
    assert_eq!(status(&before), 200, "it is found before anybody is served");
    asking(&before, || {
        dns.change("127.0.0.1 found.test\n127.0.0.9 found.test\n").unwrap();
        until("two are known", || of_discovery(&before, "servers") > 1.5);
        dns.change("127.0.0.1 found.test\n").unwrap();
        until("one is known", || of_discovery(&before, "servers") < 1.5);
        drop(dns);
        until("it is noticed", || of_discovery(&before, "lost_seconds") > 0.0);
    });
    before.terminate().assert_clean();

    let consul = ConsulStandIn::start().unwrap();
    consul.add("found", "first", first, 1);
    let before = gateway(&found("", &format!("consul = \"{}\"", consul.url())));
    assert_eq!(status(&before), 200, "it is found before anybody is served");
    asking(&before, || {
        consul.add("found", "second", second, 2);
        until("the other one is asked", || answers(&before, second) > Some(3.0));
        consul.remove("first");
        until("the first is gone", || answers(&before, first).is_none());
        consul.answer(Some("nonsense"));
        until("it is noticed", || of_discovery(&before, "lost_seconds") > 0.0);
    });
    before.terminate().assert_clean();
    one.terminate().assert_clean();
    other.terminate().assert_clean();
}

#[test]
fn written_servers_are_used_until_others_are_found() {
    let behind = Server::start(BEHIND);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let written = format!("endpoints = [\"{}\"]", behind.tcp("demo"));
    let mut before = gateway(&found(&written, &format!("consul = \"http://{nobody}\"")));
    until("it is noticed", || of_discovery(&before, "failures_total") > 0.0);
    assert_eq!(status(&before), 200);
    // Without discovery, they are all there is; and nobody is asked any more.
    let file = before.process().path("staunch.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (without, _) = text.split_once("[service.discovery]").unwrap();
    fs::write(&file, without).unwrap();
    before.signal(Signal::HUP);
    until("nobody is asked", || of_discovery(&before, "failures_total").is_nan());
    assert_eq!(status(&before), 200);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// The connections of one that never says a word wait in its socket.
#[test]
fn a_registry_that_says_nothing_is_not_waited_for_long() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let behind = Server::start(BEHIND);
    let keys = format!("etcd = [\"http://{}\"]", mute.local_addr().unwrap());
    let keys = format!("{keys}\nprefix = \"/services/found/\"");
    let others = "[[route]]\nname = \"others\"\nservice = \"others\"\npath = \"/healthz\"\n";
    let others = format!(
        "{others}[[service]]\nname = \"others\"\nendpoints = [\"{}\"]\n",
        behind.tcp("demo")
    );
    let before = gateway(&format!("{others}{}", found("", &keys)));
    assert_eq!(said(&before, "no word of its servers"), 1, "{}", before.process().stderr());
    assert_eq!(status(&before), 503);
    assert_eq!(get(before.tcp("web"), "/healthz").0, 200, "who is known is asked");
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Nobody is asked by it.
#[test]
fn a_discovery_is_checked_without_asking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let web = "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n";
    let etcd = format!("etcd = ['http://{}']\n", listener.local_addr().unwrap());
    let check = |discovery: &str| {
        let config = format!("{web}{}", found("", discovery));
        let folder = folder(&[("staunch.toml", &config)]);
        Process::start(folder, &["check", "--config", "staunch.toml"]).ended()
    };
    let good = check(&format!("{etcd}prefix = '/services/found/'"));
    assert_eq!(good.code, Some(0), "{good:?}");
    let bad = check(&format!("{etcd}prefix = '/services/found'\nuser = 'a'\nevery = '1s'"));
    assert_eq!(bad.code, Some(2));
    for part in ["which ends in `/`", "`password_file` is missing", "belongs to `file`"] {
        assert!(bad.stderr.contains(part), "{part}: {}", bad.stderr);
    }
    assert!(listener.accept().is_err(), "somebody was asked");
}
