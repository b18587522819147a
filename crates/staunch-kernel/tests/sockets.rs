//! Real sockets in real TCP states: both sources must see them, and see the same.

#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but not in their helpers")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use staunch_kernel::{
    Address, FdKind, Process, Protocol, Queue, SockDiagError, Socket, SocketQuery, SocketsError,
    Source, TcpState, sockets,
};

/// The inode of one of our fds, by way of `fds()`.
fn inode(fd: &impl AsRawFd) -> u64 {
    let number: RawFd = fd.as_raw_fd();
    let fds = Process::current().fds().unwrap();
    let fd = fds.iter().find(|fd| fd.number == number).expect("the fd is listed");
    match fd.kind {
        FdKind::Socket { inode } => inode,
        ref other => panic!("fd {number} is {other:?}"),
    }
}

/// Asks both sources until they agree on all that both know. Neither is a snapshot, and other
/// tests change the tables meanwhile: once in a while one of them misses a socket.
fn both(query: &SocketQuery) -> Vec<Socket> {
    let mut found = Vec::new();
    wait_until("both sources agree", || {
        let [diag, proc] = [Source::SockDiag, Source::ProcNet].map(|source| {
            let table = query.clone().source(source).run().unwrap();
            assert_eq!((table.source, table.truncated), (source, false));
            table.sockets
        });
        let agree = common(&diag) == common(&proc);
        found = diag;
        agree
    });
    found
}

/// What both sources know of sockets, in an order that is the same for both.
fn common(sockets: &[Socket]) -> Vec<String> {
    let known = |socket: &Socket| {
        // The text table of Unix sockets has no queues.
        let waiting = match socket.queue {
            Queue::Accept { waiting, .. } if socket.protocol != Protocol::Unix => Some(waiting),
            _ => None,
        };
        let Socket { protocol, state, local, remote, inode, .. } = socket;
        format!("{protocol} {state} {local} {remote:?} {inode:?} {waiting:?}")
    };
    let mut known: Vec<_> = sockets.iter().map(known).collect();
    known.sort();
    known
}

/// The one socket behind an fd, as both sources see it.
fn seen(fd: &impl AsRawFd) -> Socket {
    let mut found = both(&SocketQuery::new().inodes([inode(fd)]));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// The connection from `local` to `remote`, whether or not an fd is open on it. Other tests come
/// and go meanwhile, so the two sources are not compared on all they see.
fn connection_between(local: SocketAddr, remote: SocketAddr) -> Option<Socket> {
    let [diag, proc] = [Source::SockDiag, Source::ProcNet].map(|source| {
        let table = SocketQuery::new().protocols([Protocol::Tcp]).source(source).run().unwrap();
        table
            .sockets
            .into_iter()
            .find(|socket| socket.local == Address::Inet(local) && socket.remote == Some(remote))
    });
    let known = |socket: &Socket| (socket.state, socket.inode);
    (diag.as_ref().map(known) == proc.as_ref().map(known)).then_some(diag?)
}

fn wait_for_state(fd: &impl AsRawFd, state: TcpState) {
    wait_until(&format!("it is in {state}"), || seen(fd).state == state);
}

/// Waits until `condition` holds, and fails loudly if it never does.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 10 s until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A listener, a client of it and the server's end of their connection.
fn connection(listen: SocketAddr) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(listen).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

#[test]
fn a_connection_is_seen_from_both_ends() {
    for listen in [loopback(), (Ipv6Addr::LOCALHOST, 0).into()] {
        let (listener, client, server) = connection(listen);
        let seen_listener = seen(&listener);
        assert_eq!(seen_listener.state, TcpState::Listen);
        assert_eq!(seen_listener.protocol, Protocol::Tcp);
        assert_eq!(seen_listener.local, Address::Inet(listener.local_addr().unwrap()));
        assert_eq!(seen_listener.remote, None);

        let seen_server = seen(&server);
        assert_eq!(seen_server.state, TcpState::Established);
        assert_eq!(seen_server.local, Address::Inet(server.local_addr().unwrap()));
        assert_eq!(seen_server.remote, Some(client.local_addr().unwrap()));
        assert_eq!(seen(&client).remote, Some(server.local_addr().unwrap()));
    }
}

#[test]
fn an_ipv4_peer_of_an_ipv6_listener_is_mapped() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port));
    assert_eq!(seen(&server).local, Address::Inet(mapped));
}

#[test]
fn half_closed_connections_are_in_close_wait_and_fin_wait2() {
    let (_listener, client, mut server) = connection(loopback());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    wait_for_state(&server, TcpState::CloseWait);
    wait_for_state(&client, TcpState::FinWait2);

    // A query by state finds the one and not the other.
    let inodes = [inode(&server), inode(&client)];
    let found = both(&SocketQuery::new().states([TcpState::CloseWait]).inodes(inodes));
    assert_eq!(found.iter().map(|socket| socket.inode).collect::<Vec<_>>(), [Some(inodes[0])]);
}

#[test]
fn a_peer_that_is_gone_leaves_us_in_close_wait() {
    let (_listener, client, server) = connection(loopback());
    let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop(client);
    wait_for_state(&server, TcpState::CloseWait);
    // The other end has no fd, and goes on without one.
    wait_until("the orphan is in FIN_WAIT2", || {
        connection_between(local, remote)
            .is_some_and(|orphan| (orphan.state, orphan.inode) == (TcpState::FinWait2, None))
    });
}

#[test]
fn a_connection_closed_by_both_is_in_time_wait() {
    let (_listener, client, mut server) = connection(loopback());
    let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop(client);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    drop(server);
    wait_until("it is in TIME_WAIT", || {
        connection_between(local, remote)
            .is_some_and(|over| (over.state, over.inode) == (TcpState::TimeWait, None))
    });
}

#[test]
fn connections_that_wait_for_accept_are_counted_and_have_no_inode() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    let waiting = |socket: &Socket| matches!(socket.queue, Queue::Accept { waiting: 2, .. });
    wait_until("two wait", || waiting(&seen(&listener)));
    let Queue::Accept { limit, .. } = seen(&listener).queue else { unreachable!() };
    assert!(limit.unwrap() >= 2);

    let query = SocketQuery::new().local_ports([address.port()]).states([TcpState::Established]);
    let unaccepted = both(&query);
    assert_eq!(unaccepted.len(), 2);
    assert!(unaccepted.iter().all(|socket| socket.inode.is_none()));
}

#[test]
fn queues_hold_what_is_not_read() {
    let (_listener, mut client, server) = connection(loopback());
    client.write_all(&[0; 1000]).unwrap();
    wait_until("1000 bytes wait", || seen(&server).recv_queue_bytes() == 1000);
    assert_eq!(seen(&server).send_queue_bytes(), 0);
}

#[test]
fn udp_sockets() {
    let one = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let other = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    assert_eq!((seen(&one).protocol, seen(&one).state), (Protocol::Udp, TcpState::Close));
    one.connect(other.local_addr().unwrap()).unwrap();
    assert_eq!(seen(&one).state, TcpState::Established);
    assert_eq!(seen(&one).remote, Some(other.local_addr().unwrap()));
    one.send(&[0; 100]).unwrap();
    wait_until("a datagram waits", || seen(&other).recv_queue_bytes() >= 100);
}

#[test]
fn unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b\nc.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let seen_listener = seen(&listener);
    assert_eq!(seen_listener.state, TcpState::Listen);
    assert_eq!(seen_listener.local, Address::Path(path.clone()));

    let mut client = UnixStream::connect(&path).unwrap();
    let (server, _) = listener.accept().unwrap();
    assert_eq!(seen(&server).state, TcpState::Established);
    assert_eq!(seen(&server).local, Address::Path(path));
    assert_eq!(seen(&client).local, Address::Unnamed);
    assert_eq!(seen(&client).peer_inode, Some(inode(&server)));
    client.write_all(b"unread").unwrap();
    assert_eq!(seen(&server).recv_queue_bytes(), 6);

    let name = format!("staunch-kernel-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let datagram = UnixDatagram::bind_addr(&address).unwrap();
    assert_eq!(seen(&datagram).local, Address::Abstract(name.into_bytes()));
    assert_eq!(seen(&datagram).state, TcpState::Close);
}

#[test]
fn without_conditions_everything_is_found() {
    let (listener, client, server) = connection(loopback());
    let table = sockets().unwrap();
    assert!(!table.truncated);
    for inode in [inode(&listener), inode(&client), inode(&server)] {
        assert_eq!(table.sockets.iter().filter(|s| s.inode == Some(inode)).count(), 1);
    }
}

#[test]
fn the_limit_is_kept_and_reported() {
    let (listener, client, server) = connection(loopback());
    let query = SocketQuery::new().inodes([inode(&listener), inode(&client), inode(&server)]);
    for source in [Source::SockDiag, Source::ProcNet] {
        let limited = |limit| query.clone().source(source).limit(limit).run().unwrap();
        assert_eq!((limited(2).sockets.len(), limited(2).truncated), (2, true));
        assert_eq!((limited(3).sockets.len(), limited(3).truncated), (3, false));
    }
}

#[test]
fn many_sockets_take_many_datagrams() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let pairs: Vec<_> = (0..400)
        .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0))
        .collect();
    // Connections of an earlier owner of the port may still be in TIME_WAIT.
    let query = SocketQuery::new()
        .local_ports([address.port()])
        .states([TcpState::Listen, TcpState::Established]);
    assert_eq!(both(&query).len(), pairs.len() + 1);
    // Ours shall not be: with no time to linger, they are reset.
    for (client, _) in &pairs {
        set_socket_linger(client, Some(Duration::ZERO)).unwrap();
    }
}

/// A process in a network namespace of its own.
struct Elsewhere(Child);

impl Elsewhere {
    /// `None` where the machine does not allow it.
    fn start() -> Option<Elsewhere> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--net", "sleep", "60"]);
        let child = unshare.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let mut elsewhere = Elsewhere(child);
        let process = Process::new(elsewhere.0.id());
        let mut ended = false;
        wait_until("the child runs sleep", || {
            ended = elsewhere.0.try_wait().unwrap().is_some();
            ended || process.status().is_ok_and(|status| status.name == "sleep")
        });
        (!ended).then_some(elsewhere)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Either may fail because the child has ended, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_namespace_is_read_from_proc() {
    let Some(elsewhere) = Elsewhere::start() else {
        eprintln!("skipped: this machine does not let the test unshare a network namespace");
        return;
    };
    let listener = TcpListener::bind(loopback()).unwrap();
    let query = SocketQuery::new().protocols([Protocol::Tcp]).inodes([inode(&listener)]);
    assert_eq!(both(&query).len(), 1);

    let query = query.namespace_of(Process::new(elsewhere.0.id()));
    let table = query.run().unwrap();
    assert_eq!(table.sockets, [], "our listener is not in its namespace");
    assert_eq!(table.source, Source::ProcNet);
    assert!(matches!(table.fallback, Some(SockDiagError::OtherNamespace { .. })));
    assert!(matches!(
        query.source(Source::SockDiag).run(),
        Err(SocketsError::SockDiag(SockDiagError::OtherNamespace { .. }))
    ));
}

#[test]
fn a_process_that_is_gone_has_no_namespace() {
    let error = SocketQuery::new().namespace_of(Process::new(0)).run().unwrap_err();
    assert!(matches!(error, SocketsError::ProcNet { fallback: Some(_), .. }), "{error}");
}

#[test]
fn a_child_in_our_namespace_is_asked_by_sock_diag() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let table = SocketQuery::new().namespace_of(Process::new(child.id())).run().unwrap();
    assert_eq!(table.source, Source::SockDiag);
    child.kill().unwrap();
    child.wait().unwrap();
}
