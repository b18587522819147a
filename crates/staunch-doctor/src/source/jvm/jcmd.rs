//! Asks a JVM by `jcmd`, and reads its recordings by `jfr`, within bounds of time and bytes.
//!
//! `jcmd` is a program of the JDK that starts a JVM of its own (0.2 to 0.5 s of one core) and asks the
//! target through its attach socket. It is started with a process id, the name of a command, what we
//! say of it, and nothing of the target's; what it writes is read like any other text. `jfr`, which
//! stands beside it, prints what is in a file.
//!
//! **Invariant.** A program that was started has ended, by itself or killed, when [`Jcmd::ask`] returns,
//! and that is after [`TIME_MAX`] at the latest, whoever else holds its pipes. Ctrl-C on a terminal does
//! not reach it: what it was to end would go on.

use std::{
    env, fmt, fs,
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// A dump of ten thousand threads takes less.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What is read of an answer at most: some hundred thousand threads.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Of what it complains of, that much is shown.
const COMPLAINT_BYTES_MAX: usize = 4096;
/// How often is looked whether it has ended while it says nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a JVM could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JcmdError {
    /// There is no program of that name.
    #[error(
        "there is no `{program}` beside its `java` or on PATH: install a JDK of at least its version \
         (a JRE has none), or save `jstack` and `GC.class_histogram` where there is one"
    )]
    Missing {
        /// The program.
        program: &'static str,
    },
    /// It cannot be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says cannot be read.
    #[error("cannot read what a program of the JDK says")]
    Read(#[source] io::Error),
    /// It took too long, and was killed.
    #[error(
        "{question} had not answered after {TIME_MAX:?}: the JVM may be stopped, or at a long \
         pause of its collector"
    )]
    Late {
        /// What it was asked.
        question: Question,
    },
    /// It said more than is read, and was killed.
    #[error("{question} said more than {ANSWER_BYTES_MAX} bytes, which is the most that is read")]
    Large {
        /// What it was asked.
        question: Question,
    },
    /// The JVM does not answer it.
    #[error(
        "{question} was refused ({said}): run the doctor as the user of the process, in its \
         container, and without -XX:+DisableAttachMechanism"
    )]
    Refused {
        /// What it was asked.
        question: Question,
        /// What it said.
        said: String,
    },
}

/// What is asked: a program of the JDK, and its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    program: &'static str,
    command: &'static str,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.command)
    }
}

/// The program, and whom it asks.
#[derive(Clone, Debug)]
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
        let program =
            programs.find(|it| may_be_run(it)).ok_or(JcmdError::Missing { program: "jcmd" })?;
        Ok(Jcmd { program, pid })
    }

    /// What the JVM answers to a command. Blocks for [`TIME_MAX`] at most.
    pub(crate) fn ask(&self, command: &'static str) -> Result<Vec<u8>, JcmdError> {
        self.ask_with(command, &[])
    }

    /// The same, of a command with arguments such as `name=value`.
    pub(crate) fn ask_with(
        &self,
        command: &'static str,
        arguments: &[String],
    ) -> Result<Vec<u8>, JcmdError> {
        let mut program = Command::new(&self.program);
        program.args([&self.pid.to_string(), command]).args(arguments);
        let child = start(&self.program, program)?;
        answer(child, Question { program: "jcmd", command }, TIME_MAX)
    }

    /// What `jfr print` says of the events of one kind in a recording. Blocks for [`TIME_MAX`] at most.
    pub(crate) fn print(&self, event: &str, recording: &Path) -> Result<Vec<u8>, JcmdError> {
        let jfr = self.program.with_file_name("jfr");
        if !may_be_run(&jfr) {
            return Err(JcmdError::Missing { program: "jfr" });
        }
        let mut program = Command::new(&jfr);
        program.args(["print", "--stack-depth", "64", "--events", event]).arg(recording);
        let child = start(&jfr, program)?;
        answer(child, Question { program: "jfr", command: "print" }, TIME_MAX)
    }

    /// A program of the tests.
    #[cfg(test)]
    pub(super) fn at(program: PathBuf, pid: u32) -> Jcmd {
        Jcmd { program, pid }
    }

    /// The process that is asked.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

fn start(program: &Path, mut command: Command) -> Result<Child, JcmdError> {
    let started = command
        .env_remove("JAVA_TOOL_OPTIONS")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    started.map_err(|source| JcmdError::Start { program: program.to_owned(), source })
}

fn may_be_run(program: &Path) -> bool {
    let own = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    fs::metadata(program).is_ok_and(|it| {
        it.is_file()
            && it.permissions().mode() & 0o111 != 0
            && (it.uid() == 0 || Some(it.uid()) == own)
    })
}

/// What `child` says until it has ended; it is killed when `time` is over or it says too much.
fn answer(mut child: Child, question: Question, time: Duration) -> Result<Vec<u8>, JcmdError> {
    let heard = hear(&mut child, question, Instant::now() + time);
    if heard.is_err() {
        let _ = child.kill(); // it may have ended by itself
    }
    let status = child.wait().map_err(JcmdError::Read)?;
    let Heard { answer, complaint } = heard?;
    if !status.success() {
        let said = first_line(if complaint.is_empty() { &answer } else { &complaint });
        return Err(JcmdError::Refused { question, said });
    }
    Ok(answer)
}

/// What was said on both pipes.
#[derive(Default)]
struct Heard {
    answer: Vec<u8>,
    complaint: Vec<u8>,
}

/// Reads both pipes of `child` until it has ended and nothing is left in them. That they are closed is
/// not waited for: a process that it started may hold them for ever.
fn hear(child: &mut Child, question: Question, end: Instant) -> Result<Heard, JcmdError> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut heard = Heard::default();
    loop {
        let has_ended = child.try_wait().map_err(JcmdError::Read)?.is_some();
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(JcmdError::Late { question });
        }
        let time = if has_ended { Duration::ZERO } else { left.min(LOOK_EVERY) };
        let [out_says, err_says] = readable(out.as_ref(), err.as_ref(), time)?;
        if out_says {
            read_some(&mut out, &mut heard.answer, ANSWER_BYTES_MAX + 1)?;
        }
        if err_says {
            read_some(&mut err, &mut heard.complaint, COMPLAINT_BYTES_MAX)?;
        }
        if heard.answer.len() > ANSWER_BYTES_MAX {
            return Err(JcmdError::Large { question });
        }
        if has_ended && !out_says && !err_says {
            return Ok(heard);
        }
    }
}

/// Which of two pipes can be read, or was closed, within `time`.
fn readable(
    out: Option<&impl AsFd>,
    err: Option<&impl AsFd>,
    time: Duration,
) -> Result<[bool; 2], JcmdError> {
    let mut pipes: Vec<PollFd<'_>> = Vec::new();
    pipes.extend(out.map(|out| PollFd::new(out, PollFlags::IN)));
    pipes.extend(err.map(|err| PollFd::new(err, PollFlags::IN)));
    match poll(&mut pipes, Timespec::try_from(time).ok().as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false; 2]),
        Err(error) => return Err(JcmdError::Read(error.into())),
    }
    let mut says = pipes.iter().map(|pipe| !pipe.revents().is_empty());
    let mut next = |is_open: bool| is_open && says.next().unwrap_or(false);
    Ok([next(out.is_some()), next(err.is_some())])
}

/// Takes what is in a pipe that can be read, and keeps it up to `limit` bytes in all; `None` once it was
/// closed.
fn read_some(
    pipe: &mut Option<impl Read>,
    kept: &mut Vec<u8>,
    limit: usize,
) -> Result<(), JcmdError> {
    let mut piece = [0; 8 << 10];
    let read = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut piece));
    let read = read.map_err(JcmdError::Read)?;
    let room = limit.saturating_sub(kept.len());
    kept.extend_from_slice(&piece[..read.min(room)]);
    if read == 0 {
        *pipe = None;
    }
    Ok(())
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

    const VERSION: Question = Question { program: "jcmd", command: "VM.version" };
    const THREADS: Question = Question { program: "jcmd", command: "Thread.print" };

    #[test]
    fn an_answer_is_read_and_a_refusal_is_said() {
        assert_eq!(answer(shell("echo 1:"), VERSION, TIME_MAX).unwrap(), b"1:\n");
        let refused = shell("echo 4711:; echo 'no access' >&2; exit 1");
        let error = answer(refused, THREADS, TIME_MAX).unwrap_err().to_string();
        assert!(error.starts_with("jcmd Thread.print was refused (no access): run"), "{error}");
    }

    #[test]
    fn who_is_late_is_killed() {
        let child = shell("exec sleep 60");
        let pid = child.id();
        let error = answer(child, THREADS, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, JcmdError::Late { .. }), "{error}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it has been waited for");
    }

    #[test]
    fn who_inherits_its_pipes_is_not_waited_for() {
        let begun = Instant::now();
        let child = shell("sleep 5 & echo $!");
        assert!(!answer(child, VERSION, TIME_MAX).unwrap().is_empty());
        let late = answer(shell("sleep 5 & wait"), VERSION, Duration::from_millis(50));
        assert!(matches!(late, Err(JcmdError::Late { .. })), "{late:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }

    #[test]
    fn who_says_too_much_or_without_end_is_killed() {
        let much = answer(shell("exec head -c 300M /dev/zero"), THREADS, TIME_MAX);
        assert!(matches!(much, Err(JcmdError::Large { .. })));
        let endless = shell("while :; do echo x; done");
        let late = answer(endless, THREADS, Duration::from_millis(50));
        assert!(matches!(late, Err(JcmdError::Late { .. })), "{late:?}");
        let complains = shell("head -c 1M /dev/zero >&2; exit 1");
        let refused = answer(complains, THREADS, TIME_MAX);
        assert!(matches!(refused, Err(JcmdError::Refused { .. })), "{refused:?}");
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
