//! A run that ends under load: who is idle is closed at once, who is in the middle of something
//! has until the end of the grace, and the report names who was cut.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::{client::Client, eventually, process::Ended, server::Server};

const IDLE: usize = 792;
const WITHIN_A_LINE: usize = 100;
const NOT_READING: usize = 100;
const BUSY: usize = 8;
const ALL: usize = IDLE + WITHIN_A_LINE + NOT_READING + BUSY;

/// The report names so many one by one, and counts the others.
const NAMED: usize = 100;

/// What the end of a run may take beyond its grace.
const MARGIN: Duration = Duration::from_secs(2);

fn server(grace: Duration) -> Server {
    raise_open_files();
    let listener = r#"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
[listener.limits]
connections_per_ip = "unlimited"
[listener.socket]
notsent_lowat = "4KiB"
"#;
    Server::start(&format!("[drain]\ngrace = \"{grace:?}\"\n{listener}"))
}

/// Both ends of each connection are on this machine, and this one is ours.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Clients who have said something, and have their answer.
fn idle(server: &Server, count: usize) -> Vec<Client> {
    let greeted = |_| {
        let mut client = server.client();
        client.echo("hello");
        client
    };
    (0..count).map(greeted).collect()
}

/// Clients who have said half of something.
fn within_a_line(server: &Server) -> Vec<Client> {
    let clients = idle(server, WITHIN_A_LINE);
    for client in &clients {
        client.send("half a li");
    }
    await_state(server, "read+rest", WITHIN_A_LINE);
    clients
}

/// Clients for whom data waits, which they do not read.
fn not_reading(server: &Server) -> Vec<Client> {
    let connect = |_| Client::connect_narrow(server.tcp("echo"));
    let clients: Vec<Client> = (0..NOT_READING).map(connect).collect();
    clients.iter().for_each(Client::stuff);
    await_state(server, "write", NOT_READING);
    clients
}

fn await_state(server: &Server, state: &str, count: usize) {
    eventually(&format!("{count} connections were in state `{state}`"), || {
        let now = server.connections(state);
        if now == count as u64 { Ok(()) } else { Err(format!("{now}")) }
    });
}

/// Asks for echoes until the server closes; the number of answers.
fn busy(mut client: Client) -> usize {
    for answered in 0.. {
        let line = client.try_send("busy\n").and_then(|()| client.try_line());
        match line {
            Ok(line) if line.is_empty() => return answered,
            Ok(line) => assert_eq!(line, "Echo: busy\n", "after {answered} answers"),
            // It closed after an answer, while our next line was on its way.
            Err(error) if is_closed(error.kind()) => return answered,
            Err(error) => panic!("after {answered} answers: {error}"),
        }
    }
    unreachable!("there is an end to numbers");
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Sends SIGTERM while [`BUSY`] clients keep it busy; these end before `then`.
fn terminate_under_load(server: &mut Server, then: impl FnOnce(Instant)) {
    let clients = idle(server, BUSY);
    thread::scope(|scope| {
        let busy = clients.into_iter().map(|client| scope.spawn(|| busy(client)));
        let busy: Vec<_> = busy.collect();
        let mut bystander = server.client();
        (0..100).for_each(|_| bystander.echo("a bystander"));
        drop(bystander);
        let signalled = Instant::now();
        server.signal(Signal::TERM);
        for client in busy {
            assert!(client.join().unwrap() > 0, "a busy client was never answered");
        }
        then(signalled);
    });
}

/// Each of them sees an orderly end, soon.
fn assert_closed_at_once(clients: &mut [Client], signalled: Instant, soon: Duration) {
    for client in clients {
        assert_eq!(client.rest().ok().as_deref(), Some(""), "an orderly end");
        let took = signalled.elapsed();
        assert!(took < soon, "closed {took:?} after the signal, not at once");
    }
}

#[test]
fn who_does_not_end_is_cut_and_named() {
    let grace = Duration::from_secs(3);
    let mut server = server(grace);
    let mut idle = idle(&server, IDLE);
    let mut stuck = within_a_line(&server);
    stuck.extend(not_reading(&server));
    terminate_under_load(&mut server, |signalled| {
        assert_closed_at_once(&mut idle, signalled, grace / 2);
    });
    let ended = server.ended();
    assert!((grace..grace + MARGIN).contains(&ended.took), "it took {:?}", ended.took);
    ended.assert_clean();
    assert_names(&ended, &stuck.iter().map(Client::address).collect());
    assert_sum(&ended, stuck.len());
}

/// The report names some of these, nobody else, and how many more there are.
fn assert_names(ended: &Ended, stuck: &BTreeSet<SocketAddr>) {
    let cut = ended.stdout.lines().filter_map(|line| line.strip_prefix("cut: "));
    let (named, more): (Vec<&str>, Vec<&str>) = cut.partition(|cut| cut.starts_with("echo: "));
    assert_eq!(more, [format!("and {} more", stuck.len() - NAMED)], "{}", ended.stdout);
    let address = |line: &str| {
        let (_, address) = line.strip_suffix(')')?.rsplit_once('(')?;
        address.parse::<SocketAddr>().ok()
    };
    let addresses: BTreeSet<SocketAddr> = named.iter().filter_map(|line| address(line)).collect();
    assert_eq!(addresses.len(), NAMED, "each by its own address: {}", ended.stdout);
    assert!(addresses.is_subset(stuck), "others than those stuck: {}", ended.stdout);
}

/// The last line counts all connections, and those that were cut.
fn assert_sum(ended: &Ended, cut: usize) {
    let last = ended.last_line();
    let served = last.strip_prefix("served ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    assert!(served.is_some_and(|served: usize| served >= ALL), "fewer than {ALL}: {last}");
    assert!(
        last.contains(&format!("(0 refused, {cut} cut by the drain)")),
        "not {cut} cut: {last}"
    );
}

#[test]
fn who_ends_in_time_is_not_cut() {
    let grace = Duration::from_secs(15);
    let mut server = server(grace);
    let mut idle = idle(&server, IDLE + NOT_READING);
    let mut unfinished = within_a_line(&server);
    terminate_under_load(&mut server, |signalled| {
        assert_closed_at_once(&mut idle, signalled, grace / 3);
        for client in &mut unfinished {
            client.send("ne\n");
            assert_eq!(client.rest().unwrap(), "Echo: half a line\n");
        }
    });
    let ended = server.ended();
    assert!(ended.took < grace / 3, "it took {:?}", ended.took);
    ended.assert_clean();
    assert!(!ended.stdout.contains("cut: "), "{}", ended.stdout);
    assert_sum(&ended, 0);
}
