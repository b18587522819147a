//! `staunch doctor` on saved dumps, on processes, on services, and on what is neither.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{process::folder, server::Server};

/// Senders whose receiver has left; main waits for a clock.
const LEAKY: &str = "\
goroutine 1 [sleep]:
time.Sleep(0x3b9aca00)
\t/usr/local/go/src/runtime/time.go:195 +0x125
example.com/shop.Run()
\t/src/shop/run.go:12 +0x1d
main.main()
\t/src/main.go:9 +0x1d

goroutine 18 [chan send, 9 minutes]:
example.com/search.find.func1()
\t/src/search/find.go:21 +0x25
created by example.com/search.find in goroutine 17
\t/src/search/find.go:20 +0x4f
";

const HEALTHY: &str = "\
goroutine 1 [IO wait]:
internal/poll.runtime_pollWait(0x7f0000000001, 0x72)
\t/usr/local/go/src/runtime/netpoll.go:343 +0x85
main.main()
\t/src/main.go:9 +0x1d
";

fn doctor(files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = folder(files);
    let mut command = Command::new(env!("CARGO_BIN_EXE_staunch"));
    command.arg("doctor").args(arguments).current_dir(folder.path()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[track_caller]
fn check(files: &[(&str, &str)], arguments: &[&str], code: i32, expected: &[&str]) -> Output {
    let output = doctor(files, arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in expected {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
    output
}

#[test]
fn a_saved_dump_names_the_line() {
    let line = ["1 leak in leaky.txt", "/src/search/find.go:20", "/src/search/find.go:21"];
    check(&[("leaky.txt", LEAKY)], &["leaky.txt"], 1, &line);
    check(
        &[("healthy.txt", HEALTHY)],
        &["healthy.txt"],
        0,
        &["No leak found in healthy.txt", "this is one look"],
    );
}

#[test]
fn each_format_is_what_it_says() {
    let files = [("leaky.txt", LEAKY)];
    let json = check(&files, &["leaky.txt", "--format", "json"], 1, &[]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["detector"], "awake");
    assert_eq!(document["findings"][0]["birth"]["line"], 20);
    assert_eq!(document["findings"][0]["forecast"], Value::Null);
    let sarif = check(&files, &["leaky.txt", "--format", "sarif"], 1, &[]);
    let document: Value = serde_json::from_slice(&sarif.stdout).unwrap();
    assert_eq!(document["version"], "2.1.0");
    check(&files, &["leaky.txt", "--format", "html"], 1, &["<!doctype html>", "find.go:20"]);
}

#[test]
fn what_is_known_is_left_out() {
    let json = doctor(&[("leaky.txt", LEAKY)], &["leaky.txt", "--format", "json"]);
    let baseline = String::from_utf8(json.stdout).unwrap();
    let ignore = "[[ignore]]\nfunction = 'example.com/search.find'\nreason = 'it is rare'\n";
    let files = [("leaky.txt", LEAKY), ("old.json", &baseline), ("ignore.toml", ignore)];
    check(&files, &["leaky.txt", "--baseline", "old.json"], 0, &["left out: "]);
    check(&files, &["leaky.txt", "--ignore", "ignore.toml"], 0, &["(it is rare)"]);
    check(&files, &["leaky.txt", "--ignore", "old.json"], 2, &["old.json"]);
}

#[test]
fn what_cannot_be_examined_says_why() {
    let long = "x".repeat(70_000);
    let files = [
        ("cut.txt", &LEAKY[..LEAKY.len() - 70]),
        ("within.txt", &LEAKY[..LEAKY.len() - 40]),
        ("other.txt", "hello\n"),
        ("empty.txt", ""),
        ("long.txt", &long),
    ];
    check(&files, &["cut.txt"], 2, &["cut.txt", "cut off at line"]);
    check(&files, &["within.txt"], 2, &["within.txt", "cut off at line 12, within goroutine 18"]);
    check(&files, &["other.txt"], 2, &["other.txt", "begins with `hello`", "jstack", "ss -tan"]);
    check(&files, &["empty.txt"], 2, &["empty.txt is empty"]);
    check(&files, &["long.txt"], 2, &["line 1: ", "65536 bytes in a line", "save the profile"]);
    check(&files, &["."], 2, &[". is a folder"]);
    check(&files, &["missing.txt"], 2, &["missing.txt", "No such file"]);
    check(&files, &["127.0.0.1:1"], 2, &["write http://127.0.0.1:1"]);
    check(&files, &["http://127.0.0.1:1"], 2, &["127.0.0.1:1", "refused"]);
    check(&files, &["ftp://127.0.0.1"], 2, &["its scheme is `ftp`"]);
    check(&files, &["--pid", "no such program"], 2, &["no process is called"]);
    check(&files, &["--pid", "4194304"], 2, &["4194304"]);
    check(&files, &[], 2, &["staunch doctor [OPTIONS] TARGET...", "--pid <PID|NAME> [TARGET]..."]);
    check(&files, &["other.txt", "--every", "5"], 2, &["a number above 0 with its unit"]);
}

/// Two instants of a search that forgets one goroutine with each call; main waits for a clock.
fn growing(forgotten: std::ops::Range<u64>) -> String {
    let (main, one) = LEAKY.split_once("goroutine 18").unwrap();
    let more = forgotten.map(|id| format!("goroutine {id}{one}\n"));
    main.to_owned() + &more.collect::<String>()
}

#[test]
fn dumps_given_newest_first_are_put_in_order() {
    let (before, later) = (growing(20..21), growing(20..30));
    let files = [("before.txt", &*before), ("later.txt", &later)];
    let note = ["were not given in the order", "which is: before.txt, later.txt", "count   1 10"];
    check(&files, &["later.txt", "before.txt"], 1, &note);
    let right = check(&files, &["before.txt", "later.txt"], 1, &["count   1 10"]);
    assert!(!said(&right).contains("order"), "{}", said(&right));
}

#[test]
fn an_unknown_rule_cannot_be_ignored() {
    let ignore = "[[ignore]]\nrule = 'chan-sned'\nreason = 'typo'\n";
    let files = [("leaky.txt", LEAKY), ("ignore.toml", ignore)];
    let named = ["ignore.toml", "no rule `chan-sned`", "chan-send"];
    check(&files, &["leaky.txt", "--ignore", "ignore.toml"], 2, &named);
}

/// A service that answers its one client with what `answer` writes, as far as that listens.
#[track_caller]
fn check_service(
    answer: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send,
    expected: &[&str],
) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::scope(|threads| {
        threads.spawn(|| {
            let (mut client, _) = listener.accept().unwrap();
            let _ = client.read(&mut [0; 4096]);
            let _ = answer(&mut client);
        });
        // With the path of an index there is one request.
        check(&[], &[&format!("{address}/debug/pprof")], 2, expected);
    });
}

#[test]
fn a_service_that_sends_anything_else_is_refused() {
    let answer =
        |text: &'static str| move |client: &mut TcpStream| client.write_all(text.as_bytes());
    let garbage = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
    check_service(answer(garbage), &["no goroutine dump", "`yes`"]);
    let endless = |client: &mut TcpStream| {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            client.write_all(&[b'x'; 4096])?;
        }
    };
    check_service(endless, &["no goroutine dump", "`xxx"]);
    let why = "HTTP/1.1 403 No\r\nContent-Length: 17\r\n\r\nask\x1b[1m me\nor not";
    check_service(answer(why), &["403 \"ask[1m me\";", "--header"]);
    let absent = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    check_service(answer(absent), &["404;", "net/http/pprof", "its admin endpoint alone"]);
    check_service(answer("SSH-2.0-OpenSSH\r\n"), &["no answer"]);
}

#[test]
fn a_service_that_stays_well_has_no_finding() {
    let server =
        Server::start("[[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n");
    let admin = format!("http://{}", server.tcp("admin"));
    let times = ["--for", "1s", "--every", "200ms"];
    check(
        &[],
        &[&[&*admin][..], &times].concat(),
        0,
        &["No leak found in http://127.0.0.1", "looks"],
    );
}

#[test]
fn sockets_that_nobody_closes_are_found_in_any_process() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let is_enough = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut forgotten = Vec::new();
            while !is_enough.load(Ordering::Relaxed) {
                let client = TcpStream::connect(address).unwrap();
                forgotten.push(listener.accept().unwrap().0);
                client.shutdown(Shutdown::Both).unwrap();
                thread::sleep(Duration::from_millis(100));
            }
        });
        let enough = Enough(&is_enough);
        let pid = std::process::id().to_string();
        let port = format!("clients of port {}", address.port());
        let arguments = ["--pid", &pid, "--for", "2s", "--every", "400ms"];
        check(&[], &arguments, 1, &[&port, "CLOSE_WAIT", "descriptors are open"]);
        drop(enough);
    });
}

/// Ends the leak, also when the test fails.
struct Enough<'e>(&'e AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The source of what `LEAKY` is of.
fn source() -> String {
    let before = "\n".repeat(17);
    format!(
        "package search\n{before}\tresult := make(chan string)\n\tgo func() {{\n\t\tresult <- search()\n\t}}()\n\t<-result\n}}\n"
    )
    .replacen("\n\n", "\nfunc find() {\n", 1)
}

#[test]
fn with_the_source_lines_are_quoted_and_there_is_a_patch() {
    let source = source();
    let files = [("dump", LEAKY), ("find.go", &*source)];
    let expected = [
        "> go func() {",
        "> result <- search()",
        "src/search/find.go:19",
        "--- a/find.go",
        "+\tresult := make(chan string, 1)",
    ];
    check(&files, &["dump", "--source", "."], 1, &expected);
    let output = check(&files, &["dump", "--source", ".", "--format", "json"], 1, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(finding["wait"]["code"], "result <- search()");
    assert_eq!(finding["cause"]["line"], 19);
    assert!(finding["fix"]["patch"].as_str().unwrap().contains("@@ -"), "{finding}");
}

#[test]
fn source_that_is_none_is_refused_before_anything_is_looked_at() {
    check(
        &[("dump", LEAKY)],
        &["dump", "--source", "nowhere"],
        2,
        &["cannot read the folder nowhere"],
    );
    check(&[("dump", LEAKY)], &["dump", "--source", "."], 2, &["no .go or .java file is in ."]);
}
