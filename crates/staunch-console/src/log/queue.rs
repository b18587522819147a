//! The queue between those who log and the one thread that writes.
//!
//! **Invariant.** Nobody writes while holding the lock, so whoever logs waits at most for
//! another line to be copied, never for the reader of the log.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;

/// Bytes that wait to be written: some 8 000 lines.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// What a reader who does not read costs at the end.
const FLUSH_TIME: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Queue {
    format: LogFormat,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no room since the last one that did.
    lost: u64,
    /// No more lines will come.
    closed: bool,
    /// The thread has written all there was.
    done: bool,
}

impl Queue {
    pub(super) fn new(format: LogFormat) -> Arc<Queue> {
        Arc::new(Queue { format, state: Mutex::default(), changed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > WAITING_BYTES_MAX {
            state.lost += 1;
            return;
        }
        let idle = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if idle {
            self.changed.notify_all();
        }
    }

    /// What waits, and how many lines were lost after it; `None` when no more will come.
    fn next(&self) -> Option<(Vec<u8>, u64)> {
        let state = self.state();
        let mut state = self
            .changed
            .wait_while(state, |state| state.waiting.is_empty() && state.lost == 0 && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let taken = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lost));
        (!taken.0.is_empty() || taken.1 > 0).then_some(taken)
    }

    /// Writes what comes until the queue is closed and empty.
    fn write_to(&self, mut out: impl Write) {
        while let Some((lines, lost)) = self.next() {
            // A log that cannot be written has nowhere to complain.
            let _ = out.write_all(&lines);
            if lost > 0 {
                let _ = out.write_all(self.loss(lost).as_bytes());
            }
            let _ = out.flush();
        }
        self.state().done = true;
        self.changed.notify_all();
    }

    /// The line that says how many were lost.
    fn loss(&self, lines: u64) -> String {
        let text = format!("{lines} log lines were lost here: standard error is read too slowly");
        match self.format {
            LogFormat::Text => format!("WARN {text}\n"),
            LogFormat::Json => {
                format!("{{\"level\":\"WARN\",\"fields\":{{\"message\":\"{text}\"}}}}\n")
            }
        }
    }

    /// Lets the thread write what waits; whether it did within `time`.
    fn close(&self, time: Duration) -> bool {
        let mut state = self.state();
        state.closed = true;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.done);
        waited.unwrap_or_else(PoisonError::into_inner).0.done
    }
}

/// Keeps the log going. Keep it until the end of `main`: dropping it writes the lines that wait,
/// for at most a second, and lines after that are lost.
#[derive(Debug)]
#[must_use = "lines are written as long as this lives"]
pub struct LogGuard {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl LogGuard {
    pub(super) fn start(
        queue: Arc<Queue>,
        out: impl Write + Send + 'static,
    ) -> io::Result<LogGuard> {
        let written = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("staunch-log".to_owned())
            .spawn(move || written.write_to(out))?;
        Ok(LogGuard { queue, thread: Some(thread) })
    }

    pub(super) fn writer(&self) -> LineWriter {
        LineWriter(Arc::clone(&self.queue))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let done = self.queue.close(FLUSH_TIME);
        if let Some(thread) = self.thread.take().filter(|_| done) {
            let _ = thread.join(); // it has nothing left to do
        }
    }
}

/// Puts lines into the queue; each call is one whole line.
#[derive(Clone, Debug)]
pub(super) struct LineWriter(Arc<Queue>);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LineWriter {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn lines_are_written_in_order_and_none_is_left_when_the_guard_goes() {
        let (mut read, written) = io::pipe().unwrap();
        let guard = LogGuard::start(Queue::new(LogFormat::Text), written).unwrap();
        let mut writer = guard.writer();
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
        }
        drop(guard);
        let text = io::read_to_string(&mut read).unwrap();
        let expected: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        // `writeln!` may write a line in parts; the log writes each at once.
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_but_no_time() {
        let (read, written) = io::pipe().unwrap();
        let guard = LogGuard::start(Queue::new(LogFormat::Json), written).unwrap();
        let mut writer = guard.writer();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let begun = Instant::now();
        for _ in 0..4096 {
            writer.write_all(&line).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let begun = Instant::now();
        drop(guard);
        assert!(begun.elapsed() < FLUSH_TIME * 3, "{:?}", begun.elapsed());
        let text = io::read_to_string(read).unwrap();
        let lost = text.lines().last().unwrap();
        let lost: serde_json::Value = serde_json::from_str(lost).unwrap();
        assert!(lost["fields"]["message"].as_str().unwrap().ends_with("is read too slowly"));
    }
}
