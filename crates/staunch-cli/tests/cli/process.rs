//! The binary as a child process in a folder of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually;

/// A running `staunch`; killed when dropped. What it prints goes to files, so that it never
/// waits for a reader.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
    signalled: Instant,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Since the last signal, or since it was started.
    pub(crate) took: Duration,
}

/// A folder with these files, to start it in.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

impl Process {
    pub(crate) fn start(folder: TempDir, arguments: &[&str]) -> Process {
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_staunch")), folder, arguments)
    }

    /// With so few file descriptors at the most.
    pub(crate) fn start_with_files(files: usize, folder: TempDir, arguments: &[&str]) -> Process {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_staunch"));
        Process::spawn(command, folder, arguments)
    }

    /// With nobody who reads its standard output, as after `staunch run | head -0`.
    pub(crate) fn start_unread(folder: TempDir, arguments: &[&str]) -> Process {
        let (_, unread) = std::io::pipe().unwrap();
        let command = Command::new(env!("CARGO_BIN_EXE_staunch"));
        Process::spawn_to(unread.into(), command, folder, arguments)
    }

    fn spawn(command: Command, folder: TempDir, arguments: &[&str]) -> Process {
        let stdout = File::create(folder.path().join("stdout")).unwrap();
        Process::spawn_to(stdout.into(), command, folder, arguments)
    }

    fn spawn_to(
        stdout: Stdio,
        mut command: Command,
        folder: TempDir,
        arguments: &[&str],
    ) -> Process {
        let stderr = File::create(folder.path().join("stderr")).unwrap();
        command.args(arguments).current_dir(folder.path()).stdout(stdout).stderr(stderr);
        let child = command.spawn().unwrap();
        Process { child, folder, signalled: Instant::now() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }

    /// File descriptors, as the kernel counts them.
    pub(crate) fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The most memory that it ever had resident, in bytes (proc(5), `VmHWM`).
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.signalled = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it has ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) -> Ended {
        let status = eventually("the process ended", || {
            self.exited().ok_or_else(|| format!("it runs; standard error: {}", self.stderr()))
        });
        let took = self.signalled.elapsed();
        let code = status.code();
        let stdout = if self.path("stdout").exists() { self.read("stdout") } else { String::new() };
        Ended { code, stdout, stderr: self.stderr(), took }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The line that says what was served and what is left.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// All went well, and nothing was left.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(self.code == Some(0) && self.last_line().ends_with("; 0 left"), "{self:#?}");
    }
}
