//! A JVM of this machine that is asked at every look.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use staunch_diagnosis::Snapshot;

use super::{
    histogram::read_class_histogram,
    jcmd::{Jcmd, JcmdError},
    threads::read_thread_dump,
};
use crate::source::TextError;

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

/// Asks one JVM for its threads, and now and then for its classes.
#[derive(Debug)]
pub(crate) struct Machine {
    jcmd: Option<Jcmd>,
    /// Why less was seen than could be.
    note: Option<String>,
}

impl Machine {
    /// The one that runs in a process; `None` if there is none.
    pub(crate) fn of(pid: u32) -> Option<Machine> {
        if !is_machine(pid) {
            return None;
        }
        Some(match Jcmd::of(pid) {
            Ok(jcmd) => Machine { jcmd: Some(jcmd), note: None },
            Err(error) => Machine { jcmd: None, note: Some(without(&error)) },
        })
    }

    /// Threads, and `with_classes` what is live on its heap, for which it stops for a full collection.
    /// What it does not say is left out; it is not asked again then.
    pub(crate) fn look(&mut self, with_classes: bool) -> Snapshot {
        let Some(jcmd) = &self.jcmd else { return Snapshot::default() };
        match look(jcmd, with_classes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                (self.jcmd, self.note) = (None, Some(without(&error)));
                Snapshot::default()
            }
        }
    }

    /// Why less was seen than could be, and what to do.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

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
    let behind = error.source().map(|it| format!(": {it}")).unwrap_or_default();
    format!("the JVM was looked at from outside only, without threads and classes: {error}{behind}")
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
