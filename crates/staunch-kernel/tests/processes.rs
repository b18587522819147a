//! Processes of the running kernel: this one, and children that the tests start and end.

#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but not in their helpers")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use staunch_kernel::{Fd, FdKind, Process, ProcessError};

/// A child that is ended with the test.
struct Kept(Child);

impl Kept {
    fn sleeping() -> Kept {
        let sleep = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn();
        Kept(sleep.expect("the tests need `sleep`, of coreutils"))
    }

    fn process(&self) -> Process {
        Process::new(self.0.id())
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Either may fail because the child has ended, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kind_of(fds: &[Fd], number: i32) -> Option<&FdKind> {
    fds.iter().find(|fd| fd.number == number).map(|fd| &fd.kind)
}

/// Waits until `condition` holds, and fails loudly if it never does.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 10 s until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn our_fds_are_listed_with_their_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap().join("kept");
    let file = File::create(&path).unwrap();
    let null = File::open("/dev/null").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reader, writer) = io::pipe().unwrap();

    let fds = Process::current().fds().unwrap();
    let expected = FdKind::File { path: path.clone(), deleted: false };
    assert_eq!(kind_of(&fds, file.as_raw_fd()), Some(&expected));
    let expected = FdKind::Device { path: "/dev/null".into() };
    assert_eq!(kind_of(&fds, null.as_raw_fd()), Some(&expected));
    assert!(matches!(kind_of(&fds, listener.as_raw_fd()), Some(FdKind::Socket { inode: 1.. })));
    let pipe = kind_of(&fds, reader.as_raw_fd());
    assert!(matches!(pipe, Some(FdKind::Pipe { inode: 1.. })));
    assert_eq!(pipe, kind_of(&fds, writer.as_raw_fd()));

    fs::remove_file(&path).unwrap();
    let fds = Process::current().fds().unwrap();
    let expected = FdKind::File { path, deleted: true };
    assert_eq!(kind_of(&fds, file.as_raw_fd()), Some(&expected));
}

#[test]
fn the_handle_of_the_reading_is_not_listed() {
    // A child that has nothing but its three standard streams, and lists itself; this process
    // cannot serve, as its other tests open and close fds meanwhile.
    let lists_itself = std::env::var_os("STAUNCH_KERNEL_LIST").is_some();
    if lists_itself {
        let listed = Process::current().fds().unwrap();
        assert_eq!(Process::new(std::process::id()).fds().unwrap(), listed);
        assert_eq!(Process::current().fd_count().unwrap(), listed.len());
        let of_proc =
            |fd: &Fd| matches!(&fd.kind, FdKind::File { path, .. } if path.starts_with("/proc"));
        assert!(!listed.iter().any(of_proc), "{listed:?}");
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_handle_of_the_reading_is_not_listed", "--test-threads=1"])
        .env("STAUNCH_KERNEL_LIST", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn another_process_is_readable() {
    let child = Kept::sleeping();
    // Until it has become `sleep`, the child still has our memory and perhaps our fds.
    wait_until("the child runs sleep", || child.process().status().unwrap().name == "sleep");

    let fds = child.process().fds().unwrap();
    assert_eq!(kind_of(&fds, 1), Some(&FdKind::Device { path: "/dev/null".into() }));
    // At first it opens its libraries and locales, and closes them.
    wait_until("both ways to look find as many fds", || {
        child.process().fd_count().unwrap() == child.process().fds().unwrap().len()
    });
    assert_eq!(child.process().status().unwrap().threads, 1);
    assert!(child.process().status().unwrap().rss_bytes.unwrap() > 0);
    assert!(child.process().limits().unwrap().open_files.soft.is_some());
    assert!(child.process().cpu_time().unwrap() < Duration::from_secs(1));
    let (ours, its) = (Process::current().times().unwrap(), child.process().times().unwrap());
    assert!(ours.started <= its.started);
}

#[test]
fn a_process_that_has_ended_is_gone() {
    let mut child = Kept::sleeping();
    child.end();
    let gone =
        |error: ProcessError| matches!(error, ProcessError::Gone { pid } if pid == child.0.id());
    let process = child.process();
    assert!(gone(process.fds().unwrap_err()));
    assert!(gone(process.fd_count().unwrap_err()));
    assert!(gone(process.status().unwrap_err()));
    assert!(gone(process.limits().unwrap_err()));
    assert!(gone(process.times().unwrap_err()));
    assert!(gone(process.cgroup_memory().unwrap_err()));
}

#[test]
fn a_zombie_holds_nothing() {
    let mut child =
        Kept(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    drop(child.0.stdin.take());
    // The end of its output is the end of `cat`, all but the reaping.
    child.0.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    wait_until("it holds nothing", || match child.process().fds() {
        Ok(fds) => fds.is_empty(),
        // Without privilege, the kernel may refuse to list a zombie.
        Err(error) => matches!(error, ProcessError::Denied { .. }),
    });
    // It gives its fds back a moment before it can be reaped.
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn fds_closed_during_the_listing_are_left_out() {
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for _ in 0..2000 {
                drop(File::open("/dev/null").unwrap());
            }
        });
        while !churn.is_finished() {
            Process::current().fds().unwrap();
        }
    });
}

#[test]
fn our_figures_are_plausible() {
    let process = Process::current();
    let status = process.status().unwrap();
    assert!(status.threads >= 1);
    let rss = status.rss_bytes.unwrap();
    assert!(rss > 100 << 10 && rss <= status.virtual_bytes.unwrap(), "{status:?}");

    let limit = process.limits().unwrap().open_files;
    assert!(limit.soft.unwrap_or(u64::MAX) <= limit.hard.unwrap_or(u64::MAX));
    assert!(process.fd_count().unwrap() as u64 <= limit.soft.unwrap_or(u64::MAX));
}

#[test]
fn cpu_time_grows_with_work() {
    let process = Process::current();
    let before = process.cpu_time().unwrap();
    wait_until("a clock tick was used", || process.cpu_time().unwrap() > before);
}

#[test]
fn a_visible_cgroup_has_an_account() {
    // Not every machine shows a memory controller.
    if let Some(memory) = Process::current().cgroup_memory().unwrap() {
        assert!(memory.path.is_dir());
        assert!(memory.current_bytes > 0);
    }
}
