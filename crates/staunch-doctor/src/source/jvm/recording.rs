//! A recording of a JVM's allocations: JDK Flight Recorder, for as long as a watch.
//!
//! # Design
//!
//! Two kinds of events are recorded, and nothing else: objects that stay (`jdk.OldObjectSample`), which
//! the JVM samples once in each piece of memory that it hands to a thread, and some thousand
//! allocations in all. The JVM writes its file into a folder of ours below the temporary one, that
//! belongs to its user and to nobody else, and is deleted with everything in it. Other recordings of
//! the JVM go on: ours has a name of its own.
//!
//! **Invariant.** A recording that was begun is stopped: by [`Recording::finish`], by
//! [`Recording::stop`], or when it is dropped, each of which blocks as long as one `jcmd` at most. If
//! that fails, or the doctor is killed, the JVM ends it [`MARGIN`] after the watch was to end.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
    time::Duration,
};

use staunch_diagnosis::Sampled;
use tempfile::TempDir;

use super::{
    jcmd::{Jcmd, JcmdError},
    samples::{ALLOCATED, LIVE, read_samples},
};
use crate::source::TextError;

/// How much longer than the watch a recording goes on that nobody stops.
const MARGIN: Duration = Duration::from_mins(1);
/// What the JVM keeps of it at most.
const KEPT: &str = "64m";
/// A file that is larger is not read: of our events alone it is some 100 KiB.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Allocations that are sampled in all, or so.
const ALLOCATIONS: f64 = 10_000.0;
/// And in a minute at most: as many as the JDK's own default.
const ALLOCATIONS_A_MINUTE_MAX: f64 = 9_000.0;

/// Why nothing was recorded, or what was recorded cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecordError {
    /// There is no place for its file.
    #[error("there is no folder for the recording: set TMPDIR to one that can be written")]
    Folder(#[source] io::Error),
    /// The file that the JVM would write is not where we look.
    #[error(
        "it sees other files than the doctor, so that what it records is not found: run the doctor \
         in its container"
    )]
    Elsewhere,
    /// The JVM could not be asked.
    #[error(transparent)]
    Jcmd(#[from] JcmdError),
    /// It does not record.
    #[error("it does not record ({said}): Flight Recorder is in JDK 8u262, 11, and later ones")]
    Refused {
        /// What it said.
        said: String,
    },
    /// The recording is not there any more.
    #[error("its recording was ended by somebody else ({said}): watch again")]
    Ended {
        /// What it said.
        said: String,
    },
    /// What it wrote cannot be read.
    #[error("what was recorded cannot be read")]
    File(#[source] io::Error),
    /// It wrote too much.
    #[error(
        "its recording has {bytes} bytes, and {FILE_BYTES_MAX} are read at most: end the other \
         recordings of this JVM, or watch for less time"
    )]
    Large {
        /// How much.
        bytes: u64,
    },
    /// What `jfr` says is not understood.
    #[error("what `jfr print` says cannot be read")]
    Text(#[from] TextError),
}

/// A recording of ours that goes on.
#[derive(Debug)]
pub(crate) struct Recording {
    jcmd: Jcmd,
    name: String,
    folder: TempDir,
    is_on: bool,
}

impl Recording {
    /// Begins one that is stopped after `time`. Blocks as long as two `jcmd` at most.
    pub(crate) fn start(jcmd: &Jcmd, time: Duration) -> Result<Recording, RecordError> {
        if !sees_our_files(jcmd.pid()) {
            return Err(RecordError::Elsewhere);
        }
        let folder = folder_for(jcmd.pid(), time).map_err(RecordError::Folder)?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut recording = Recording { jcmd: jcmd.clone(), name, folder, is_on: true };
        // If that is answered too late, it may have begun all the same: dropped, it is stopped.
        let answer = jcmd.ask_with(
            "JFR.start",
            &[
                format!("name={}", recording.name),
                format!("settings={}", recording.path(SETTINGS)),
                format!("filename={}", recording.path(FILE)),
                format!("duration={}s", (time + MARGIN).as_secs()),
                format!("maxsize={KEPT}"),
            ],
        )?;
        match answer_of(&answer, "Started recording") {
            Ok(()) => Ok(recording),
            Err(said) => {
                recording.is_on = false;
                Err(RecordError::Refused { said })
            }
        }
    }

    /// Stops it; what it has sampled. Blocks as long as two programs of the JDK at most.
    pub(crate) fn finish(mut self) -> Result<Vec<Sampled>, RecordError> {
        self.stop()?;
        let file = self.folder.path().join(FILE);
        let bytes = fs::symlink_metadata(&file).map_err(RecordError::File)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(RecordError::Large { bytes });
        }
        let text = self.jcmd.print(&format!("{LIVE},{ALLOCATED}"), &file)?;
        Ok(read_samples(&text[..])?)
    }

    /// Stops it. Blocks as long as one `jcmd` at most.
    pub(crate) fn stop(&mut self) -> Result<(), RecordError> {
        if !std::mem::take(&mut self.is_on) {
            return Ok(());
        }
        let file = format!("filename={}", self.path(FILE));
        let answer = self.jcmd.ask_with("JFR.stop", &[format!("name={}", self.name), file])?;
        answer_of(&answer, "Stopped recording").map_err(|said| RecordError::Ended { said })
    }

    /// In quotes, for blanks.
    fn path(&self, file: &str) -> String {
        format!("\"{}\"", self.folder.path().join(file).display())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.stop(); // nobody is left to hear of it; the JVM ends it by itself
    }
}

const SETTINGS: &str = "settings.jfc";
const FILE: &str = "recording.jfr";

/// What is recorded (`jdk.jfr.Configuration`). Without a cutoff of 0 the JVM would look for what refers
/// to each object, for which it stops.
fn settings(time: Duration) -> String {
    let minutes = (time.as_secs_f64() / 60.0).max(1.0 / 60.0);
    let pace = (ALLOCATIONS / minutes).clamp(60.0, ALLOCATIONS_A_MINUTE_MAX);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<configuration version="2.0" label="Staunch" description="Who allocates what stays" provider="Staunch">
  <event name="{LIVE}">
    <setting name="enabled">true</setting>
    <setting name="stackTrace">true</setting>
    <setting name="cutoff">0 ns</setting>
  </event>
  <event name="{ALLOCATED}">
    <setting name="enabled">true</setting>
    <setting name="stackTrace">true</setting>
    <setting name="throttle">{pace:.0}/m</setting>
  </event>
</configuration>
"#
    )
}

/// A folder that belongs to the user of a process, with what is to be recorded in it.
fn folder_for(pid: u32, time: Duration) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("staunch-").tempdir()?;
    let file = folder.path().join(SETTINGS);
    fs::write(&file, settings(time))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444))?;
    let user = fs::metadata(format!("/proc/{pid}"))?;
    let own = fs::metadata(folder.path())?;
    if user.uid() != own.uid() {
        chown(folder.path(), Some(user.uid()), Some(user.gid()))?;
    }
    Ok(folder)
}

/// Whether a path means the same to a process and to us.
fn sees_our_files(pid: u32) -> bool {
    let mounts = |of: &str| -> Option<PathBuf> { fs::read_link(format!("/proc/{of}/ns/mnt")).ok() };
    let root = fs::read_link(format!("/proc/{pid}/root")).ok();
    let is_ours = |root: PathBuf| fs::read_link("/proc/self/root").is_ok_and(|own| own == root);
    mounts(&pid.to_string()) == mounts("self") && root.is_none_or(is_ours)
}

/// Whether the JVM did as it was told; otherwise what it said. `jcmd` ends well in either case.
fn answer_of(answer: &[u8], done: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    if text.contains(done) {
        return Ok(());
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let said = lines.find(|line| !line.ends_with(':')).unwrap_or("it said nothing");
    Err(said.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `jcmd` that writes down what it is asked, says `start` to a start and `stop` to a stop, with a
    /// `jfr` beside it that prints one event.
    fn jdk(start: &str, stop: &str) -> (TempDir, Jcmd) {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\ncase $2 in\nJFR.start) {start};;\nJFR.stop) {stop}\n\
             for it in \"$@\"; do case $it in filename=*) eval \"echo x > ${{it#filename=}}\";; esac; done;;\nesac\n",
            asked.display()
        );
        let event = "jdk.OldObjectSample {\\n  object = [\\n    A\\n  ]\\n}\\n";
        for (name, text) in [("jcmd", script), ("jfr", format!("#!/bin/sh\nprintf '{event}'\n"))] {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let jcmd = Jcmd::at(folder.path().join("jcmd"), std::process::id());
        (folder, jcmd)
    }

    fn asked(folder: &TempDir) -> Vec<String> {
        let text = fs::read_to_string(folder.path().join("asked")).unwrap_or_default();
        text.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    const WELL: [&str; 2] = ["echo 'Started recording 1.'", "echo 'Stopped recording \"x\".'"];
    const TIME: Duration = Duration::from_secs(9);

    #[test]
    fn what_it_has_sampled_is_read_and_its_folder_is_gone() {
        let (folder, jcmd) = jdk(WELL[0], WELL[1]);
        let recording = Recording::start(&jcmd, TIME).unwrap();
        let place = recording.folder.path().to_owned();
        assert!(place.join(SETTINGS).exists());
        let samples = recording.finish().unwrap();
        assert_eq!((&*samples[0].class, samples[0].live), ("A", 1));
        assert!(!place.exists());
        assert_eq!(asked(&folder), ["JFR.start", "JFR.stop"]);
    }

    #[test]
    fn whatever_ends_it_it_is_stopped_once() {
        let (folder, jcmd) = jdk(WELL[0], WELL[1]);
        drop(Recording::start(&jcmd, TIME).unwrap());
        let mut recording = Recording::start(&jcmd, TIME).unwrap();
        recording.stop().unwrap();
        drop(recording);
        assert_eq!(asked(&folder), ["JFR.start", "JFR.stop", "JFR.start", "JFR.stop"]);
        let (folder, jcmd) = jdk("exit 1", WELL[1]);
        assert!(matches!(Recording::start(&jcmd, TIME), Err(RecordError::Jcmd(_))));
        assert_eq!(asked(&folder), ["JFR.start", "JFR.stop"], "it may have begun");
    }

    #[test]
    fn a_machine_that_does_not_record_says_so() {
        let (folder, jcmd) = jdk("echo 4711:; echo 'Flight Recorder can not be enabled.'", WELL[1]);
        let error = Recording::start(&jcmd, TIME).unwrap_err().to_string();
        assert!(error.starts_with("it does not record (Flight Recorder can not"), "{error}");
        assert_eq!(asked(&folder), ["JFR.start"], "there is nothing to stop");
        let (_folder, jcmd) = jdk(WELL[0], "echo 'Could not find recording'");
        let error = Recording::start(&jcmd, TIME).unwrap().finish().unwrap_err();
        assert!(matches!(error, RecordError::Ended { .. }), "{error}");
    }

    #[test]
    fn allocations_are_fewer_in_a_minute_the_longer_it_takes() {
        let pace = |seconds| {
            let settings = settings(Duration::from_secs(seconds));
            let (_, pace) = settings.split_once("throttle\">").unwrap();
            pace.split_once("/m").unwrap().0.parse::<u64>().unwrap()
        };
        assert_eq!([pace(0), pace(60), pace(600), pace(36_000)], [9_000, 9_000, 1_000, 60]);
    }
}
