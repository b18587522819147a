//! Asks a JVM by `jcmd`, within bounds of time and bytes.
//!
//! `jcmd` is a program of the JDK that starts a JVM of its own (0.2 to 0.5 s of one core) and asks the
//! target through its attach socket. It is started with a process id, the name of a command, and
//! nothing else of the target's; what it writes is read like any other text.
//!
//! **Invariant.** A `jcmd` that was started has ended, by itself or killed, when [`Jcmd::ask`] returns.

use std::{
    env, fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// A dump of ten thousand threads takes less.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What is read of an answer at most: some hundred thousand threads.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Of what it complains of, that much is shown.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Why a JVM could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JcmdError {
    /// There is no program of that name.
    #[error(
        "there is no `jcmd` beside its `java` or on PATH: install a JDK of at least its version \
         (a JRE has none), or save `jstack` and `GC.class_histogram` where there is one"
    )]
    Missing,
    /// It cannot be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says cannot be read.
    #[error("cannot read what jcmd says")]
    Read(#[source] io::Error),
    /// It took too long, and was killed.
    #[error(
        "jcmd {command} had not answered after {TIME_MAX:?}: the JVM may be stopped, or at a long \
         pause of its collector"
    )]
    Late {
        /// What it was to ask.
        command: &'static str,
    },
    /// It said more than is read, and was killed.
    #[error(
        "jcmd {command} said more than {ANSWER_BYTES_MAX} bytes, which is the most that is read"
    )]
    Large {
        /// What it was to ask.
        command: &'static str,
    },
    /// The JVM does not answer it.
    #[error(
        "jcmd {command} was refused ({said}): run the doctor as the user of the process, in its \
         container, and without -XX:+DisableAttachMechanism"
    )]
    Refused {
        /// What it was to ask.
        command: &'static str,
        /// What it said.
        said: String,
    },
}

/// The program, and whom it asks.
#[derive(Debug)]
pub(crate) struct Jcmd {
    program: PathBuf,
    pid: u32,
}

impl Jcmd {
    /// The one beside the target's own `java`, which fits its version, or else the first on PATH.
    /// One that somebody else could have put there is not run: it must belong to root or to us.
    pub(crate) fn of(pid: u32) -> Result<Jcmd, JcmdError> {
        let java = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let beside = java.iter().filter_map(|java| java.parent()).map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let mut programs = beside.chain(env::split_paths(&path)).map(|folder| folder.join("jcmd"));
        let program = programs.find(|it| may_be_run(it)).ok_or(JcmdError::Missing)?;
        Ok(Jcmd { program, pid })
    }

    /// What the JVM answers to a command. Blocks for [`TIME_MAX`] at most.
    pub(crate) fn ask(&self, command: &'static str) -> Result<Vec<u8>, JcmdError> {
        let started = Command::new(&self.program)
            .args([&self.pid.to_string(), command])
            .env_remove("JAVA_TOOL_OPTIONS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let program = || self.program.clone();
        let child = started.map_err(|source| JcmdError::Start { program: program(), source })?;
        answer(child, command, TIME_MAX)
    }
}

fn may_be_run(program: &Path) -> bool {
    let own = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    fs::metadata(program).is_ok_and(|it| {
        it.is_file()
            && it.permissions().mode() & 0o111 != 0
            && (it.uid() == 0 || Some(it.uid()) == own)
    })
}

/// Reads both ends of `child` until it has ended or `time` is over; then it is killed.
fn answer(mut child: Child, command: &'static str, time: Duration) -> Result<Vec<u8>, JcmdError> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = thread::scope(|scope| {
        let (said, heard) = mpsc::sync_channel(1);
        let complaint = scope.spawn(move || read(err, COMPLAINT_BYTES_MAX));
        scope.spawn(move || said.send(read(out, ANSWER_BYTES_MAX + 1)));
        let answer = heard.recv_timeout(time);
        if !matches!(&answer, Ok(Ok(bytes)) if bytes.len() as u64 <= ANSWER_BYTES_MAX) {
            let _ = child.kill(); // it may have ended by itself
        }
        (answer, complaint.join().unwrap_or_else(|_| Ok(Vec::new())))
    });
    let status = child.wait().map_err(JcmdError::Read)?;
    let (answer, complaint) = read;
    let answer = answer.map_err(|_| JcmdError::Late { command })?.map_err(JcmdError::Read)?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(JcmdError::Large { command });
    }
    if !status.success() {
        let said = complaint.unwrap_or_default();
        let said = first_line(if said.is_empty() { &answer } else { &said });
        return Err(JcmdError::Refused { command, said });
    }
    Ok(answer)
}

fn read(pipe: Option<impl Read>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_end().ends_with(':');
    text.lines().find(says).unwrap_or("it said nothing").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn an_answer_is_read_and_a_refusal_is_said() {
        assert_eq!(answer(shell("echo 1:"), "VM.version", TIME_MAX).unwrap(), b"1:\n");
        let refused = shell("echo 4711:; echo 'no access' >&2; exit 1");
        let error = answer(refused, "Thread.print", TIME_MAX).unwrap_err().to_string();
        assert!(error.starts_with("jcmd Thread.print was refused (no access): run"), "{error}");
    }

    #[test]
    fn who_is_late_is_killed() {
        let child = shell("exec sleep 60");
        let pid = child.id();
        let error = answer(child, "Thread.print", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, JcmdError::Late { .. }), "{error}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it has been waited for");
    }

    #[test]
    fn a_program_of_ours_may_be_run_and_others_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("jcmd");
        fs::write(&program, "").unwrap();
        assert!(!may_be_run(&program), "it is no program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(may_be_run(&program));
        assert!(!may_be_run(&folder.path().join("none")));
    }
}
