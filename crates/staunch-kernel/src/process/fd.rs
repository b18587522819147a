//! What one file descriptor is open on, told by the text of its link in `/proc/PID/fd`
//! (`proc_pid_fd(5)`): a path, or `type:[inode]`, or `anon_inode:name`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One open file descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fd {
    /// The number that the process knows it by.
    pub number: i32,
    /// What it is open on.
    pub kind: FdKind,
}

/// What a file descriptor is open on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FdKind {
    /// A socket of any family. The inode finds it among the [`sockets`](crate::sockets), if it
    /// is TCP, UDP or Unix and bound or connected.
    Socket {
        /// The inode, as in [`Socket::inode`](crate::Socket::inode).
        inode: u64,
    },
    /// An unnamed pipe; both ends carry the same inode. (A named one is a [`FdKind::File`].)
    Pipe {
        /// The inode.
        inode: u64,
    },
    /// A file or directory, or a named pipe.
    File {
        /// The path as the process's mount namespace names it, without the mark of deletion.
        path: PathBuf,
        /// The name is gone but the disk space is not: it is freed when the last fd closes.
        /// (A file that is really called `x (deleted)` cannot be told from a deleted `x`.)
        deleted: bool,
    },
    /// A path under `/dev` that is not a file in memory: a terminal, `/dev/null`, a disk.
    Device {
        /// The path.
        path: PathBuf,
    },
    /// Memory as a file, by `memfd_create(2)`.
    MemFd {
        /// The name given at creation, for debugging only.
        name: String,
    },
    /// `eventfd(2)`.
    EventFd,
    /// `epoll_create(2)`.
    EventPoll,
    /// `timerfd_create(2)`.
    TimerFd,
    /// `signalfd(2)`.
    SignalFd,
    /// `inotify_init(2)`.
    Inotify,
    /// Another object without a name in the file system, such as `io_uring`, `pidfd` or
    /// `bpf-map`; by the kernel's word for it, without brackets.
    Anon(String),
    /// A link text of a form that this version does not know, such as `net:[4026531833]` for a
    /// namespace.
    Other(String),
    /// A file whose path is longer than the kernel can show (4096 bytes).
    PathTooLong,
}

impl FdKind {
    /// The kind that a link text in `/proc/PID/fd` stands for. Never fails: what it does not
    /// know is [`FdKind::Other`].
    ///
    /// ```
    /// use staunch_kernel::FdKind;
    /// assert_eq!(FdKind::parse(b"socket:[8446]"), FdKind::Socket { inode: 8446 });
    /// assert_eq!(FdKind::parse(b"anon_inode:[eventpoll]"), FdKind::EventPoll);
    /// ```
    pub fn parse(link: &[u8]) -> FdKind {
        if link.starts_with(b"/") {
            return FdKind::parse_path(link);
        }
        let text = String::from_utf8_lossy(link);
        match text.split_once(':') {
            Some(("anon_inode", name)) => FdKind::parse_anon(name),
            Some(("socket", rest)) => match bracketed_inode(rest) {
                Some(inode) => FdKind::Socket { inode },
                None => FdKind::Other(text.into_owned()),
            },
            Some(("pipe", rest)) => match bracketed_inode(rest) {
                Some(inode) => FdKind::Pipe { inode },
                None => FdKind::Other(text.into_owned()),
            },
            _ => FdKind::Other(text.into_owned()),
        }
    }

    fn parse_path(link: &[u8]) -> FdKind {
        let (name, deleted) = match link.strip_suffix(b" (deleted)") {
            Some(name) => (name, true),
            None => (link, false),
        };
        if let Some(name) = name.strip_prefix(b"/memfd:") {
            return FdKind::MemFd { name: String::from_utf8_lossy(name).into_owned() };
        }
        let path = Path::new(OsStr::from_bytes(name));
        // Mount points below /dev by convention, for POSIX shared memory, POSIX message queues
        // and huge pages.
        let in_memory = ["/dev/shm", "/dev/mqueue", "/dev/hugepages"];
        let device = path.starts_with("/dev") && !in_memory.iter().any(|dir| path.starts_with(dir));
        let path = path.to_owned();
        if device { FdKind::Device { path } } else { FdKind::File { path, deleted } }
    }

    fn parse_anon(name: &str) -> FdKind {
        // Most names stand in brackets; inotify's and some others' do not.
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        match name {
            "eventfd" => FdKind::EventFd,
            "eventpoll" => FdKind::EventPoll,
            "timerfd" => FdKind::TimerFd,
            "signalfd" => FdKind::SignalFd,
            "inotify" => FdKind::Inotify,
            _ => FdKind::Anon(name.to_owned()),
        }
    }
}

fn bracketed_inode(text: &str) -> Option<u64> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: &str, expected: &FdKind) {
        assert_eq!(FdKind::parse(link.as_bytes()), *expected, "{link}");
    }

    fn file(path: &str, deleted: bool) -> FdKind {
        FdKind::File { path: PathBuf::from(path), deleted }
    }

    #[test]
    fn link_texts_of_a_running_kernel() {
        check("socket:[4026]", &FdKind::Socket { inode: 4026 });
        check("pipe:[7014]", &FdKind::Pipe { inode: 7014 });
        check("anon_inode:[eventfd]", &FdKind::EventFd);
        check("anon_inode:[eventpoll]", &FdKind::EventPoll);
        check("anon_inode:[timerfd]", &FdKind::TimerFd);
        check("anon_inode:[signalfd]", &FdKind::SignalFd);
        check("anon_inode:inotify", &FdKind::Inotify);
        check("anon_inode:[io_uring]", &FdKind::Anon("io_uring".into()));
        check("anon_inode:bpf-prog", &FdKind::Anon("bpf-prog".into()));
        check("/dev/null", &FdKind::Device { path: "/dev/null".into() });
        check("/dev/pts/3", &FdKind::Device { path: "/dev/pts/3".into() });
        check("/dev/shm/ring", &file("/dev/shm/ring", false));
        check("/device", &file("/device", false));
        check("/var/log/app.log", &file("/var/log/app.log", false));
        check("/var/log/app.log (deleted)", &file("/var/log/app.log", true));
        check("/memfd:jit (deleted)", &FdKind::MemFd { name: "jit".into() });
        check("net:[4026531833]", &FdKind::Other("net:[4026531833]".into()));
    }

    #[test]
    fn unknown_texts_are_kept_as_they_are() {
        check("", &FdKind::Other(String::new()));
        check("socket:[]", &FdKind::Other("socket:[]".into()));
        check("socket:[12", &FdKind::Other("socket:[12".into()));
        check("pipe:[-1]", &FdKind::Other("pipe:[-1]".into()));
        check("anon_inode:", &FdKind::Anon(String::new()));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(link: Vec<u8>) {
            let _ = FdKind::parse(&link);
        }

        #[test]
        fn socket_links_round_trip(inode: u64) {
            let link = format!("socket:[{inode}]");
            proptest::prop_assert_eq!(FdKind::parse(link.as_bytes()), FdKind::Socket { inode });
        }
    }
}
