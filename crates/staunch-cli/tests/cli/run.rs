//! What `run` and `check` answer, print and return.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, UdpSocket},
    os::unix::net::UnixStream,
    process::Command,
};

use rustix::process::Signal;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    PATIENCE,
    process::{Ended, Process, folder},
    server::{Server, get, request},
};

const SERVED: &str = r#"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
[[listener]]
name = "unix"
protocol = "echo"
listen = "unix:echo.sock"
[[listener]]
name = "udp"
protocol = "udp-echo"
listen = "127.0.0.1:0"
[[listener]]
name = "http"
protocol = "demo"
listen = "127.0.0.1:0"
"#;

#[test]
fn lines_are_echoed_trimmed() {
    let server = Server::start(SERVED);
    let baseline = server.baseline();
    let check = |sent: &str, expected: &str| {
        let mut client = server.client();
        client.send(sent);
        client.stream().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest().unwrap(), expected, "to {sent:?}");
    };
    check("hi there \r\n", "Echo: hi there\n");
    check("no newline", "Echo: no newline\n");
    check("one\ntwo\n", "Echo: one\nEcho: two\n");
    check("one\ntwo", "Echo: one\nEcho: two\n");
    check(" \u{2003}grüß dich\u{a0}\n", "Echo: grüß dich\n");
    check("\n", "Echo: \n");
    check("", "");
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

#[test]
fn unix_sockets_are_served_and_removed() {
    let server = Server::start(SERVED);
    let path = server.process().path("echo.sock");
    let check = || {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hi there \r\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "Echo: hi there\n");
    };
    check();
    let baseline = server.baseline();
    check();
    server.settles_to(&baseline);
    server.terminate().assert_clean();
    assert!(!path.exists(), "{} is left", path.display());
}

#[test]
fn datagrams_are_echoed_trimmed() {
    let server = Server::start(SERVED);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hi there \r\n", server.tcp("udp")).unwrap();
    let mut answer = [0; 64];
    let (length, from) = client.recv_from(&mut answer).unwrap();
    assert_eq!(answer[..length].escape_ascii().to_string(), r"Echo: hi there\n");
    assert_eq!(from, server.tcp("udp"));
    let ended = server.terminate();
    ended.assert_clean();
    assert!(ended.last_line().contains("and 1 datagrams"), "{}", ended.last_line());
}

#[test]
fn http_is_served() {
    let server = Server::start(SERVED);
    let baseline = server.baseline();
    let http = server.tcp("http");
    let (status, body, _) = get(http, "/");
    assert_eq!((status, body.contains("Served by staunch")), (200, true), "{body}");
    assert_eq!(get(http, "/nowhere").0, 404);
    assert_eq!(get(http, "/echo").0, 405);
    let echo = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhi there";
    let (status, body, _) = request(http, echo);
    assert_eq!((status, body.as_str()), (200, "hi there"));
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

#[test]
fn either_signal_ends_a_run() {
    let check = |signal: Signal, name: &str| {
        let mut server = Server::start(SERVED);
        server.baseline();
        server.signal(signal);
        let ended = server.ended();
        ended.assert_clean();
        assert!(ended.stderr.contains(name), "no {name} in the log: {}", ended.stderr);
    };
    check(Signal::TERM, "SIGTERM");
    check(Signal::INT, "SIGINT");
}

#[test]
fn log_lines_are_json() {
    let server = Server::start(&format!("level = \"debug\"\n{SERVED}"));
    server.client().echo("hi there");
    get(server.tcp("http"), "/");
    let ended = server.terminate();
    ended.assert_clean();
    for line in ended.stderr.lines() {
        let parsed = serde_json::from_str::<Value>(line);
        let parsed = parsed.unwrap_or_else(|error| panic!("{error} in {line}"));
        for key in ["timestamp", "level", "target"] {
            assert!(parsed[key].is_string(), "no {key} in {line}");
        }
        assert!(parsed["fields"]["message"].is_string(), "no message in {line}");
    }
    assert!(ended.stderr.contains("draining"), "{}", ended.stderr);
}

/// What a line of the log says, in the task of which connection.
fn ids<'l>(log: &'l str, message: &'l str) -> impl Iterator<Item = (String, String)> + 'l {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(move |line| line["fields"]["message"] == message);
    lines.map(|line| {
        let id = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        (id("trace"), id("conn"))
    })
}

#[test]
fn log_lines_carry_trace_and_connection() {
    let server = Server::start(&format!("level = \"debug\"\n{SERVED}"));
    server.admin_json("/debug/ledger?limit=1");
    server.admin_json("/debug/ledger?limit=1");
    let ended = server.terminate();
    ended.assert_clean();
    let seen: Vec<(String, String)> = ids(&ended.stderr, "admin request").collect();
    assert!(seen.len() >= 2, "{}", ended.stderr);
    for (trace, conn) in &seen {
        let same = seen.iter().filter(|(other, _)| other == trace).count();
        assert_eq!(same, 1, "each asked on a connection of its own");
        assert!(trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()), "{trace}");
        assert!(!conn.is_empty());
    }
}

/// The ports of the embedded default may be taken, so it is served in a network of its own.
#[test]
fn without_a_file_the_embedded_default_is_served() {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]).arg(this);
    command.args(["run::the_embedded_default", "--exact", "--ignored"]);
    let enter = ["-rn", "sh", "-c", "ip link set lo up"];
    let can = Command::new("unshare").args(enter).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this machine gives no network of one's own (`unshare -rn`, `ip`)");
        return;
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by another test, in a network of its own"]
fn the_embedded_default() {
    let mut process = Process::start(folder(&[]), &["run"]);
    let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    crate::eventually("it listens", || {
        std::net::TcpStream::connect(at(6060)).map_err(|error| error.to_string())
    });
    crate::eventually("it is ready", || match get(at(6060), "/readyz").0 {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
    crate::client::Client::connect(at(9000)).echo("hi there");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hi there", at(9001)).unwrap();
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"Echo: hi there\n");
    assert_eq!(get(at(8080), "/healthz").0, 200);
    let welcome = std::fs::read_to_string(process.path("stdout")).unwrap();
    let tries: Vec<&str> = welcome.lines().filter(|line| line.starts_with("  curl ")).collect();
    let tried = tries.iter().map(|command| {
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", &format!("{command} --max-time 2")]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let tried: Vec<String> = tried.collect();
    let [account, events, ledger] = &tried[..] else { panic!("{welcome}") };
    let expected = "{\"id\":1,\"balance\":{\"amount\":\"100.00\",\"currency\":\"EUR\"}}";
    assert_eq!(account.trim(), expected);
    assert!(events.contains("data: "), "{events}");
    // All of it is there: what the bank holds, and what the gateway does.
    assert!(ledger.contains("staunch-gateway") && ledger.contains("staunch-cli"), "{ledger}");
    let (body, status) = crate::routes::curl(at(8080), "/v1/accounts/1", &["--include"]);
    assert!(status == 200 && body.contains("deprecation: "), "{body}");
    let (mut socket, _) = tungstenite::connect("ws://127.0.0.1:8080/ws").unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    // What has begun is finished by the services behind, which end after the gateway.
    let slow = std::thread::Builder::new().spawn(move || get(at(8080), "/slow?ms=1500").0).unwrap();
    crate::eventually("it is begun", || {
        let (_, ledger, _) = get(at(6060), "/debug/ledger?kind=request");
        if ledger.contains("GET /slow") { Ok(()) } else { Err(ledger) }
    });
    drop(socket);
    let mut events = std::net::TcpStream::connect(at(8080)).unwrap();
    events.set_read_timeout(Some(PATIENCE)).unwrap();
    events.write_all(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(crate::gateway::head(&mut events).starts_with("HTTP/1.1 200 "));
    process.signal(Signal::TERM);
    assert_eq!(slow.join().unwrap(), 200);
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: ") && rest.ends_with("0\r\n\r\n"), "not in good order: {rest}");
    let ended = process.ended();
    ended.assert_clean();
    assert!(ended.took < std::time::Duration::from_secs(6), "{:?}", ended.took);
}

/// Runs `staunch` in a folder with these files, to its end.
fn staunch(arguments: &[&str], files: &[(&str, &str)]) -> Ended {
    Process::start(folder(files), arguments).ended()
}

/// `run` does not start with this configuration, and says exactly so.
#[track_caller]
fn check_refused(config: &str, expected: &[&str]) {
    let ended = staunch(&["run", "--config", "staunch.toml"], &[("staunch.toml", config)]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert_eq!(ended.stdout, "", "{ended:#?}");
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), expected.len(), "a line for each mistake: {}", ended.stderr);
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected:?} is not in {line:?}");
    }
}

/// A configuration with one echo listener, no admin, and nothing else.
fn echo_on(address: &str) -> String {
    let listener = format!("name = \"echo\"\nprotocol = \"echo\"\nlisten = \"{address}\"");
    format!("[admin]\nenabled = false\n[[listener]]\n{listener}\n")
}

#[test]
fn without_its_configuration_it_does_not_start() {
    for command in ["run", "check"] {
        let ended = staunch(&[command, "--config", "nowhere.toml"], &[]);
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert_eq!(ended.stderr, "nowhere.toml: there is no such file\n", "{command}");
    }
}

#[test]
fn an_unknown_argument_is_refused() {
    let ended = staunch(&["run", "--confg", "staunch.toml"], &[]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("'--config'"), "{}", ended.stderr);
}

const TEN_MISTAKES: &str = r#"
[admin]
listen = "nowhere"
tokenfile = "x"
[log]
format = "xml"
level = 3
[drain]
grace = "10 parsecs"
[memory]
bufers = "64MiB"
[[listener]]
name = "Echo!"
protocol = "echoo"
listen = "127.0.0.1:0"
backlog = -1
[listener.limits]
idle = 75
"#;

#[test]
fn all_mistakes_are_named_at_once() {
    let expected = [
        r#"staunch.toml:3:10: `listen` in [admin] is "nowhere""#,
        "staunch.toml:4:1: unknown key `tokenfile` in [admin]: did you mean `token_file`?",
        r#"staunch.toml:6:10: `format` in [log] is "xml": must be one of `text`, `json`"#,
        "staunch.toml:7:9: `level` in [log] is 3",
        r#"staunch.toml:9:9: `grace` in [drain] is "10 parsecs""#,
        "staunch.toml:11:1: unknown key `bufers` in [memory]: did you mean `buffers`?",
        r#"staunch.toml:13:8: `name` in [[listener]] "Echo!""#,
        "staunch.toml:14:12: `protocol` in [[listener]]",
        "staunch.toml:16:11: `backlog` in [[listener]]",
        "staunch.toml:18:8: `idle` in [listener.limits]",
    ];
    check_refused(TEN_MISTAKES, &expected);
    let files = [("staunch.toml", TEN_MISTAKES)];
    let [run, check] =
        ["run", "check"].map(|command| staunch(&[command, "--config", "staunch.toml"], &files));
    assert_eq!((run.code, run.stderr), (check.code, check.stderr));
}

#[test]
fn check_says_that_a_configuration_is_right() {
    let ended = staunch(&["check", "--config", "staunch.toml"], &[("staunch.toml", SERVED)]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.stdout, "staunch.toml: ok, 4 listeners, 0 routes, 0 services\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn every_address_in_use_is_named() {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [echo, admin] = taken.each_ref().map(|taken| taken.local_addr().unwrap().to_string());
    check_refused(&echo_on(&echo), &[&format!("echo: {echo}: already in use")]);
    let both = echo_on(&echo).replace("enabled = false", &format!("listen = \"{admin}\""));
    let expected = [&echo, &admin].map(|address| format!("{address}: already in use"));
    check_refused(&both, &expected.each_ref().map(String::as_str));
}

#[test]
fn beyond_loopback_the_admin_needs_its_token() {
    let admin = |keys: &str| {
        let admin = format!("listen = \"0.0.0.0:0\"\n{keys}");
        echo_on("127.0.0.1:0").replace("enabled = false", &admin)
    };
    check_refused(&admin(""), &["`token_file` is missing in [admin]: 0.0.0.0:0 is reachable"]);
    let missing = admin("token_file = \"nowhere.token\"");
    check_refused(&missing, &["cannot read the token from nowhere.token"]);
}

#[test]
fn a_path_that_cannot_be_a_socket_is_named() {
    let check = |path: &str, expected: &str| {
        check_refused(&echo_on(&format!("unix:{path}")), &[&format!("echo: unix:{expected}")]);
    };
    check("nowhere/echo.sock", "nowhere/echo.sock: ");
    check("staunch.toml/echo.sock", "staunch.toml/echo.sock: ");
    // An ordinary file, which must not be removed.
    check("staunch.toml", "staunch.toml: there is a file that is no socket");
}

#[test]
fn a_missing_certificate_is_named() {
    let tls = "[listener.tls]\ncertificate = \"nowhere.pem\"\nkey = \"nowhere.key\"";
    check_refused(&format!("{}{tls}\n", echo_on("127.0.0.1:0")), &["echo: nowhere.pem"]);
}
