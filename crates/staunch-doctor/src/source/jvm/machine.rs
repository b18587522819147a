//! A JVM of this machine that is asked at every look.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::Path,
    time::Duration,
};

use staunch_diagnosis::Snapshot;

use super::{
    histogram::read_class_histogram,
    jcmd::{Jcmd, JcmdError},
    recording::Recording,
    threads::read_thread_dump,
};
use crate::source::{Look, TextError};

/// `/proc/PID/maps` of a process with that many mappings is about 10 MB.
const MAPS_BYTES_MAX: u64 = 16 << 20;

/// Why a JVM's answer is not part of a look.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Jcmd(#[from] JcmdError),
    #[error("what jcmd said cannot be read")]
    Text(#[from] TextError),
}

/// Whether the JVM's allocations are recorded.
#[derive(Debug, Default)]
enum Recorder {
    #[default]
    Off,
    /// They are to be, for so long.
    Wanted(Duration),
    On(Recording),
}

/// Asks one JVM for its threads, and now and then for its classes.
#[derive(Debug)]
pub(crate) struct Machine {
    jcmd: Option<Jcmd>,
    recorder: Recorder,
    /// Why less was seen than could be.
    notes: Vec<String>,
}

impl Machine {
    /// The one that runs in a process; `None` if there is none.
    pub(crate) fn of(pid: u32) -> Option<Machine> {
        if !is_machine(pid) {
            return None;
        }
        let (jcmd, notes) = match Jcmd::of(pid) {
            Ok(jcmd) => (Some(jcmd), Vec::new()),
            Err(error) => (None, vec![without(&error)]),
        };
        Some(Machine { jcmd, recorder: Recorder::Off, notes })
    }

    /// Has it record its allocations from the first look to the last, which come within `time`.
    pub(crate) fn record(&mut self, time: Duration) {
        self.recorder = Recorder::Wanted(time);
    }

    /// Threads, and at the first look and the last what is live on its heap, for which it stops for a full
    /// collection. What it does not say is left out; it is not asked again then.
    pub(crate) fn look(&mut self, turn: Look) -> Snapshot {
        let Some(jcmd) = &self.jcmd else { return Snapshot::default() };
        match look(jcmd, turn != Look::Between) {
            Ok(mut snapshot) => {
                self.go_on_recording(&mut snapshot, turn);
                snapshot
            }
            Err(error) => {
                self.notes.push(without(&error));
                self.end();
                self.jcmd = None;
                Snapshot::default()
            }
        }
    }

    /// Behind the collection of a look, so that what stayed is what the recording calls old.
    fn go_on_recording(&mut self, snapshot: &mut Snapshot, turn: Look) {
        let Some(jcmd) = &self.jcmd else { return };
        let recorded = match (std::mem::take(&mut self.recorder), turn) {
            (Recorder::Wanted(time), Look::First) => {
                Recording::start(jcmd, time).map(|it| self.recorder = Recorder::On(it))
            }
            (Recorder::On(recording), Look::Last) => recording.finish().map(|samples| {
                if samples.is_empty() {
                    self.notes.push(NOTHING_SAMPLED.to_owned());
                }
                snapshot.heap.get_or_insert_default().samples = samples;
            }),
            (other, _) => {
                self.recorder = other;
                Ok(())
            }
        };
        self.notes.extend(recorded.err().map(|error| unrecorded(&error)));
    }

    /// Ends what goes on in the JVM on our behalf. Blocks as long as one `jcmd` at most.
    pub(crate) fn end(&mut self) {
        if let Recorder::On(mut recording) = std::mem::take(&mut self.recorder)
            && let Err(error) = recording.stop()
        {
            self.notes.push(unrecorded(&error));
        }
    }

    /// Why less was seen than could be, and what to do.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }
}

const NOTHING_SAMPLED: &str = "what was recorded of the JVM has no sample: it allocated too little meanwhile; watch for longer";

fn look(jcmd: &Jcmd, with_classes: bool) -> Result<Snapshot, AskError> {
    let threads = jcmd.ask("Thread.print")?;
    let mut snapshot = Snapshot::from(read_thread_dump(&threads[..])?);
    if with_classes {
        let classes = jcmd.ask("GC.class_histogram")?;
        snapshot.heap = Some(read_class_histogram(&classes[..])?);
    }
    Ok(snapshot)
}

fn without(error: &dyn Error) -> String {
    let why = with_source(error);
    format!("the JVM was looked at from outside only, without threads and classes: {why}")
}

fn unrecorded(error: &dyn Error) -> String {
    format!("there is nothing recorded of the JVM: {}", with_source(error))
}

fn with_source(error: &dyn Error) -> String {
    let behind = error.source().map(|it| format!(": {it}")).unwrap_or_default();
    format!("{error}{behind}")
}

/// Whether a JVM runs in a process: its program is `java`, or it has loaded the library.
fn is_machine(pid: u32) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe"));
    let is_java = |exe: &Path| exe.file_name().is_some_and(|name| name == "java");
    exe.is_ok_and(|exe| is_java(&exe)) || has_library(pid).unwrap_or(false)
}

fn has_library(pid: u32) -> io::Result<bool> {
    let maps = File::open(format!("/proc/{pid}/maps"))?.take(MAPS_BYTES_MAX);
    for line in BufReader::new(maps).split(b'\n') {
        if line?.ends_with(b"/libjvm.so") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_machine_has_none() {
        assert!(Machine::of(std::process::id()).is_none());
        assert!(Machine::of(u32::MAX >> 1).is_none());
    }
}
