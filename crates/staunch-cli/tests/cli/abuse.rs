//! Peers that misuse a listener cost it nothing that stays, and nobody else their service.
//!
//! Each test does one abuse beside a healthy client of the same listener, which is answered all
//! the time. After it the server holds exactly what it held before: the same file descriptors,
//! tasks and entries.

use std::{
    io::ErrorKind,
    net::{Shutdown, SocketAddr},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{PAUSE, client::Client, eventually, server::Server};

/// The limit that an abuse runs into. A healthy client never comes near it: it sends whole lines
/// at once, and reads the answers.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

const LISTENER: &str = r#"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
[listener.limits]
connections_per_ip = "unlimited"
buffer = "1KiB"
"#;

/// A server on which one limit is short.
fn server_with(limit: &str) -> Server {
    Server::start(&format!("{LISTENER}{limit} = \"{LIMIT:?}\"\n"))
}

/// Does `abuse` beside a healthy client; then nothing is left of either.
fn check(server: Server, abuse: impl FnOnce(&Server)) {
    check_beside(Healthy::Returns, server, abuse);
}

fn check_beside(healthy: Healthy, server: Server, abuse: impl FnOnce(&Server)) {
    let baseline = server.baseline();
    beside(healthy, server.tcp("echo"), || abuse(&server));
    server.client().echo("a new client");
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

/// A client that does nothing wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Healthy {
    /// On one connection, and on a new one each time.
    Returns,
    /// On one connection only.
    Stays,
}

/// No round of the healthy client may take longer. Generous, since other tests run beside it.
const SLOWEST: Duration = Duration::from_secs(5);

/// Runs `abuse` while a healthy client is answered, before, meanwhile and after, and never late.
pub(crate) fn beside(healthy: Healthy, echo: SocketAddr, abuse: impl FnOnce()) {
    let (rounds, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let next_round = || {
        let before = rounds.load(Ordering::Relaxed);
        eventually("the healthy client was answered", || {
            let rounds = rounds.load(Ordering::Relaxed);
            if rounds > before { Ok(()) } else { Err(format!("{rounds} rounds")) }
        });
    };
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut stays = Client::connect(echo);
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                stays.echo("who stays");
                if healthy == Healthy::Returns {
                    Client::connect(echo).echo("who returns");
                }
                slowest = slowest.max(begun.elapsed());
                rounds.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            slowest
        });
        let raised = Raised(&over); // also when the abuse panics: the client must end
        next_round();
        abuse();
        next_round();
        drop(raised);
        let slowest = client.join().expect("the healthy client failed");
        assert!(slowest < SLOWEST, "the healthy client waited {slowest:?} for an answer");
    });
}

/// Raises a flag when it is dropped.
struct Raised<'f>(&'f AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The server cut this one for that reason; not before its limit.
#[track_caller]
pub(crate) fn assert_cut(server: &Server, rule: &str, since: Instant) {
    let took = since.elapsed();
    assert!(took >= LIMIT, "{rule} after {took:?}");
    assert_eq!(server.observed(rule), 1, "{rule}");
}

#[test]
fn who_says_nothing_is_cut() {
    check(server_with("first_byte"), |server| {
        let since = Instant::now();
        let rest = server.client().rest();
        assert_eq!(rest.ok().as_deref(), Some(""), "an orderly end");
        assert_cut(server, "cut-first-byte", since);
    });
}

#[test]
fn who_says_no_more_is_cut() {
    // Long enough for the healthy client, which says something all the time.
    check(server_with("idle"), |server| {
        let since = Instant::now();
        let mut client = server.client();
        client.echo("the only word");
        assert_eq!(client.rest().ok().as_deref(), Some(""), "an orderly end");
        assert_cut(server, "cut-idle", since);
    });
}

#[test]
fn who_stops_within_a_line_is_cut() {
    check(server_with("read_stall"), |server| {
        let since = Instant::now();
        let mut client = server.client();
        client.send("half a li");
        let error = client.rest().expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        assert_cut(server, "cut-read-stall", since);
    });
}

#[test]
fn who_never_reads_is_cut() {
    check(server_with("write_stall"), |server| {
        let since = Instant::now();
        let client = Client::connect_narrow(server.tcp("echo"));
        let error = eventually("the client was cut", || {
            client.try_send(&"a line\n".repeat(1000)).err().ok_or("it sends".to_owned())
        });
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        assert_cut(server, "cut-write-stall", since);
    });
}

#[test]
fn who_closes_half_gets_its_answer() {
    check(Server::start(LISTENER), |server| {
        for _ in 0..100 {
            let mut client = server.client();
            client.send("a line\nand the last");
            client.stream().shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.rest().unwrap(), "Echo: a line\nEcho: and the last\n");
        }
    });
}

#[test]
fn who_sends_too_long_a_line_is_cut() {
    check(Server::start(LISTENER), |server| {
        let mut client = server.client();
        client.echo("a short line");
        let _ = client.try_send(&"x".repeat(1 << 20)); // fails where it is cut
        match client.rest() {
            Ok(rest) => assert_eq!(rest, "", "no answer to a line that is too long"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    });
}

#[test]
fn resets_leave_nothing() {
    check(Server::start(LISTENER), |server| {
        for number in 0..500 {
            let mut client = server.client();
            match number % 4 {
                0 => {}
                1 => client.send("half a li"),
                2 => client.send("a line, and the answer is not read\n"),
                _ => client.echo("a line"),
            }
            client.reset();
        }
    });
}

/// Half of them end in order, half with a reset; so many that a leak of one in a thousand shows.
#[test]
fn connects_and_closes_leave_nothing() {
    check(Server::start(LISTENER), |server| {
        for number in 0..20_000 {
            let mut client = server.client();
            if number % 100 == 0 {
                client.echo("is anybody there?"); // lets the server catch up
            }
            if number % 2 == 0 {
                client.reset();
            }
        }
    });
}

/// A dozen of these are taken before the first client.
const FILES: usize = 64;

#[test]
fn out_of_files_who_is_there_is_served() {
    // A guard would refuse them before.
    let unguarded = format!("[guard]\nenabled = false\n{LISTENER}");
    let server = Server::start_with_files(FILES, &unguarded);
    check_beside(Healthy::Stays, server, |server| {
        let mut there = server.client();
        there.echo("before the flood");
        let flood: Vec<Client> = (0..200).map(|_| server.client()).collect();
        eventually("it was out of files", || match server.process().fds() {
            FILES.. => Ok(()), // one more when one above the limit was inherited
            fds => Err(format!("{fds} fds")),
        });
        eventually("it said so", || {
            let log = server.process().stderr();
            if log.contains("cannot accept: backing off") { Ok(()) } else { Err(log) }
        });
        there.echo("in the flood");
        drop(flood);
        server.client().echo("a new client");
        assert!(server.observed("cannot-accept") > 0);
    });
}
