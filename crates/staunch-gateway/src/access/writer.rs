//! The thread that empties the lanes.

use std::{
    io,
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use staunch_scope::Blocking;

use super::{AccessLog, file::Out};

/// Between two looks at the lanes.
const PERIOD: Duration = Duration::from_millis(100);

/// Writes until it is asked to stop, and then what is left.
pub(crate) fn keep_written(asked: &Blocking, log: &AccessLog) {
    let mut pending = Pending::default();
    loop {
        let is_last = asked.is_asked();
        pending.pass(log);
        if is_last {
            break;
        }
        std::thread::sleep(PERIOD); // how often to write, and what an end waits for at most
    }
    pending.give_up(log);
}

/// What has been taken from the lanes, and is not written.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
    /// It has been said that nothing can be written.
    has_complained: bool,
}

/// Memory that is kept while nothing is pending.
const KEPT: usize = 64 << 10;

impl Pending {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Nothing more will be written.
    fn give_up(self, log: &AccessLog) {
        let in_lanes: u64 =
            log.lanes.iter().map(|lane| lines(&std::mem::take(&mut *lane.lines()))).sum();
        let lost = lines(self.rest()) + in_lanes;
        if lost > 0 {
            tracing::warn!(lines = lost, "the end of the access log could not be written");
        }
        log.lose(lost);
    }

    /// Takes what there is, once what was taken before is written, and writes.
    fn pass(&mut self, log: &AccessLog) {
        let mut out = log.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Where it was, lines are better than nowhere.
        let mut result = out.refresh().and(self.write(&mut out, log));
        for lane in &log.lanes {
            if !self.rest().is_empty() {
                break;
            }
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            std::mem::swap(&mut self.bytes, &mut *lane.lines());
            result = result.and(self.write(&mut out, log));
        }
        match result {
            Ok(()) => self.has_complained = false,
            Err(error) if !self.has_complained => {
                self.has_complained = true;
                tracing::error!(%error, "the access log cannot be written; what finds no room is lost");
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, out: &mut Out, log: &AccessLog) -> io::Result<()> {
        while !self.rest().is_empty() {
            let written = match out.write(self.rest()) {
                Ok(0) => break, // its reader does not read
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let done = self.rest().get(..written).unwrap_or_default();
            log.written.fetch_add(lines(done), Ordering::Relaxed);
            self.written += written;
        }
        Ok(())
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use std::{fs, num::NonZeroUsize, sync::Arc};

    use staunch_config::{AccessLog as Config, AccessLogFormat, AccessLogTarget};

    use super::*;
    use crate::{
        access::{End, Entry},
        reports::Reports,
    };

    fn log(to: &str, buffer: usize) -> Arc<AccessLog> {
        let config = Config {
            to: AccessLogTarget::File(to.into()),
            format: AccessLogFormat::Json,
            one_in: NonZeroUsize::new(10).unwrap(),
            headers: Vec::new(),
            buffer: NonZeroUsize::new(buffer).unwrap(),
        };
        Arc::new(AccessLog::open(&config, 1).unwrap())
    }

    fn entries(log: &Arc<AccessLog>, count: usize, end: End) {
        let reports = Reports { log: Some(Arc::clone(log)), traces: None };
        let source = reports.source(0, "web", false).unwrap();
        for _ in 0..count {
            Entry::connection(&source, None).ends(end);
        }
    }

    #[test]
    fn of_what_went_well_one_in_ten_is_written_and_all_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = log(path.to_str().unwrap(), 1 << 20);
        entries(&log, 100, End::Whole);
        entries(&log, 7, End::Client);
        Pending::default().pass(&log);
        assert_eq!(lines(&fs::read(path).unwrap()), 17);
        assert_eq!(log.counts(), (17, 0));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_lines_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = log(path.to_str().unwrap(), 4096);
        entries(&log, 100, End::Server);
        Pending::default().pass(&log);
        let text = fs::read_to_string(path).unwrap();
        let (written, lost) = log.counts();
        assert_eq!((written + lost, written), (100, lines(text.as_bytes())));
        assert!(written > 5 && lost > 5, "{written} {lost}");
        assert!(
            text.lines().all(|line| line.starts_with("{\"time") && line.ends_with('}')),
            "{text}"
        );
    }

    #[test]
    fn what_is_left_at_the_end_is_lost_and_counted() {
        let log = log("/dev/full", 4096);
        let mut pending = Pending::default();
        entries(&log, 3, End::Client);
        pending.pass(&log);
        entries(&log, 2, End::Client);
        pending.give_up(&log);
        assert_eq!(log.counts(), (0, 5), "three were taken from the lane, and two were not");
    }

    #[test]
    fn a_full_disk_loses_no_line_that_has_room_in_memory() {
        let log = log("/dev/full", 4096);
        let mut pending = Pending::default();
        entries(&log, 3, End::Client);
        pending.pass(&log);
        assert!(pending.has_complained);
        assert_eq!((lines(pending.rest()), log.counts()), (3, (0, 0)));
        entries(&log, 2, End::Client);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        *log.out.lock().unwrap() = Out::open(&AccessLogTarget::File(path.clone())).unwrap();
        pending.pass(&log);
        assert_eq!((lines(&fs::read(path).unwrap()), log.counts()), (5, (5, 0)));
        assert!(!pending.has_complained);
    }
}
