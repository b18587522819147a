//! The access log: who asked what, and how it ended.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
};

use serde_json::Value;
use staunch_harness::free_port;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    eventually,
    gateway::{BEHIND, SOON, Scripted, gateway, head, service},
    process::{Process, folder},
    routes::curl,
    server::{Server, get, request},
    tls_upstream::localhost,
};

pub(crate) const LOG: &str = "[access_log]\nto = 'access.log'\nheaders = ['user-agent']\n";

const TRACEPARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The lines of a log, once there are so many.
pub(crate) fn lines(gateway: &Server, count: usize) -> Vec<Value> {
    let path = gateway.process().path("access.log");
    eventually("so many lines", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() == count {
            Ok(lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
        } else {
            Err(text)
        }
    })
}

#[track_caller]
fn check(line: &Value, expected: &[(&str, Value)]) {
    for (key, value) in expected {
        assert_eq!(line.get(key), Some(value), "{key} in {line}");
    }
}

/// On both ways, and whether anybody has said before that they come.
#[test]
fn trailers_come_through_and_are_not_what_was_sent() {
    const TOLD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
                          3\r\nabc\r\n0\r\nx-end: yes\r\n\r\n";
    const UNTOLD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                            3\r\nabc\r\n0\r\nx-end: yes\r\n\r\n";
    let scripted = Scripted::start(vec![UNTOLD, UNTOLD, TOLD]);
    let gateway = gateway(&format!("{LOG}{}", service(scripted.address, "")));
    let wants = ["--raw", "--header", "TE: trailers", "--header", "Connection: TE"];
    let long_way = ["--request-target", "http://localhost/"];
    let asked: [Vec<&str>; 3] = [vec!["--raw"], wants.to_vec(), [&wants[..], &long_way].concat()];
    let mut count = 0;
    for arguments in asked {
        let (body, _) = curl(gateway.tcp("web"), "/", &arguments);
        assert!(body.contains("x-end: yes\r\n"), "{arguments:?}: {body}");
        count += 1;
        let lines = lines(&gateway, count);
        check(lines.last().unwrap(), &[("sent", 3.into()), ("end", "whole".into())]);
    }
    let heads = scripted.asked();
    assert!(!heads[0].contains("te: "), "{heads:?}");
    assert!(heads[1].contains("te: trailers\r\nconnection: te\r\n"), "{heads:?}");
    gateway.terminate().assert_clean();
}

/// Both ways of requests, over both versions.
#[test]
fn each_request_has_a_line() {
    let behind = Server::start(BEHIND);
    let rest = format!(
        "{LOG}{}[[route]]\nname = 'no'\nservice = 'behind'\npath = '/no'\npolicies = ['nobody']\n\
         [[policy]]\nname = 'nobody'\nclients = {{ deny = ['127.0.0.0/8'] }}\n",
        service(behind.tcp("demo"), "")
    );
    let gateway = gateway(&rest);
    let web = gateway.tcp("web");
    let asked: [(&str, &[&str]); 7] = [
        ("/hello?token=hidden", &[]),
        ("/hello?token=hidden", &["--http2-prior-knowledge"]),
        ("/hello", &["--head"]),
        ("/upload", &["--request", "PUT", "--data", "once"]),
        ("/upload", &["--request", "PUT", "--data", "once", "--http2-prior-knowledge"]),
        ("/no", &["--user-agent", "a \"b\""]),
        ("/no", &["--http2-prior-knowledge"]),
    ];
    let mut lines = Vec::new();
    for (path, arguments) in asked {
        curl(web, path, &[arguments, &["--header", TRACEPARENT]].concat());
        lines = self::lines(&gateway, lines.len() + 1); // so they stand in this order
    }
    let server = behind.tcp("demo").to_string();
    let to_server = [
        ("route", "all".into()),
        ("service", "behind".into()),
        ("server", server.into()),
        ("tries", 1.into()),
        ("end", "whole".into()),
        ("client", "127.0.0.1".into()),
        ("host", web.to_string().into()),
        ("listener", "web".into()),
        ("status", 200.into()),
    ];
    for (line, (path, arguments)) in lines.iter().zip(asked).take(5) {
        check(line, &to_server);
        let version = if arguments.contains(&"--http2-prior-knowledge") { "2.0" } else { "1.1" };
        let path = path.split('?').next().unwrap_or_default();
        check(line, &[("version", version.into()), ("path", path.into())]);
        assert!(line["user-agent"].as_str().unwrap().starts_with("curl/"), "{line}");
        assert_eq!(line["trace"], "0af7651916cd43dd8448eb211c80319c", "{line}");
        assert!(line["first_byte"].as_f64() <= line["seconds"].as_f64(), "{line}");
    }
    let sizes = |line: &Value| [line["received"].clone(), line["sent"].clone()];
    for line in &lines[..2] {
        assert_eq!(sizes(line), [0, 7], "{line}");
    }
    assert_eq!(sizes(&lines[2]), [0, 0]);
    for line in &lines[3..5] {
        assert_eq!(line["received"], 4, "{line}");
    }
    for line in &lines[5..] {
        let expected = [("status", 403.into()), ("route", "no".into()), ("tries", 0.into())];
        check(line, &expected);
        check(line, &[("end", "whole".into()), ("path", "/no".into())]);
    }
    assert_eq!(lines[5]["user-agent"], "a \"b\"");
    let (_, metrics, _) = gateway.get("/metrics");
    assert!(metrics.contains("\nstaunch_access_log_lines_total 7\n"), "{metrics}");
    assert!(metrics.contains("\nstaunch_access_log_lost_total 0\n"), "{metrics}");
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Of some of them nothing can be read.
#[test]
fn a_head_that_is_refused_has_a_line() {
    let behind = Server::start(BEHIND);
    let gateway = gateway(&format!("{LOG}{}", service(behind.tcp("demo"), "")));
    let (field, path) = (format!("X: {}\r\n", "x".repeat(20_000)), "x".repeat(9_000));
    let refused = [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400, Some("/")),
        ("GET /a?b=c HTTP/1.1\r\n\r\n".to_owned(), 400, Some("/a")),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400, None),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n"), 431, None),
        (format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, Some("/xxx")),
    ];
    let mut count = 0;
    for (head, status, path) in refused {
        assert_eq!(request(gateway.tcp("web"), &head).0, status, "{head:.80}");
        count += 1;
        let line = self::lines(&gateway, count).pop().unwrap();
        let expected = [("status", status.into()), ("tries", 0.into()), ("end", "whole".into())];
        check(&line, &expected);
        check(&line, &[("client", "127.0.0.1".into()), ("listener", "web".into())]);
        let asked = line.get("path").and_then(Value::as_str);
        assert_eq!(asked.is_some(), path.is_some(), "{line:.200}");
        assert!(asked.unwrap_or_default().starts_with(path.unwrap_or_default()), "{line:.200}");
    }
    let (_, metrics, _) = gateway.get("/metrics");
    let line = "\nstaunch_requests_total{route=\"\",status=\"4xx\"} 5\n";
    assert!(metrics.contains(line), "{metrics}");
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn how_it_ended_is_said() {
    let cut = Scripted::start(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]);
    let behind = Server::start(BEHIND);
    let rest = format!(
        "{LOG}{}[[route]]\nname = 'cut'\npath = '/cut'\nservice = 'cut'\n\
         [[service]]\nname = 'cut'\nendpoints = ['{}']\n{SOON}\n",
        service(behind.tcp("demo"), ""),
        cut.address,
    );
    let gateway = gateway(&rest);
    let web = gateway.tcp("web");
    let mut client = TcpStream::connect(web).unwrap();
    client.write_all(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    let _ = client.read_to_end(&mut Vec::new()); // it ends, somehow
    let line = &lines(&gateway, 1)[0];
    check(line, &[("route", "cut".into()), ("end", "server".into()), ("sent", 4.into())]);
    for (count, version) in [(2, "1.1"), (3, "2.0")] {
        let prior = if version == "2.0" { "--http2-prior-knowledge" } else { "--http1.1" };
        curl(web, "/slow?ms=20000", &["--max-time", "0.3", prior]);
        let line = &lines(&gateway, count)[count - 1];
        check(line, &[("end", "client".into()), ("version", version.into()), ("tries", 1.into())]);
        assert!(line.get("status").is_none(), "{line}");
    }
    // A drain that has its way leaves no line unwritten.
    let (mut socket, _) = tungstenite::connect(format!("ws://{web}/ws")).unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    let line = &lines(&gateway, 4)[3];
    check(line, &[("path", "/ws".into()), ("status", 101.into()), ("end", "whole".into())]);
    assert!(line["received"].as_u64() > Some(10) && line["sent"].as_u64() > Some(6), "{line}");
    cut.asked();
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Who has a 502 can be told whether it was the server's own, and if not, why; by line and by number.
#[test]
fn why_no_server_has_answered_is_said() {
    const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];
    let twice = |answer: &'static [u8]| Scripted::start(vec![answer; VERSIONS.len()]);
    let (closed, malformed) = (twice(b""), twice(b"HELLO\r\n\r\n"));
    let own = twice(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    let nobody = free_port().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // connections wait there
    let mut rest = LOG.to_owned();
    for (name, port) in [
        ("closed", closed.address.port()),
        ("malformed", malformed.address.port()),
        ("unreachable", nobody),
        ("own", own.address.port()),
        ("timeout", silent.local_addr().unwrap().port()),
    ] {
        rest += &format!(
            "[[route]]\nname = '{name}'\npath = '/{name}'\nservice = '{name}'\n[[service]]\n\
             name = '{name}'\nendpoints = ['127.0.0.1:{port}']\nretry = {{ tries = 1 }}\n\
             timeouts = {{ first_byte = '300ms' }}\n{SOON}\n",
        )
        .replacen("path", "timeout = '300ms'\npath", 1);
    }
    let gateway = gateway(&rest);
    let web = gateway.tcp("web");
    let mut count = 0;
    for reason in ["closed", "malformed", "unreachable", "own", "timeout"] {
        let status = if reason == "timeout" { 504 } else { 502 };
        for version in VERSIONS {
            let (_, got) = curl(web, &format!("/{reason}"), &[version]);
            assert_eq!(got, status, "{reason} {version}");
            count += 1;
            let line = &lines(&gateway, count)[count - 1];
            let failure = (reason != "own").then(|| Value::from(reason));
            assert_eq!(line.get("failure"), failure.as_ref(), "{line}");
        }
    }
    let (_, metrics, _) = gateway.get("/metrics");
    for reason in ["closed", "malformed", "unreachable", "timeout"] {
        let line =
            format!("staunch_requests_failed_total{{route=\"{reason}\",reason=\"{reason}\"}} 2\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
        let line = format!(",reason=\"{reason}\"}} 2\n");
        let of_servers = metrics.lines().filter(|it| it.starts_with("staunch_upstream_failures_"));
        let found = of_servers.filter(|it| format!("{it}\n").ends_with(&line)).count();
        assert_eq!(found, 1, "{line}: {metrics}");
    }
    assert!(metrics.contains("_failed_total{route=\"own\",reason=\"closed\"} 0\n"), "{metrics}");
    for scripted in [closed, malformed, own] {
        scripted.asked();
    }
    let ended = gateway.terminate();
    let said = ended.stderr.matches("no answer: ").count();
    assert_eq!(said, 4, "once for each server: {}", ended.stderr);
    assert!(ended.stderr.contains("refused"), "{}", ended.stderr);
    ended.assert_clean();
}

/// Whose answer does not come within the grace is cut by us, which no client is to blame for.
#[test]
fn what_a_drain_cuts_says_so() {
    let behind = Server::start(BEHIND);
    let rest = format!("[drain]\ngrace = '200ms'\n{LOG}{}", service(behind.tcp("demo"), ""));
    let mut gateway = gateway(&rest);
    let web = gateway.tcp("web");
    let mut clients: Vec<_> = ["--http1.1", "--http2-prior-knowledge"]
        .map(|version| {
            let url = format!("http://{web}/slow?ms=20000");
            Command::new("curl").args(["-s", version, &url]).spawn().unwrap()
        })
        .into();
    let upload = format!("http://{web}/upload");
    let mut uploads = Command::new("curl");
    uploads.args(["-s", "--http2-prior-knowledge", "-T", "-", &upload]).stdin(Stdio::piped());
    clients.push(uploads.spawn().unwrap()); // it goes on until we end its input, which is later
    eventually("all are begun", || {
        let ledger = behind.admin_json("/debug/ledger?kind=request").body.to_string();
        let begun = ["GET /slow", "PUT /upload"].map(|what| ledger.matches(what).count());
        if begun >= [2, 1] && begun[1] > 0 { Ok(()) } else { Err(ledger) }
    });
    let copy = tempfile::tempdir().unwrap();
    let link = copy.path().join("log");
    fs::hard_link(gateway.process().path("access.log"), &link).unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    gateway.ended();
    for client in &mut clients {
        client.wait().unwrap();
    }
    let log = fs::read_to_string(link).unwrap();
    assert_eq!(log.matches("\"end\":\"drain\"").count(), 3, "{log}");
    behind.terminate().assert_clean();
}

/// Whoever reads it may be started after us; `check --files` says ok as `run` does.
#[test]
fn a_pipe_may_be_read_later() {
    let behind = Server::start(BEHIND);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let log = format!("[access_log]\nto = '{}'\n", pipe.display());
    let gateway = gateway(&format!("{log}{}", service(behind.tcp("demo"), "")));
    let config = gateway.process().path("staunch.toml");
    let arguments = ["check", "--files", "--config", config.to_str().unwrap()];
    let checked = Process::start(tempfile::tempdir().unwrap(), &arguments).ended();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(get(gateway.tcp("web"), "/hello").0, 200);
    eventually("it is said", || {
        let log = gateway.process().stderr();
        if log.contains("nobody reads from the pipe") { Ok(()) } else { Err(log) }
    });
    let reads = Command::new("timeout").args(["30", "head", "-n", "1"]).arg(&pipe).output();
    let line: Value = serde_json::from_slice(&reads.unwrap().stdout).unwrap();
    check(&line, &[("path", "/hello".into()), ("status", 200.into())]);
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// Nobody has spoken yet, client nor server: it is not the server that broke off.
#[test]
fn what_a_drain_cuts_before_it_is_connected_says_so() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // which leaves TLS hanging
    let listener = "[[listener]]\nname = 'tcp'\nprotocol = 'tcp'\nservice = 'silent'\n\
                    listen = '127.0.0.1:0'\n";
    let config = format!(
        "[drain]\ngrace = '200ms'\n{LOG}{listener}[[service]]\nname = 'silent'\nendpoints = ['{}']\n\
         {SOON}\n[service.tls]\nca = 'ca.pem'\nserver_name = 'localhost'\n",
        silent.local_addr().unwrap(),
    );
    let [ca, _] = localhost();
    let mut gateway = Server::start_with(&[("ca.pem", &ca)], &config);
    let client = TcpStream::connect(gateway.tcp("tcp")).unwrap();
    let (server, _) = silent.accept().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let link = copy.path().join("log");
    fs::hard_link(gateway.process().path("access.log"), &link).unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    gateway.ended();
    drop((client, server));
    let log = fs::read_to_string(link).unwrap();
    assert!(log.contains("\"end\":\"drain\"") && !log.contains("failure"), "{log}");
}

/// The log outlives what it tells of, and takes nothing of the time of a drain.
#[test]
fn what_a_drain_finishes_is_logged() {
    let behind = Server::start(BEHIND);
    let mut gateway = gateway(&format!("{LOG}{}", service(behind.tcp("demo"), "")));
    let web = gateway.tcp("web");
    let slow = std::thread::Builder::new().spawn(move || get(web, "/slow?ms=3500").0).unwrap();
    eventually("it is begun", || {
        let ledger = gateway.admin_json("/debug/ledger?kind=request").body.to_string();
        if ledger.contains("GET /slow") { Ok(()) } else { Err(ledger) }
    });
    let path = gateway.process().path("access.log");
    let copy = tempfile::tempdir().unwrap();
    let link = copy.path().join("log");
    fs::hard_link(path, &link).unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    assert_eq!(slow.join().unwrap(), 200, "longer than the log's own time");
    gateway.ended().assert_clean();
    let log = fs::read_to_string(link).unwrap();
    assert!(log.contains("\"path\":\"/slow\"") && log.contains("\"end\":\"whole\""), "{log}");
    behind.terminate().assert_clean();
}

#[test]
fn each_connection_that_is_handed_on_has_a_line() {
    let behind = Server::start(BEHIND);
    let rest = format!(
        "{LOG}format = 'text'\n[[listener]]\nname = 'tcp'\nprotocol = 'tcp'\nservice = 'echo'\n\
         listen = '127.0.0.1:0'\n[[service]]\nname = 'echo'\nendpoints = ['{}']\n{SOON}\n",
        behind.tcp("echo")
    );
    let listener = "[[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n";
    let gateway = Server::start(&format!("{listener}{rest}"));
    let mut client = TcpStream::connect(gateway.tcp("tcp")).unwrap();
    client.write_all(b"hello\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "Echo: hello\n");
    let path = gateway.process().path("access.log");
    let text = eventually("a line", || match fs::read_to_string(&path).unwrap_or_default() {
        text if text.ends_with('\n') => Ok(text),
        text => Err(text),
    });
    assert!(text.starts_with("127.0.0.1 - - ["), "{text}");
    assert!(text.contains("] \"-\" - 12 received=6 seconds=0."), "{text}");
    let ends = format!("service=\"echo\" server=\"{}\" tries=1 end=whole\n", behind.tcp("echo"));
    assert!(text.contains(" listener=tcp ") && text.ends_with(&ends), "{text}");
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// `logrotate` moves the file away; no line is lost, and what is full costs nobody's answer.
#[test]
fn a_log_that_is_moved_goes_on_and_one_that_is_full_is_said() {
    let behind = Server::start(BEHIND);
    let gateway = gateway(&format!("{LOG}{}", service(behind.tcp("demo"), "")));
    let (web, path) = (gateway.tcp("web"), gateway.process().path("access.log"));
    assert_eq!(get(web, "/hello").0, 200);
    lines(&gateway, 1);
    fs::rename(&path, gateway.process().path("access.log.1")).unwrap();
    eventually("another file", || if path.exists() { Ok(()) } else { Err(String::new()) });
    assert_eq!(get(web, "/hello").0, 200);
    lines(&gateway, 1);
    gateway.terminate().assert_clean();

    let full = format!("[access_log]\nto = '/dev/full'\n{}", service(behind.tcp("demo"), ""));
    let gateway = self::gateway(&full);
    assert_eq!(get(gateway.tcp("web"), "/hello").0, 200);
    eventually("said", || {
        let log = gateway.process().stderr();
        if log.contains("the access log cannot be written") { Ok(()) } else { Err(log) }
    });
    assert_eq!(get(gateway.tcp("web"), "/hello").0, 200);
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn a_log_that_cannot_be_opened_is_said_at_the_start() {
    let config = format!(
        "[access_log]\nto = 'no/such/folder'\n{}",
        service("127.0.0.1:1".parse().unwrap(), "")
    );
    let web = "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n";
    let folder = folder(&[("staunch.toml", &format!("{web}{config}"))]);
    let ended = Process::start(folder, &["run", "--config", "staunch.toml"]).ended();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("no/such/folder"), "{}", ended.stderr);
    assert!(ended.stderr.contains("name another file in `to` of [access_log]"), "{}", ended.stderr);
}
