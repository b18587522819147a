//! Servers that fail in each phase: the client is told within its time, nothing is left, and others
//! are served meanwhile.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, SOON, gateway, head},
    server::{Server, get},
};

/// What a server does with each connection, once it has read a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It says nothing.
    Silence,
    /// It closes.
    Close,
    /// It resets.
    Reset,
    /// Half of a head.
    HalfHead,
    /// A head and half of a body, and nothing more.
    HalfBody,
    /// The same, and it resets.
    ResetInBody,
    /// What is no HTTP.
    Garbage,
    /// A status that there is not.
    BadStatus,
    /// Two lengths.
    TwoLengths,
    /// A head without an end.
    EndlessHead,
    /// A chunk that is none.
    BadChunk,
}

const ALL: [Fault; 11] = [
    Fault::Silence,
    Fault::Close,
    Fault::Reset,
    Fault::HalfHead,
    Fault::HalfBody,
    Fault::ResetInBody,
    Fault::Garbage,
    Fault::BadStatus,
    Fault::TwoLengths,
    Fault::EndlessHead,
    Fault::BadChunk,
];

impl Fault {
    /// Every server has this many milliseconds for each phase.
    const PHASE: u64 = 300;

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// What the client sees: a status, or a body that breaks off.
    fn expected(self) -> Seen {
        match self {
            Fault::Silence | Fault::HalfHead => Seen::Status(504),
            Fault::HalfBody | Fault::ResetInBody | Fault::BadChunk => Seen::Broken,
            _ => Seen::Status(502),
        }
    }

    fn act(self, client: &mut TcpStream) -> std::io::Result<()> {
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
        match self {
            Fault::Silence => wait_for_end(client),
            Fault::Close => Ok(()),
            Fault::Reset => socket2::SockRef::from(&*client).set_linger(Some(Duration::ZERO)),
            Fault::HalfHead => {
                client.write_all(b"HTTP/1.1 200 OK\r\nContent-")?;
                wait_for_end(client)
            }
            Fault::HalfBody => {
                client.write_all(half)?;
                wait_for_end(client)
            }
            Fault::ResetInBody => {
                client.write_all(half)?;
                // Not before it is there: a reset overtakes what was sent.
                thread::sleep(Duration::from_millis(50));
                socket2::SockRef::from(&*client).set_linger(Some(Duration::ZERO))
            }
            Fault::Garbage => client.write_all(b"\x16\x03\x01 220 what?\r\n\r\n"),
            Fault::BadStatus => client.write_all(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
            Fault::TwoLengths => client
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            Fault::EndlessHead => {
                client.write_all(b"HTTP/1.1 200 OK\r\n")?;
                for _ in 0..2000 {
                    client.write_all(b"X-Again: and again and again and again and again\r\n")?;
                }
                Ok(())
            }
            Fault::BadChunk => {
                client.write_all(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                )?;
                thread::sleep(Duration::from_millis(50));
                client.write_all(b"zz\r\nab\r\n")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Status(u16),
    Broken,
}

fn wait_for_end(client: &mut TcpStream) -> std::io::Result<()> {
    client.read_to_end(&mut Vec::new()).map(|_| ())
}

/// A server with a fault.
struct Faulty {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Faulty {
    fn start(fault: Fault) -> Faulty {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let serve = move || {
            for client in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let mut client = client.unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                head(&mut client);
                let _ = fault.act(&mut client); // who is behind it may have had enough
            }
        };
        let thread = Some(thread::Builder::new().spawn(serve).unwrap());
        Faulty { address, ends, thread }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // so that it looks
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// What curl sees, and how long it took.
fn ask(web: SocketAddr, path: &str, version: &str) -> (Seen, Duration) {
    let begun = Instant::now();
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    let output = curl.args([version, &format!("http://{web}{path}")]).output().unwrap();
    let status = String::from_utf8_lossy(&output.stdout).parse().unwrap();
    let seen = match (output.status.code(), status) {
        (Some(0), status) => Seen::Status(status),
        // A transfer that ended early, a stream that was reset, or a chunk that is none.
        (Some(18 | 56 | 92), 200) => Seen::Broken,
        other => panic!("{path} {version}: {other:?}"),
    };
    (seen, begun.elapsed())
}

#[test]
fn whatever_a_server_does_its_client_is_told_and_nobody_else_notices() {
    let behind = Server::start(BEHIND);
    let faulty = ALL.map(|fault| (fault, Faulty::start(fault)));
    let service = |name: &str, server: SocketAddr| {
        let phase = Fault::PHASE;
        format!(
            "[[route]]\nname = '{name}'\nservice = '{name}'\npath = '/{name}/*'\nstrip_prefix = true\n\
             [[service]]\nname = '{name}'\nendpoints = ['{server}']\n{SOON}\n\
             outliers = {{ failures = 0 }}\nretry = {{ tries = 1 }}\n\
             timeouts = {{ connect = '{phase}ms', first_byte = '{phase}ms', stall = '{phase}ms' }}\n"
        )
    };
    let services = faulty.iter().map(|(fault, server)| service(&fault.name(), server.address));
    let services: Vec<String> = services.collect();
    let before = gateway(&(services.concat() + &service("well", behind.tcp("demo"))));
    let web = before.tcp("web");
    assert_eq!(get(web, "/well/hello").0, 200);
    let baseline = (before.baseline(), behind.baseline());
    let ends = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&ends);
    let others = move || {
        let (mut times, mut worst) = (0, Duration::ZERO);
        while !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5)); // other tests run, too
            let begun = Instant::now();
            assert_eq!(get(web, "/well/hello").0, 200);
            (times, worst) = (times + 1, worst.max(begun.elapsed()));
        }
        (times, worst)
    };
    let others = thread::Builder::new().spawn(others).unwrap();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (fault, _) in &faulty {
            let (seen, took) = ask(web, &format!("/{}/x", fault.name()), version);
            assert_eq!(seen, fault.expected(), "{fault:?} {version}");
            let phases = Duration::from_millis(3 * Fault::PHASE) + Duration::from_secs(1);
            assert!(took < phases, "{fault:?} {version}: {took:?}");
        }
    }
    ends.store(true, Ordering::Relaxed);
    let (times, worst) = others.join().unwrap();
    assert!(times > 10 && worst < Duration::from_secs(1), "{times} {worst:?}");
    before.settles_to(&baseline.0);
    behind.settles_to(&baseline.1);
    drop(faulty);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Waiting for a connection that others use is not the server's doing.
#[test]
fn who_stood_in_line_has_the_whole_time_of_an_answer() {
    let behind = Server::start(BEHIND);
    let before = Server::start(&format!(
        "[runtime]\nworkers = 1\n\
         [[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n\
         [[route]]\nname = 'all'\nservice = 'behind'\n\
         [[service]]\nname = 'behind'\nendpoints = ['{}']\nretry = {{ tries = 1 }}\n\
         pool = {{ connections = 1, idle_time = '100ms' }}\n\
         timeouts = {{ connect = '20s', first_byte = '1500ms' }}\n",
        behind.tcp("demo")
    ));
    let web = before.tcp("web");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let asking = || ask(web, "/slow?ms=800", version).0;
        let seen = thread::scope(|threads| {
            [(); 3].map(|()| threads.spawn(asking)).map(|asking| asking.join().unwrap())
        });
        assert_eq!(seen, [const { Seen::Status(200) }; 3], "{version}");
    }
    let (_, metrics, _) = before.get("/metrics");
    let failed = metrics.lines().filter(|line| line.starts_with("staunch_upstream_failures_total"));
    let failed: Vec<_> = failed.filter(|line| !line.ends_with(" 0")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// A server that accepts, and then does not speak TLS: the time to connect bounds that as well.
#[test]
fn a_handshake_that_does_not_end_has_its_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let rest = format!(
        "[[route]]\nname = 'all'\nservice = 'tls'\n[[service]]\nname = 'tls'\n{SOON}\n\
         endpoints = ['{}']\ntimeouts = {{ connect = '300ms' }}\nretry = {{ tries = 1 }}\n\
         [service.tls]\nca = 'ca.pem'\nserver_name = 'localhost'\n",
        silent.local_addr().unwrap()
    );
    let authority = crate::policy::Authority::new();
    let listener = |name, protocol| {
        format!("[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '127.0.0.1:0'\n")
    };
    let config = listener("web", "http") + &listener("echo", "echo") + &rest;
    let before = Server::start_with(&[("ca.pem", &*authority.1)], &config);
    let baseline = before.baseline();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let (seen, took) = ask(before.tcp("web"), "/", version);
        assert_eq!(seen, Seen::Status(504), "{version}");
        assert!(took < Duration::from_secs(2), "{version}: {took:?}");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// With no descriptor left for a server, clients are told so; and served again when there are some.
#[test]
fn when_descriptors_run_out_clients_are_told_and_it_recovers() {
    let behind = Server::start(BEHIND);
    let rest = format!(
        "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n\
         [[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
         [runtime]\nworkers = 2\n[guard]\nenabled = false\n\
         [[route]]\nname = 'all'\nservice = 'behind'\n[[service]]\nname = 'behind'\n\
         endpoints = ['{}']\n{SOON}\nretry = {{ tries = 1 }}\n",
        behind.tcp("demo")
    );
    let before = Server::start_with_files(80, &rest);
    let (web, echo) = (before.tcp("web"), before.tcp("echo"));
    assert_eq!(get(web, "/hello").0, 200);
    let baseline = before.baseline();
    // A client that is in already, while others take all there is.
    let mut client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    client.read_exact(&mut [0; 7]).unwrap();
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(echo).unwrap()).collect();
    eventually("none is left", || {
        let log = before.process().stderr();
        if log.contains("cannot accept: backing off") { Ok(()) } else { Err(log) }
    });
    // What has a body in chunks takes no connection that others have left.
    let post =
        "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    for turn in 0..3 {
        client.write_all(post.as_bytes()).unwrap();
        let told = head(&mut client);
        assert!(told.starts_with("HTTP/1.1 503 "), "{turn}: {told}");
        assert!(told.contains("retry-after: 1\r\n"), "{turn}: {told}");
        let length = told.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        client.read_exact(&mut vec![0; length.unwrap().parse().unwrap()]).unwrap();
    }
    let _ = client.shutdown(Shutdown::Both);
    drop((crowd, client));
    eventually("served again", || match get(web, "/hello").0 {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
    before.settles_to(&baseline);
    let (_, metrics, _) = before.get("/metrics");
    let lacking = "staunch_requests_failed_total{route=\"all\",reason=\"descriptors\"} ";
    let times = metrics.lines().find_map(|line| line.strip_prefix(lacking)).expect(&metrics);
    assert!(times.parse::<u64>().unwrap() >= 3, "{times}");
    let ended = before.terminate();
    assert!(!ended.stderr.contains("no answer"), "the server is not to blame: {}", ended.stderr);
    ended.assert_clean();
    behind.terminate().assert_clean();
}
