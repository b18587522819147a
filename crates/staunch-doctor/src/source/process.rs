//! A process of this machine, as the kernel shows it: its descriptors, sockets, threads and memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    net::SocketAddr,
    time::Duration,
};

use staunch_diagnosis::{FdCount, Limits, Snapshot, Socket, SocketState, ThreadCount};
use staunch_kernel::{
    FdKind, Process, ProcessError, Protocol, Queue, SocketQuery, SocketsError, TcpState,
};

use super::{
    Look,
    aborts::aborts,
    jvm::{Machine, without_digits},
};

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessSourceError {
    /// The kernel does not say what it has.
    #[error("cannot look at process {pid}")]
    Process {
        /// Its number.
        pid: u32,
        /// What the kernel said.
        source: ProcessError,
    },
    /// The kernel does not say which sockets there are.
    #[error("cannot list the sockets of process {pid}")]
    Sockets {
        /// The process's number.
        pid: u32,
        /// What the kernel said.
        source: SocketsError,
    },
}

/// Looks at one process again and again, and so knows for how long what it sees has been there.
#[derive(Debug)]
pub struct ProcessSource {
    process: Process,
    /// Since when a socket has been in its state.
    sockets: HashMap<u64, (TcpState, Duration)>,
    /// The JVM that runs in it.
    machine: Option<Machine>,
    notes: Vec<String>,
}

impl ProcessSource {
    /// The process with this number.
    #[must_use]
    pub fn new(pid: u32) -> ProcessSource {
        let machine = Machine::of(pid);
        let process = Process::new(pid);
        ProcessSource { process, sockets: HashMap::new(), machine, notes: Vec::new() }
    }

    /// Has a JVM record where it allocates what stays, by JDK Flight Recorder, from a [`Look::First`] look
    /// to a [`Look::Last`] one, which come within `time`. It is stopped by the last look, by
    /// [`end`](ProcessSource::end), when this is dropped (which blocks for 10 s at most), and by the JVM
    /// itself a minute behind `time`.
    #[must_use]
    pub fn recording(mut self, time: Duration) -> ProcessSource {
        match &mut self.machine {
            Some(machine) => machine.record(time),
            None => self.notes.push(format!(
                "there is nothing recorded of process {}: it is no JVM",
                self.process.pid()
            )),
        }
        self
    }

    /// What it has now, which is `at` after some first instant. Blocks while the kernel answers, and
    /// for a second or so, or 40 s at most, while a JVM does. A JVM counts its classes, for which it
    /// stops and collects, at the first look and the last one.
    ///
    /// # Errors
    /// [`ProcessSourceError`], also when the process has ended.
    pub fn look(&mut self, at: Duration, look: Look) -> Result<Snapshot, ProcessSourceError> {
        let seen = self.look_from_outside(at)?;
        let machine = self.machine.as_mut().map(|machine| machine.look(look));
        Ok(seen.join(machine.unwrap_or_default()))
    }

    /// Ends what goes on in the process on our behalf: a recording. Blocks for 10 s at most.
    pub fn end(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.end();
        }
    }

    /// Why less was seen than could be, and what to do.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        let machine = self.machine.iter().flat_map(Machine::notes);
        self.notes.iter().chain(machine).map(String::as_str)
    }

    fn look_from_outside(&mut self, at: Duration) -> Result<Snapshot, ProcessSourceError> {
        let pid = self.process.pid();
        let process = |source| ProcessSourceError::Process { pid, source };
        let fds = self.process.fds().map_err(process)?;
        let status = self.process.status().map_err(process)?;
        let limits = self.process.limits().map_err(process)?;
        let cgroup = self.process.cgroup_memory().ok().flatten();
        let inodes: HashSet<u64> = fds.iter().filter_map(|fd| inode(&fd.kind)).collect();
        let sockets = self.sockets(&inodes, at)?;
        Ok(Snapshot {
            fds: Some(by_kind(fds.iter().map(|fd| &fd.kind))),
            threads: Some(threads(pid).unwrap_or_default()),
            resident: status.rss_bytes,
            limits: Limits {
                fds: limits.open_files.soft,
                memory: cgroup.and_then(|cgroup| cgroup.limit_bytes),
                threads: None,
                ephemeral_ports: ephemeral_ports(),
            },
            sockets: Some(sockets),
            aborts: aborts(pid),
            ..Snapshot::default()
        })
    }

    fn sockets(
        &mut self,
        inodes: &HashSet<u64>,
        at: Duration,
    ) -> Result<Vec<Socket>, ProcessSourceError> {
        let query = SocketQuery::new().namespace_of(self.process).protocols([Protocol::Tcp]);
        let table = query
            .inodes(inodes.iter().copied())
            .run()
            .map_err(|source| ProcessSourceError::Sockets { pid: self.process.pid(), source })?;
        let mut seen = HashMap::with_capacity(table.sockets.len());
        let mut sockets = Vec::with_capacity(table.sockets.len());
        for socket in &table.sockets {
            let Some(inode) = socket.inode else { continue };
            let before = self.sockets.get(&inode).filter(|(state, _)| *state == socket.state);
            let since = before.map_or(at, |(_, since)| *since);
            seen.insert(inode, (socket.state, since));
            sockets.push(shown(socket, inode, at.saturating_sub(since)));
        }
        self.sockets = seen;
        Ok(sockets)
    }
}

fn shown(socket: &staunch_kernel::Socket, inode: u64, age: Duration) -> Socket {
    let (receive_queue, send_queue) = match socket.queue {
        Queue::Accept { waiting, limit } => (waiting.into(), limit.unwrap_or(0).into()),
        _ => (socket.recv_queue_bytes().into(), socket.send_queue_bytes().into()),
    };
    Socket {
        id: Some(inode),
        state: state(socket.state),
        local: socket.local.inet().map(canonical),
        remote: socket.remote.map(canonical),
        receive_queue,
        send_queue,
        age: Some(age),
    }
}

/// An IPv4 address as such, though its socket is one of IPv6 that takes both.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn state(state: TcpState) -> SocketState {
    match state {
        TcpState::Established => SocketState::Established,
        TcpState::SynSent => SocketState::SynSent,
        TcpState::SynRecv => SocketState::SynReceived,
        TcpState::FinWait1 => SocketState::FinWait1,
        TcpState::FinWait2 => SocketState::FinWait2,
        TcpState::TimeWait => SocketState::TimeWait,
        TcpState::Close => SocketState::Close,
        TcpState::CloseWait => SocketState::CloseWait,
        TcpState::LastAck => SocketState::LastAck,
        TcpState::Listen => SocketState::Listen,
        TcpState::Closing => SocketState::Closing,
    }
}

fn inode(kind: &FdKind) -> Option<u64> {
    match kind {
        FdKind::Socket { inode } => Some(*inode),
        _ => None,
    }
}

fn by_kind<'k>(kinds: impl Iterator<Item = &'k FdKind>) -> Vec<FdCount> {
    let mut counts = BTreeMap::<&str, u64>::new();
    for kind in kinds {
        *counts.entry(name(kind)).or_default() += 1;
    }
    let counts = counts.into_iter();
    counts.map(|(kind, count)| FdCount { kind: kind.to_owned(), count, oldest: None }).collect()
}

fn name(kind: &FdKind) -> &str {
    match kind {
        FdKind::Socket { .. } => "socket",
        FdKind::Pipe { .. } => "pipe",
        FdKind::File { deleted: true, .. } => "deleted file",
        FdKind::File { .. } | FdKind::PathTooLong => "file",
        FdKind::Device { .. } => "device",
        FdKind::MemFd { .. } => "memfd",
        FdKind::EventFd => "eventfd",
        FdKind::EventPoll => "epoll",
        FdKind::TimerFd => "timerfd",
        FdKind::SignalFd => "signalfd",
        FdKind::Inotify => "inotify",
        FdKind::Anon(name) => name,
        _ => "other",
    }
}

/// Threads by name without digits: those of a pool have numbers.
fn threads(pid: u32) -> io::Result<Vec<ThreadCount>> {
    let mut counts = BTreeMap::<String, u64>::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread that ends between the listing and the reading is not there.
        let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
        *counts.entry(without_digits(name.trim_end())).or_default() += 1;
    }
    Ok(counts.into_iter().map(|(name, count)| ThreadCount { name, count }).collect())
}

/// The ports of connections that are opened (`ip(7)`).
fn ephemeral_ports() -> Option<u64> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_keeps_its_age_as_long_as_its_state() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut source = ProcessSource::new(std::process::id());
        let mut age = |at| {
            let snapshot = source.look(Duration::from_secs(at), Look::Between).unwrap();
            let sockets = snapshot.sockets.unwrap();
            let own = sockets.iter().find(|socket| socket.local == Some(address)).unwrap();
            assert_eq!(own.state, SocketState::Listen);
            own.age.unwrap()
        };
        assert_eq!(age(3), Duration::ZERO);
        assert_eq!(age(10), Duration::from_secs(7));
    }

    #[test]
    fn what_it_has_is_counted() {
        let snapshot =
            ProcessSource::new(std::process::id()).look(Duration::ZERO, Look::Between).unwrap();
        assert!(snapshot.fds.unwrap().iter().any(|fds| fds.count > 0));
        assert!(snapshot.threads.unwrap().iter().map(|threads| threads.count).sum::<u64>() > 0);
        assert!(snapshot.resident.unwrap() > 0);
        assert!(snapshot.limits.fds.unwrap() > 0);
    }

    #[test]
    fn a_process_that_is_gone_is_named() {
        let error =
            ProcessSource::new(u32::MAX >> 1).look(Duration::ZERO, Look::Between).unwrap_err();
        assert!(error.to_string().contains(&(u32::MAX >> 1).to_string()), "{error}");
    }
}
