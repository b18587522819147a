//! The stages in which a run ends: listeners first, the admin endpoint last, and all at once when
//! somebody insists.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;

use crate::{client::Client, eventually, server::Server};

/// What the end of a run may take beyond its grace: that of the admin endpoint, and some time to
/// end in.
const MARGIN: Duration = Duration::from_secs(5);

fn server(grace: Duration) -> Server {
    let listener = "[[listener]]\nname = \"echo\"\nprotocol = \"echo\"\nlisten = \"127.0.0.1:0\"\n";
    Server::start(&format!("[drain]\ngrace = \"{grace:?}\"\n{listener}"))
}

/// A client within a line, which its server has read the beginning of.
fn unfinished(server: &Server) -> Client {
    let client = server.client();
    client.send("half a li");
    eventually("the server has it", || match server.connections("read+rest") {
        1 => Ok(()),
        others => Err(others.to_string()),
    });
    client
}

/// Sends SIGTERM, and waits until that shows.
fn drain(server: &mut Server) {
    server.signal(Signal::TERM);
    eventually("it drains", || match server.get("/readyz") {
        (503, body, _) if body == "draining\n" => Ok(()),
        (status, body, _) => Err(format!("{status} {body}")),
    });
}

#[test]
fn the_admin_endpoint_answers_while_a_listener_drains() {
    let mut server = server(Duration::from_secs(20));
    let mut client = unfinished(&server);
    drain(&mut server);
    assert_eq!(server.connections("read+rest"), 1, "who is waited for can be asked");
    client.send("ne\n");
    assert_eq!(client.rest().unwrap(), "Echo: half a line\n");
    let ended = server.ended();
    assert!(ended.took < MARGIN, "it took {:?}", ended.took);
    ended.assert_clean();
    assert!(ended.last_line().contains("(0 refused, 0 cut by the drain)"), "{}", ended.last_line());
}

#[test]
fn half_an_admin_request_is_cut_within_the_grace_and_named() {
    let grace = Duration::from_secs(1);
    let mut server = server(grace);
    let mut asker = TcpStream::connect(server.tcp("admin")).unwrap();
    asker.write_all(b"GET /metr").unwrap();
    let address = asker.local_addr().unwrap().to_string();
    eventually("the server has it", || {
        let entries = server.admin_json("/debug/ledger?kind=connection&limit=100").body;
        let entries = entries["entries"].as_array().unwrap();
        let found = entries.iter().any(|e| e["label"] == address && e["state"] != "open");
        if found { Ok(()) } else { Err(format!("{entries:?}")) }
    });
    server.signal(Signal::TERM);
    let ended = server.ended();
    assert!((grace..grace + MARGIN).contains(&ended.took), "it took {:?}", ended.took);
    ended.assert_clean();
    assert!(ended.stdout.contains("cut: admin: task born at "), "{}", ended.stdout);
    assert!(ended.last_line().contains("(0 refused, 1 cut by the drain)"), "{}", ended.last_line());
}

#[test]
fn a_second_signal_cuts_at_once_and_says_whom() {
    let grace = Duration::from_mins(1);
    let mut server = server(grace);
    for _ in 0..3 {
        server.client().echo("somebody else");
    }
    let client = unfinished(&server);
    drain(&mut server);
    server.signal(Signal::INT);
    let ended = server.ended();
    assert!(ended.took < MARGIN, "it took {:?}", ended.took);
    ended.assert_clean();
    // Perhaps the one that asked whether it drains is cut, too: it may have been still there.
    let mut cut = ended.stdout.lines().filter(|line| line.starts_with("cut: connection born at "));
    let address = format!("({})", client.address());
    assert!(cut.any(|line| line.ends_with(&address)), "{}", ended.stdout);
    let served = ended.last_line().split(' ').nth(1).and_then(|count| count.parse().ok());
    assert!(served.is_some_and(|count: u64| count >= 4), "{}", ended.last_line());
}

#[test]
fn nobody_needs_to_read_what_is_printed() {
    let listener = "[[listener]]\nname = \"echo\"\nprotocol = \"echo\"\nlisten = \"127.0.0.1:0\"\n";
    let ended = Server::start_unread(listener).terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

/// The sampler keeps a file for the profiles to come; it is on the ledger meanwhile.
#[test]
fn a_cpu_profile_leaves_nothing() {
    let server = server(Duration::from_secs(1));
    let mut profile = TcpStream::connect(server.tcp("admin")).unwrap();
    let ask = "GET /debug/pprof/profile?seconds=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    profile.write_all(ask.as_bytes()).unwrap();
    let mut answer = Vec::new();
    profile.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
    let ledger = server.admin_json("/debug/ledger?kind=file").body;
    let labels: Vec<&str> = ledger["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["label"].as_str())
        .collect();
    assert!(labels.iter().any(|label| label.contains(".tmp")), "{ledger}");
    server.terminate().assert_clean();
}
