//! From one process to its successor, under load.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use staunch_harness::free_port;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, service},
    process::{Process, folder},
    server::{Server, get},
};

/// A gateway whose successors listen where it does.
struct Generations {
    process: Process,
    web: SocketAddr,
    lines: SocketAddr,
    datagrams: SocketAddr,
    admin: SocketAddr,
}

impl Generations {
    fn start(behind: &Server) -> Generations {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let [web, lines, datagrams, admin] = [(); 4].map(|()| address());
        let listener = |name: &str, protocol: &str, listen: &str, more: &str| {
            format!(
                "[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '{listen}'\n{more}\n"
            )
        };
        let config = [
            format!(
                "[admin]\nlisten = '{admin}'\n[runtime]\nworkers = 2\n[log]\nformat = 'json'\n"
            ),
            listener("web", "http", &web.to_string(), ""),
            listener("lines", "tcp", &lines.to_string(), "service = 'lines'"),
            listener("datagrams", "udp-echo", &datagrams.to_string(), ""),
            listener("unix", "echo", "unix:echo.sock", ""),
            format!("[[service]]\nname = 'lines'\nendpoints = ['{}']\n", behind.tcp("echo")),
            service(behind.tcp("demo"), ""),
        ];
        let folder = folder(&[("staunch.toml", &config.concat())]);
        let process = Process::start(folder, &["run", "--config", "staunch.toml"]);
        eventually("it is ready", || {
            let connected = TcpStream::connect(admin).map_err(|error| error.to_string())?;
            drop(connected);
            match get(admin, "/readyz").0 {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        });
        Generations { process, web, lines, datagrams, admin }
    }

    /// The process ids of successors that have taken over, as the log says them.
    fn successors(&self) -> Vec<i32> {
        let log = self.process.stderr();
        let after = |line: &str| Some(line.split_once("\"signal\":\"process ")?.1.to_owned());
        let pids = log.lines().filter_map(after);
        pids.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect()
    }

    fn upgrade(&self, pid: u32) {
        let before = self.successors().len();
        let mut command = Command::new(env!("CARGO_BIN_EXE_staunch"));
        let output = command.args(["upgrade", &pid.to_string()]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        eventually("a successor has taken over", || {
            let is_there = self.successors().len() > before;
            if is_there { Ok(()) } else { Err(self.process.stderr()) }
        });
    }

    fn echoes(&self) {
        let mut line = TcpStream::connect(self.lines).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        line.write_all(b"hello\n").unwrap();
        let mut answer = [0; 12];
        line.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"Echo: hello\n");
        let mut unix = UnixStream::connect(self.process.path("echo.sock")).unwrap();
        unix.set_read_timeout(Some(PATIENCE)).unwrap();
        unix.write_all(b"hello\n").unwrap();
        unix.read_exact(&mut answer).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"hello", self.datagrams).unwrap();
        assert_eq!(client.recv(&mut [0; 64]).unwrap(), 12);
    }
}

/// Between two connections: other tests run, too.
const PACE: Duration = Duration::from_millis(2);

/// Asks on a new connection each time, until it is told to stop; how often, and what went wrong.
fn load(web: SocketAddr, ends: &Arc<AtomicBool>) -> thread::JoinHandle<(u64, Vec<String>)> {
    let ends = Arc::clone(ends);
    let ask = move || -> std::io::Result<String> {
        let mut client = TcpStream::connect(web)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let work = move || {
        let (asked, mut failed) = (AtomicU64::new(0), Vec::new());
        while !ends.load(Ordering::Relaxed) {
            thread::sleep(PACE);
            asked.fetch_add(1, Ordering::Relaxed);
            match ask() {
                Ok(answer)
                    if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("Hello.\n") => {}
                other => failed.push(format!("{other:?}")),
            }
        }
        (asked.into_inner(), failed)
    };
    thread::Builder::new().spawn(work).unwrap()
}

/// The same with a line for each connection that is handed on as it is.
fn load_lines(lines: SocketAddr, ends: &Arc<AtomicBool>) -> thread::JoinHandle<(u64, Vec<String>)> {
    let ends = Arc::clone(ends);
    let ask = move || -> std::io::Result<()> {
        let mut client = TcpStream::connect(lines)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(b"hello\n")?;
        client.read_exact(&mut [0; 12])
    };
    let work = move || {
        let (mut asked, mut failed) = (0, Vec::new());
        while !ends.load(Ordering::Relaxed) {
            thread::sleep(PACE);
            asked += 1;
            if let Err(error) = ask() {
                failed.push(format!("lines: {error}"));
            }
        }
        (asked, failed)
    };
    thread::Builder::new().spawn(work).unwrap()
}

fn has_ended(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ")
}

#[test]
fn nobody_is_refused_while_one_process_follows_another() {
    let behind = Server::start(BEHIND);
    let mut first = Generations::start(&behind);
    first.echoes();
    // What has begun in the first one goes on in it.
    let web = first.web;
    let (mut socket, _) = tungstenite::connect(format!("ws://{web}/ws")).unwrap();
    let slow = thread::Builder::new().spawn(move || get(web, "/slow?ms=1500").0).unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let lines = first.lines;
    let loads = [load(web, &ends), load(web, &ends), load_lines(lines, &ends)];
    first.upgrade(first.process.pid());
    first.echoes();
    // The first one is at the admin endpoint, too, as long as it has somebody.
    for _ in 0..20 {
        assert_eq!(get(first.admin, "/readyz").0, 200, "the service is as ready as it was");
    }
    socket.send(Message::text("still here")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still here"));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert_eq!(slow.join().unwrap(), 200);
    let ended =
        eventually("the first has ended", || first.process.exited().ok_or_else(String::new));
    assert!(ended.success(), "{}", first.process.stderr());
    for generation in 1..3 {
        let pid = first.successors()[generation - 1];
        first.upgrade(u32::try_from(pid).unwrap());
        first.echoes();
        eventually("the one before has ended", || {
            if has_ended(pid) { Ok(()) } else { Err(first.process.stderr()) }
        });
    }
    ends.store(true, Ordering::Relaxed);
    for load in loads {
        let (asked, failed) = load.join().unwrap();
        assert!(
            failed.is_empty() && asked > 10,
            "{} of {asked} failed: {:?}",
            failed.len(),
            failed[0]
        );
    }
    let last = first.successors()[2];
    assert_eq!(get(first.admin, "/readyz").0, 200);
    kill_process(Pid::from_raw(last).unwrap(), Signal::TERM).unwrap();
    eventually("the last has ended", || if has_ended(last) { Ok(()) } else { Err(String::new()) });
    let said = fs::read_to_string(first.process.path("stdout")).unwrap();
    let sums: Vec<&str> = said.lines().filter(|line| line.starts_with("served ")).collect();
    assert!(sums.len() == 4 && sums.iter().all(|sum| sum.ends_with("; 0 left")), "{said}");
    assert!(!first.process.path("echo.sock").exists(), "the last one takes it away");
    behind.terminate().assert_clean();
}

#[test]
fn without_a_successor_everything_stays() {
    let behind = Server::start(BEHIND);
    let mut first = Generations::start(&behind);
    let path = first.process.path("staunch.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{good}\nwrong = true\n")).unwrap();
    first.process.signal(Signal::USR2);
    eventually("it goes on", || {
        let log = first.process.stderr();
        let said = "no successor, so this process goes on: it has ended: exit status: 2";
        if log.contains(said) && log.contains("unknown key `wrong`") { Ok(()) } else { Err(log) }
    });
    first.echoes();
    // One that has taken some of the sockets already, the file of a Unix socket among them.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!(
        "[[listener]]\nname = 'taken'\nprotocol = 'echo'\nlisten = '{}'\n",
        taken.local_addr().unwrap()
    );
    fs::write(&path, good.clone() + &listener).unwrap();
    first.process.signal(Signal::USR2);
    eventually("it goes on again", || {
        let log = first.process.stderr();
        let failures = log.matches("no successor, so this process goes on").count();
        if failures == 2 && log.contains("already in use") { Ok(()) } else { Err(log) }
    });
    first.echoes();
    assert_eq!(get(first.web, "/hello").0, 200);
    fs::write(&path, good).unwrap();
    first.process.signal(Signal::TERM);
    first.process.ended().assert_clean();
    behind.terminate().assert_clean();
}

/// What no listener of the new file is for goes, the file of a Unix socket too.
#[test]
fn a_listener_that_is_gone_after_an_upgrade_leaves_no_file() {
    let behind = Server::start(BEHIND);
    let mut first = Generations::start(&behind);
    let path = first.process.path("staunch.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("listen = 'unix:echo.sock'", "listen = '127.0.0.1:0'")).unwrap();
    assert!(first.process.path("echo.sock").exists());
    first.upgrade(first.process.pid());
    let ended =
        eventually("the first has ended", || first.process.exited().ok_or_else(String::new));
    assert!(ended.success(), "{}", first.process.stderr());
    assert!(!first.process.path("echo.sock").exists());
    let last = first.successors()[0];
    kill_process(Pid::from_raw(last).unwrap(), Signal::TERM).unwrap();
    eventually("the last has ended", || if has_ended(last) { Ok(()) } else { Err(String::new()) });
    behind.terminate().assert_clean();
}

/// The program is the one at the path by which it was started: a link to one version of several, say.
#[test]
fn a_successor_is_what_the_link_leads_to_by_then() {
    let folder = folder(&[(
        "staunch.toml",
        "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
         [admin]\nlisten = '127.0.0.1:0'\n",
    )]);
    let (link, other) = (folder.path().join("staunch"), folder.path().join("other"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_staunch"), &link).unwrap();
    fs::write(&other, "#!/bin/sh\necho another version >&2\nexit 3\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let log = folder.path().join("log");
    let mut command = Command::new(&link);
    command.args(["run", "--config", "staunch.toml"]).current_dir(folder.path());
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let mut first = Ended(command.spawn().unwrap());
    let says = |text: &str| {
        eventually(text, || {
            let log = fs::read_to_string(&log).unwrap();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    };
    says("listening listener=\"admin\"");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    kill_process(Pid::from_child(&first.0), Signal::USR2).unwrap();
    says("another version");
    says("no successor, so this process goes on");
    kill_process(Pid::from_child(&first.0), Signal::TERM).unwrap();
    assert!(first.0.wait().unwrap().success());
}

/// A process that ends with its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[test]
fn who_cannot_be_upgraded_is_told_so() {
    let staunch = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_staunch"));
        command.args(arguments).stdin(std::process::Stdio::null());
        let folder = folder(&[(
            "staunch.toml",
            "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n",
        )]);
        command.current_dir(folder.path());
        if let Some(variable) = variable {
            command.env(variable, "1");
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = staunch(&["upgrade", &std::process::id().to_string()], None);
    assert!(code == Some(2) && told.contains("is no `staunch run` that can be upgraded"), "{told}");
    let (code, told) = staunch(&["upgrade", "4194305"], None);
    assert!(code == Some(2) && told.contains("there is no process 4194305"), "{told}");
    let run = ["run", "--config", "staunch.toml"];
    let (code, told) = staunch(&run, Some("STAUNCH_SUCCESSOR"));
    assert!(code == Some(2) && told.contains("standard input leads to no predecessor"), "{told}");
}
