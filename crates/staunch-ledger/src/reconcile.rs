//! Whether the kernel agrees: what `/proc/self/fd` and the socket tables have and the ledger
//! lacks, and the reverse.
//!
//! Neither side stands still while the other is read. A connection has an fd before it has an
//! account; a closed one has an account a moment longer than an fd, or the other way round. So a
//! difference counts only if it outlasts several looks with growing pauses between them: the
//! same fd on the same socket or file, the same entry. Nearly always the first look finds no
//! difference, and there is no second.
//!
//! An entry is matched with an fd by its number. Of an fd that was closed and given anew, while
//! its entry lives on, that shows only if what it is open on now does not fit the entry: a
//! connection whose number is now another connection's agrees.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    os::fd::RawFd,
    panic::Location,
    thread,
    time::Duration,
};

use staunch_kernel::{
    Fd, FdKind, Process, ProcessError, Protocol, Socket, SocketQuery, SocketsError, TcpState,
};

use crate::{Account, Entry, EntryId, Kind, Ledger, Obligation};

/// Pauses between looks. A thread between `accept` and its account may have lost the processor
/// for some scheduler slices, on a busy machine some tens of milliseconds.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(100)];

/// The highest fd that every process has from its birth: standard error.
const STDERR: RawFd = 2;

/// Where the ledger and the kernel agree about sockets and files, and where they do not.
///
/// Sockets and files of all sorts are compared. Standard input, output and error are not, nor
/// is what an asynchronous runtime holds for itself: epoll, eventfds, timerfds, signalfds, pipes
/// and devices.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reconciliation {
    /// What the kernel holds for the process and no entry names
    /// ([`Account::set_fd`](crate::Account::set_fd)).
    pub unaccounted: Vec<UnaccountedFd>,
    /// Entries whose fd is closed, or is open on something else than they say: not on a socket,
    /// for a listener or connection; on neither socket nor file, for anything.
    pub phantoms: Vec<Entry>,
    /// Entries that name an fd which another entry names too.
    pub contested: Vec<Entry>,
    /// The sockets that entries name, as the kernel sees them. A socket that is neither bound
    /// nor connected is in no table of the kernel, and so not here.
    pub sockets: Vec<(Entry, Socket)>,
    /// Whether the kernel told of every socket it was asked for. If not, `sockets` and
    /// [`UnaccountedFd::socket`] may lack some; what agrees and what does not is right all the
    /// same.
    pub sockets_complete: bool,
}

/// A socket or file that the kernel holds for the process and the ledger lacks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnaccountedFd {
    /// Its number.
    pub fd: RawFd,
    /// What it is open on; for a file, with its path.
    pub kind: FdKind,
    /// The socket, with its addresses and state, if it is one that is bound or connected.
    pub socket: Option<Socket>,
}

/// The kernel could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The open files of the process could not be listed.
    #[error("cannot list the open files of this process")]
    Fds(#[from] ProcessError),
    /// The kernel's sockets could not be listed.
    #[error("cannot list the sockets of this process")]
    Sockets(#[from] SocketsError),
}

impl Ledger {
    /// Asks the kernel whether it agrees with the ledger about sockets and files, all of those
    /// that the process has: meant for the ledger that all of the process works on.
    ///
    /// Blocks for some microseconds an fd; with a difference, which is then looked at again and
    /// again, for a ninth of a second more. On an asynchronous runtime, call it from a place
    /// where blocking is allowed.
    ///
    /// # Errors
    /// [`ReconcileError`], if the kernel could not be asked.
    ///
    /// # Examples
    /// ```
    /// use staunch_ledger::Ledger;
    ///
    /// let ledger = Ledger::new();
    /// let _inherited = ledger.adopt_open_fds("there before the example began")?;
    /// let forgotten = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///
    /// let reconciliation = ledger.reconcile()?;
    /// assert_eq!(reconciliation.unaccounted.len(), 1);
    /// println!("{}", reconciliation.unaccounted[0]); // fd 3: tcp LISTEN 127.0.0.1:43210
    /// # drop(forgotten);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reconcile(self) -> Result<Reconciliation, ReconcileError> {
        Ok(Look::settled(self, &PAUSES)?.ask_for_sockets()?)
    }

    /// Opens an account for each socket and file that is open now and unaccounted, perpetual
    /// for `reason`: for what the process inherited, or a runtime made for itself at its start.
    /// Whoever calls keeps them. Call it before the process has work: it looks twice, a
    /// millisecond apart, which is too short for a busy process.
    ///
    /// # Errors
    /// As for [`Ledger::reconcile`].
    #[track_caller]
    pub fn adopt_open_fds(self, reason: &'static str) -> Result<Vec<Account>, ReconcileError> {
        let here = Location::caller();
        let adopt = |found: UnaccountedFd| {
            let account =
                self.open_at(here, found.ledger_kind(), Obligation::Perpetual(reason), None);
            account.set_fd(found.fd);
            account.label(&found.to_string());
            account
        };
        let found = Look::settled(self, &PAUSES[..1])?.ask_for_sockets()?.unaccounted;
        Ok(found.into_iter().map(adopt).collect())
    }
}

impl Reconciliation {
    /// Whether there is no difference.
    pub fn agrees(&self) -> bool {
        self.unaccounted.is_empty() && self.phantoms.is_empty() && self.contested.is_empty()
    }
}

impl UnaccountedFd {
    fn ledger_kind(&self) -> Kind {
        match (&self.kind, &self.socket) {
            (FdKind::Socket { .. }, Some(socket)) if serves(socket) => Kind::LISTENER,
            (FdKind::Socket { .. }, _) => Kind::CONNECTION,
            _ => Kind::FILE,
        }
    }
}

/// Whether a socket serves whoever comes.
fn serves(socket: &Socket) -> bool {
    socket.state == TcpState::Listen || socket.protocol == Protocol::Udp && socket.remote.is_none()
}

impl fmt::Display for UnaccountedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}: ", self.fd)?;
        match (&self.socket, &self.kind) {
            (Some(socket), _) => fmt_socket(socket, f),
            (None, FdKind::Socket { .. }) => f.write_str("a socket that is not connected"),
            (None, FdKind::File { path, deleted }) => {
                let deleted = if *deleted { " (deleted)" } else { "" };
                write!(f, "{}{deleted}", path.display())
            }
            (None, FdKind::MemFd { name }) => write!(f, "memfd {name}"),
            (None, kind) => write!(f, "{kind:?}"),
        }
    }
}

fn fmt_socket(socket: &Socket, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{} {} {}", socket.protocol, socket.state, socket.local)?;
    match socket.remote {
        Some(remote) => write!(f, " <-> {remote}"),
        None => Ok(()),
    }
}

/// Both sides, seen once.
#[derive(Default)]
struct Look {
    unaccounted: Vec<Fd>,
    phantoms: Vec<Entry>,
    contested: Vec<Entry>,
    /// Entries that name an open fd, and what it is open on.
    matched: Vec<(Entry, FdKind)>,
}

impl Look {
    /// Looks until there is no difference, or it has outlasted all of the pauses.
    fn settled(ledger: Ledger, pauses: &[Duration]) -> Result<Look, ProcessError> {
        let mut look = Look::take(ledger)?;
        for pause in pauses {
            if look.agrees() {
                break;
            }
            thread::sleep(*pause);
            look = Look::take(ledger)?.without_what_is_new_since(&look);
        }
        Ok(look)
    }

    fn take(ledger: Ledger) -> Result<Look, ProcessError> {
        let mut entries = entries_by_fd(ledger);
        let mut look = Look::default();
        for fd in Process::current().fds()? {
            if fd.number > STDERR && is_socket_or_file(&fd.kind) {
                let named = entries.remove(&fd.number).unwrap_or_default();
                let (fitting, others) = named.into_iter().partition(|entry| fits(entry, &fd.kind));
                look.add(fitting, fd);
                look.phantoms.extend::<Vec<Entry>>(others);
            }
        }
        look.phantoms.extend(entries.into_values().flatten());
        Ok(look)
    }

    /// An fd, and the entries it fits.
    fn add(&mut self, entries: Vec<Entry>, fd: Fd) {
        match entries.len() {
            0 => return self.unaccounted.push(fd),
            1 => {}
            _ => self.contested.extend_from_slice(&entries),
        }
        self.matched.extend(entries.into_iter().map(|entry| (entry, fd.kind.clone())));
    }

    fn agrees(&self) -> bool {
        self.unaccounted.is_empty() && self.phantoms.is_empty() && self.contested.is_empty()
    }

    fn without_what_is_new_since(mut self, before: &Look) -> Look {
        let fds: HashSet<&Fd> = before.unaccounted.iter().collect();
        self.unaccounted.retain(|fd| fds.contains(fd));
        retain_known(&mut self.phantoms, &before.phantoms);
        retain_known(&mut self.contested, &before.contested);
        self
    }

    fn ask_for_sockets(self) -> Result<Reconciliation, SocketsError> {
        let kinds = self.unaccounted.iter().map(|fd| &fd.kind);
        let kinds = kinds.chain(self.matched.iter().map(|(_, kind)| kind));
        let (sockets, sockets_complete) = sockets_by_inode(kinds.filter_map(inode))?;
        let socket = |kind: &FdKind| sockets.get(&inode(kind)?).cloned();

        let unaccounted = self.unaccounted.into_iter().map(|fd| UnaccountedFd {
            fd: fd.number,
            socket: socket(&fd.kind),
            kind: fd.kind,
        });
        let matched = self.matched.into_iter();
        Ok(Reconciliation {
            unaccounted: unaccounted.collect(),
            phantoms: self.phantoms,
            contested: self.contested,
            sockets: matched.filter_map(|(entry, kind)| Some((entry, socket(&kind)?))).collect(),
            sockets_complete,
        })
    }
}

fn entries_by_fd(ledger: Ledger) -> HashMap<RawFd, Vec<Entry>> {
    let mut by_fd: HashMap<RawFd, Vec<Entry>> = HashMap::new();
    for entry in ledger.snapshot().entries() {
        if let Some(fd) = entry.fd().filter(|fd| *fd > STDERR) {
            by_fd.entry(fd).or_default().push(entry.clone());
        }
    }
    by_fd
}

fn is_socket_or_file(kind: &FdKind) -> bool {
    matches!(
        kind,
        FdKind::Socket { .. } | FdKind::File { .. } | FdKind::MemFd { .. } | FdKind::PathTooLong
    )
}

/// Whether an entry can be what an fd is open on.
fn fits(entry: &Entry, kind: &FdKind) -> bool {
    let is_socket = matches!(kind, FdKind::Socket { .. });
    is_socket || ![Kind::LISTENER, Kind::CONNECTION].contains(&entry.kind())
}

fn retain_known(entries: &mut Vec<Entry>, known: &[Entry]) {
    let known: HashSet<EntryId> = known.iter().map(Entry::id).collect();
    entries.retain(|entry| known.contains(&entry.id()));
}

fn inode(kind: &FdKind) -> Option<u64> {
    match kind {
        FdKind::Socket { inode } => Some(*inode),
        _ => None,
    }
}

/// The sockets that the kernel knows, and whether it told of all.
fn sockets_by_inode(
    inodes: impl Iterator<Item = u64>,
) -> Result<(HashMap<u64, Socket>, bool), SocketsError> {
    let inodes: Vec<u64> = inodes.collect();
    if inodes.is_empty() {
        return Ok((HashMap::new(), true));
    }
    let table = SocketQuery::new().inodes(inodes).run()?;
    let named = |socket: Socket| Some((socket.inode?, socket));
    let complete = !(table.truncated || table.interrupted);
    Ok((table.sockets.into_iter().filter_map(named).collect(), complete))
}
