//! What the ledger and the kernel say of each other. One at a time: they share the process's fds.
#![cfg(not(loom))]

use std::{
    fs::File,
    io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use staunch_kernel::{FdKind, Protocol, TcpState};
use staunch_ledger::{
    Account, Entry, EntryId, Kind, Ledger, Obligation, OwnedLedger, Reconciliation, UnaccountedFd,
};

/// A ledger that agrees with the kernel, for one test at a time.
struct Quiet {
    ledger: OwnedLedger,
    _inherited: Vec<Account>,
    _alone: MutexGuard<'static, ()>,
}

impl Quiet {
    fn new() -> Quiet {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = Ledger::new();
        let inherited =
            ledger.adopt_open_fds("inherited from whoever runs the test").expect("/proc");
        let quiet = Quiet { ledger, _inherited: inherited, _alone: alone };
        assert!(quiet.reconcile().agrees());
        quiet
    }

    fn reconcile(&self) -> Reconciliation {
        self.ledger.reconcile().expect("/proc and sock_diag")
    }

    fn open(&self, kind: Kind, fd: RawFd) -> Account {
        let account = self.ledger.open(kind, Obligation::EndsWithParent);
        account.set_fd(fd);
        account
    }
}

/// The only difference: one fd that the ledger lacks.
fn only_unaccounted(reconciliation: Reconciliation) -> UnaccountedFd {
    let Reconciliation { mut unaccounted, phantoms, contested, .. } = reconciliation;
    assert_eq!((unaccounted.len(), phantoms.len(), contested.len()), (1, 0, 0), "{unaccounted:?}");
    unaccounted.remove(0)
}

fn ids(entries: &[Entry]) -> Vec<EntryId> {
    entries.iter().map(Entry::id).collect()
}

#[test]
fn an_unaccounted_listener_is_named() {
    let quiet = Quiet::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();

    let found = only_unaccounted(quiet.reconcile());
    let socket = found.socket.as_ref().expect("a bound socket");
    assert_eq!(found.fd, listener.as_raw_fd());
    assert!(matches!(found.kind, FdKind::Socket { inode } if Some(inode) == socket.inode));
    assert_eq!((socket.protocol, socket.state), (Protocol::Tcp, TcpState::Listen));
    assert_eq!((socket.local.inet(), socket.remote), (Some(address), None));
    assert_eq!(found.to_string(), format!("fd {}: tcp LISTEN {address}", found.fd));
}

#[test]
fn an_unaccounted_connection_is_named_with_both_ends() {
    let quiet = Quiet::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _listener = quiet.open(Kind::LISTENER, listener.as_raw_fd());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _client = quiet.open(Kind::CONNECTION, client.as_raw_fd());
    let (forgotten, peer) = listener.accept().unwrap();

    let found = only_unaccounted(quiet.reconcile());
    let local = forgotten.local_addr().unwrap();
    assert_eq!(found.to_string(), format!("fd {}: tcp ESTABLISHED {local} <-> {peer}", found.fd));
    drop(client);
    assert_eq!(quiet.reconcile().phantoms.len(), 1, "the client's");
    let found = quiet.reconcile().unaccounted.remove(0);
    assert_eq!(found.socket.map(|socket| socket.state), Some(TcpState::CloseWait));
}

#[test]
fn an_unaccounted_file_is_named_by_its_path() {
    let quiet = Quiet::new();
    let path = std::env::current_exe().unwrap();
    let _file = File::open(&path).unwrap();
    let found = only_unaccounted(quiet.reconcile());
    assert_eq!(found.to_string(), format!("fd {}: {}", found.fd, path.display()));
    assert!(found.socket.is_none());
}

#[test]
fn a_deleted_file_is_named_by_the_path_it_had() {
    let quiet = Quiet::new();
    let path = std::env::temp_dir().join(format!("staunch-ledger-test-{}", std::process::id()));
    let _file = File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let found = only_unaccounted(quiet.reconcile());
    assert_eq!(found.to_string(), format!("fd {}: {} (deleted)", found.fd, path.display()));
}

#[test]
fn what_a_runtime_holds_for_itself_is_not_compared() {
    let quiet = Quiet::new();
    let _device = File::open("/dev/null").unwrap();
    let _pipe = io::pipe().unwrap();
    assert!(quiet.reconcile().agrees());
}

#[test]
fn adopted_fds_are_accounted_for() {
    let quiet = Quiet::new();
    let _udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let pair = UnixStream::pair().unwrap();
    let _file = File::open("/proc/self/exe").unwrap();
    assert_eq!(quiet.reconcile().unaccounted.len(), 4);

    let adopted = quiet.ledger.adopt_open_fds("made by the runtime").unwrap();
    assert!(quiet.reconcile().agrees());
    let entries: Vec<Entry> =
        adopted.iter().map(|account| quiet.ledger.entry(account.id()).unwrap()).collect();
    let of_kind = |kind| entries.iter().filter(move |entry| entry.kind() == kind);
    let counts = [Kind::LISTENER, Kind::CONNECTION, Kind::FILE].map(|kind| of_kind(kind).count());
    assert_eq!(counts, [1, 2, 1]);
    for entry in &entries {
        assert_eq!(entry.obligation(), Obligation::Perpetual("made by the runtime"));
        assert_eq!(entry.born_at().file(), file!());
    }
    let udp = of_kind(Kind::LISTENER).next().unwrap().label().to_string();
    assert!(udp.contains("udp CLOSE 127.0.0.1:"), "{udp}");

    drop(pair);
    let phantoms = quiet.reconcile().phantoms;
    assert_eq!(phantoms.len(), 2, "{phantoms:?}");
}

#[test]
fn an_account_whose_fd_is_closed_is_a_phantom() {
    let quiet = Quiet::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let account = quiet.open(Kind::LISTENER, listener.as_raw_fd());
    assert!(quiet.reconcile().agrees());

    drop(listener);
    assert_eq!(ids(&quiet.reconcile().phantoms), [account.id()]);
    drop(account);
    assert!(quiet.reconcile().agrees());
}

#[test]
fn an_account_whose_fd_has_become_something_else_is_a_phantom() {
    let quiet = Quiet::new();
    let (pipe, _other_end) = io::pipe().unwrap();
    let account = quiet.open(Kind::CONNECTION, pipe.as_raw_fd());
    assert_eq!(ids(&quiet.reconcile().phantoms), [account.id()]);
}

#[test]
fn a_connection_whose_fd_has_become_a_file_is_a_phantom() {
    let quiet = Quiet::new();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let account = quiet.open(Kind::CONNECTION, file.as_raw_fd());
    let reconciliation = quiet.reconcile();
    assert_eq!(ids(&reconciliation.phantoms), [account.id()]);
    assert_eq!(reconciliation.unaccounted[0].fd, file.as_raw_fd(), "the file is nobody's");
    assert!(reconciliation.sockets_complete && !reconciliation.agrees());

    let _file = quiet.open(Kind::FILE, file.as_raw_fd());
    drop(account);
    assert!(quiet.reconcile().agrees());
}

#[test]
fn two_accounts_of_one_fd_are_both_reported() {
    let quiet = Quiet::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let accounts =
        [Kind::LISTENER, Kind::CONNECTION].map(|kind| quiet.open(kind, socket.as_raw_fd()));

    let reconciliation = quiet.reconcile();
    let mut contested = ids(&reconciliation.contested);
    contested.sort_unstable();
    let mut expected = accounts.each_ref().map(Account::id);
    expected.sort_unstable();
    assert_eq!(contested, expected);
    assert!(reconciliation.phantoms.is_empty() && reconciliation.unaccounted.is_empty());
    assert!(!reconciliation.agrees());
}

#[test]
fn each_socket_is_shown_with_its_entry() {
    let quiet = Quiet::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = quiet.open(Kind::LISTENER, listener.as_raw_fd());
    let client = TcpStream::connect(address).unwrap();
    let connection = quiet.open(Kind::CONNECTION, client.as_raw_fd());
    let (accepted, _) = listener.accept().unwrap();
    let _accepted = quiet.open(Kind::CONNECTION, accepted.as_raw_fd());
    drop(accepted);

    let sockets = quiet.reconcile().sockets;
    let socket = |account: &Account| {
        let mut of_account = sockets.iter().filter(|(entry, _)| entry.id() == account.id());
        &of_account.next().expect("a socket of the account").1
    };
    assert_eq!(socket(&server).state, TcpState::Listen);
    assert_eq!(socket(&connection).remote, Some(address));
    assert_eq!(socket(&connection).state, TcpState::CloseWait, "its peer is gone");
}

#[test]
fn a_busy_process_shows_no_false_difference() {
    let quiet = Quiet::new();
    let stop = AtomicBool::new(false);
    let opened = thread::scope(|scope| {
        let busy = || {
            let mut opened = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let account = quiet.open(Kind::CONNECTION, socket.as_raw_fd());
                // One way round and the other.
                if opened.is_multiple_of(2) {
                    drop(socket);
                    drop(account);
                } else {
                    drop(account);
                    drop(socket);
                }
                opened += 1;
            }
            opened
        };
        let busy = [scope.spawn(busy), scope.spawn(busy)];
        for round in 0..200 {
            let reconciliation = quiet.reconcile();
            if !reconciliation.agrees() {
                stop.store(true, Ordering::Relaxed);
                panic!("round {round}: {reconciliation:#?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().map(|busy| busy.join().expect("no panic")).sum::<u64>()
    });
    assert!(opened > 200, "only {opened} sockets were opened meanwhile");
}
